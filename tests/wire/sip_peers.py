"""Two user agents, a clock, and a network between them that may lose, repeat, delay and reorder."""

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

from cti_django.wire.sip_dialog import Arrival, Dialog
from cti_django.wire.sip_message import SIPMessage, SIPRequest, SIPResponse, parse_message
from cti_django.wire.sip_user_agent import UserAgent

__all__ = ["Agent", "Call", "Network", "an_agent"]


def an_agent(name="alice", *, transport="UDP", seed=1, **options):
    return UserAgent(
        address=f"sip:{name}@example.com",
        username=name,
        password="secret",
        transport=transport,
        sent_by=f"{name}.example.com:5062",
        random=Random(f"{name}{seed}").randbytes,
        **options,
    )


class Agent:
    """One user agent at a time of its own; what it sends is read as messages, and whatever it tells is kept."""

    def __init__(self, name="alice", **options):
        self.now = 1000.0
        self.agent = an_agent(name, **options)
        self.heard: list[tuple[str, object]] = []

    def receive_response(self, request, response, now):
        self.heard.append((f"{response.status} {request.method}", (request, response)))

    def receive_request(self, request, now):
        self.heard.append((request.method, request))

    def handle_timeout(self, now):
        self.heard.append(("woken", now))

    def said(self):
        """What this usage has heard since it was last asked."""
        said, self.heard = [what for what, _ in self.heard], []
        return said

    def sent(self) -> list[SIPMessage]:
        return [parse_message(data) for data in self.agent.data_to_send()]

    def sent_one(self):
        (message,) = self.sent()
        return message

    def receive(self, message):
        self.agent.receive_data(bytes(message), self.now)

    def invite(self, uri="sip:bob@example.com", **options) -> SIPRequest:
        """Send an INVITE; what is on the wire."""
        request = self.agent.new_request("INVITE", uri, **options)
        self.agent.attach(request.call_id, self)
        self.agent.send(request, self, self.now)
        return self.sent_one()

    def wait_for_deadline(self):
        self.now = self.agent.next_deadline()
        self.agent.handle_timeout(self.now)


class Network:
    """Carries what agents send, by a clock that goes only as far as something happens.

    Args:
        random: decides which messages are lost or repeated, and how long each is on its way.
        lost, repeated: shares of the messages.
    """

    def __init__(self, random: Random, *, lost=0.0, repeated=0.0):
        self.now = 0.0
        self._random, self._lost, self._repeated = random, lost, repeated
        self._ends: dict[UserAgent, UserAgent] = {}
        self._on_the_way: list[tuple[float, int, UserAgent, bytes]] = []
        self._count = 0
        self.pending: list[tuple[float, int, Callable[[], None]]] = []

    def join(self, one: UserAgent, other: UserAgent) -> None:
        self._ends |= {one: other, other: one}

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Let something happen."""
        self._count += 1
        heappush(self.pending, (self.now + seconds, self._count, act))

    def run(self, until: float) -> None:
        """Go on until nothing is due before that moment."""
        for _ in range(100_000):
            self._pick_up()
            moments = [each for each in (agent.next_deadline() for agent in self._ends) if each is not None]
            moments += [heap[0][0] for heap in (self._on_the_way, self.pending) if heap]
            if min(moments, default=until) >= until:
                self.now = until
                return
            self.now = max(self.now, min(moments))
            while self._on_the_way and self._on_the_way[0][0] <= self.now:
                _, _, agent, data = heappop(self._on_the_way)
                agent.receive_data(data, self.now)
            while self.pending and self.pending[0][0] <= self.now:
                heappop(self.pending)[2]()
            for agent in self._ends:
                agent.handle_timeout(self.now)
        raise AssertionError("it never comes to rest")

    def _pick_up(self):
        for agent, other in self._ends.items():
            for data in agent.data_to_send():
                copies = (self._random.random() >= self._lost) + (self._random.random() < self._repeated)
                for _ in range(copies):
                    self._count += 1
                    arrival = self.now + self._random.uniform(0.01, 0.2)
                    heappush(self._on_the_way, (arrival, self._count, other, data))


class Call:
    """One end of a call, as simple as a usage can be: it answers what it is asked, and remembers how it ended."""

    def __init__(self, agent: UserAgent, *, answers: int = 200):
        self.agent = agent
        self.state = "new"
        self.dialog: Dialog | None = None
        self.invite: SIPRequest | None = None
        self.answers = answers
        self.acks = 0

    # The one that calls.

    def dial(self, uri: str, now: float) -> None:
        self.state = "calling"
        self.invite = self.agent.new_request("INVITE", uri)
        self.agent.attach(self.invite.call_id, self)
        self.agent.send(self.invite, self, now)

    def give_up(self, now: float) -> None:
        if self.state == "calling":
            self.agent.cancel(self.invite, now)

    def hang_up(self, now: float) -> None:
        if self.state == "up":
            self.state = "hanging up"
            self.agent.send(self.dialog.new_request("BYE"), self, now)

    def receive_response(self, request: SIPRequest, response: SIPResponse, now: float) -> None:
        if response.status < 200:
            return
        if request.method == "BYE":
            self.state = "down"
        elif request is self.invite and self.dialog is not None and self.state == "up" and response.status == 408:
            self.hang_up(now)  # our 2xx was never acknowledged
        elif response.status < 300:
            self.dialog = Dialog.from_response(request, response)
            self.acknowledge(request, now)
            self.state = "up"
        else:
            self.state = f"refused {response.status}"

    def acknowledge(self, invite: SIPRequest, now: float) -> None:
        self.agent.send_ack(self.dialog.new_ack(invite.cseq.number), now)

    # The one that is called.

    def ring(self, request: SIPRequest, now: float) -> "Call | None":
        return self if request.method == "INVITE" else None

    def pick_up(self, now: float) -> None:
        if self.state == "ringing":
            response = self.agent.respond(self.invite, self.answers, now)
            self.state = f"refused {self.answers}"
            if self.answers < 300:
                self.dialog = Dialog.from_request(self.invite, response.to)
                self.state = "up"

    def receive_request(self, request: SIPRequest, now: float) -> None:
        match request.method:
            case "INVITE" if self.invite is None:
                self.invite, self.state = request, "ringing"
                self.agent.respond(request, 180, now)
            case "ACK":
                self.acks += 1
            case "CANCEL":
                self.state = "cancelled"
            case "BYE" if self.dialog is not None and self.dialog.matches(request):
                if self.dialog.receive_request(request) is Arrival.NEXT:
                    self.state = "down"
                self.agent.respond(request, 200, now)
            case _:
                self.agent.respond(request, 481, now)
