"""Calls on the fake PBX: the events that a real one tells, and the rows that it lists, as far as agents' calls go."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

from .fake_pbx import FakePBX

__all__ = ["FakeCall"]

_NUMBERS = count(1)
EPOCH = 1_795_390_000
STATES = {"Down": "0", "Ring": "4", "Ringing": "5", "Up": "6"}


@dataclass
class FakeCall:
    """Somebody outside calls an agent."""

    pbx: FakePBX
    number: str = "+33123456789"
    name: str = "Marie Curie"
    agent: str = "1001"
    serial: int = field(default_factory=lambda: next(_NUMBERS))
    bridge: str = ""
    states: dict[str, str] = field(default_factory=dict)
    place: tuple[str, str] = ("from-pstn", "+442071838750")

    @property
    def caller_id(self) -> str:
        return f"{EPOCH + self.serial}.{2 * self.serial}"

    @property
    def caller(self) -> str:
        return f"PJSIP/pstn-{2 * self.serial:08x}"

    @property
    def phone(self) -> str:
        return f"PJSIP/{self.agent}-{2 * self.serial + 1:08x}"

    def side(self, channel: str, prefix: str = "") -> list[tuple[str, str]]:
        """The usual headers of one of the two channels."""
        is_phone = channel == self.phone
        own, other = (self.agent, "Ada Lovelace"), (self.number, self.name)
        if not is_phone:
            own, other = other, own
        state = self.states.get(channel, "Down")
        headers = {
            "Channel": channel,
            "ChannelState": STATES[state],
            "ChannelStateDesc": state,
            "CallerIDNum": own[0],
            "CallerIDName": own[1],
            "ConnectedLineNum": other[0],
            "ConnectedLineName": other[1],
            "Context": "from-agents" if is_phone else self.place[0],
            "Exten": "" if is_phone else self.place[1],
            "Uniqueid": f"{EPOCH + self.serial}.{2 * self.serial + 1}" if is_phone else self.caller_id,
            "Linkedid": self.caller_id,
        }
        return [(prefix + name, value) for name, value in headers.items()]

    def ring(self) -> None:
        """The caller comes in, and the agent's phone rings."""
        self.states = {self.caller: "Ring", self.phone: "Down"}
        self._say("Newchannel", self.side(self.caller))
        self._say("Newchannel", self.side(self.phone))
        self._say("DialBegin", self.side(self.caller), self.side(self.phone, "Dest"))
        self._become(self.phone, "Ringing")
        self._list()

    def answer(self) -> None:
        """The agent picks up, and the two are connected."""
        self.pick_up()
        self.join(f"bridge-{self.serial}")

    def pick_up(self) -> None:
        """The agent picks up; a moment later the two will be connected."""
        self._become(self.phone, "Up")
        self._say("DialEnd", self.side(self.caller), self.side(self.phone, "Dest"), [("DialStatus", "ANSWER")])
        self._become(self.caller, "Up")

    def join(self, bridge: str) -> None:
        """The two are connected."""
        self.bridge = bridge
        for channel in (self.phone, self.caller):
            self._say("BridgeEnter", [("BridgeUniqueid", bridge)], self.side(channel))
        self._list()

    def park(self) -> None:
        """The PBX has been told to hold the call."""
        for channel in (self.phone, self.caller):
            self._say("BridgeLeave", [("BridgeUniqueid", self.bridge)], self.side(channel))
        self.bridge = ""
        self.place = ("park", "caller")
        self._say("MusicOnHoldStart", self.side(self.caller))
        self._list()

    def send_on(self, *place: str) -> None:
        """The caller has been sent elsewhere, to a queue for one, and hears music there."""
        self._say("MusicOnHoldStop", self.side(self.caller))
        self.place = place
        self._say("MusicOnHoldStart", self.side(self.caller))

    def hold(self) -> None:
        """The agent's phone holds the call."""
        self._say("Hold", self.side(self.phone))

    def ask(self, exten: str) -> None:
        """An attended transfer has begun: somebody at `exten` is asked."""
        local = [("Channel", f"Local/{exten}@x-1;1"), ("Uniqueid", f"{self.caller_id}9"), ("Linkedid", self.caller_id)]
        local += [("ChannelStateDesc", "Ringing"), ("Exten", exten), ("CallerIDNum", exten)]
        self._say("Newchannel", local)
        self._say("BridgeEnter", [("BridgeUniqueid", "ask")], local)
        self._say("BridgeLeave", [("BridgeUniqueid", self.bridge)], self.side(self.phone))
        self._say("BridgeEnter", [("BridgeUniqueid", "ask")], self.side(self.phone))

    def hang_up(self, cause: str = "16") -> None:
        """The caller hangs up, before or after an answer."""
        if self.states.get(self.phone) == "Ringing":
            status = [("DialStatus", "CANCEL")]
            self._say("DialEnd", self.side(self.caller), self.side(self.phone, "Dest"), status)
        self.end(self.phone, cause)
        self.end(self.caller, cause)
        self.forget()

    def end(self, channel: str, cause: str = "16") -> None:
        """One channel is gone."""
        self._say("Hangup", self.side(channel), [("Cause", cause)])

    def forget(self) -> None:
        """It is listed no more."""
        mine = (self.phone, self.caller)
        self.pbx.channels = [row for row in self.pbx.channels if row["Channel"] not in mine]

    def _become(self, channel: str, state: str) -> None:
        self.states[channel] = state
        self._say("Newstate", self.side(channel))

    def _list(self) -> None:
        self.forget()
        for channel in (self.caller, self.phone):
            application = "Dial" if channel == self.caller else "AppDial"
            row = dict([*self.side(channel), ("Application", application), ("BridgeId", self.bridge)])
            self.pbx.channels.append(row)

    def _say(self, event: str, *headers: Iterable[tuple[str, str]]) -> None:
        self.pbx.say([("Event", event), *(header for each in headers for header in each)])
