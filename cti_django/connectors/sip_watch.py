"""What an agent watches over SIP: her own calls, and further nodes; subscriptions in, notifications out.

What differs from one kind of server to the next is its ``Dialect``: how it names nodes, and what its documents mean.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ..calls.notifications import LegNotification, Notification, SessionNotification, Snapshot
from ..exceptions import CommandRefused, DialogInfoError
from ..wire.dialog_info import DialogElement, DialogInfo, DialogInfoTracker, Freshness, parse_dialog_info
from ..wire.sip_subscriber import (
    NotifyReceived,
    ProtocolFault,
    SubscriberEvent,
    SubscriptionActive,
    SubscriptionEnded,
)
from .complaints import Complaints

__all__ = ["MAX_NODES", "Dialect", "SubscribingLine", "Watch"]

CONTENT_TYPE = "application/dialog-info+xml"
MAX_NODES = 50
MAX_OWN_NUMBERS = 10  # as many as anybody has; more are not learnt
REFRESH_SECONDS = 10.0  # a full state is asked for no oftener than this


class SubscribingLine(Protocol):
    """What a watch needs of a line."""

    def subscribe(self, node: str) -> None:
        """Subscribe to `node`, the user part of its SIP URI."""

    def refresh(self, node: str) -> None:
        """Ask for the full state of `node`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What one kind of server says, and how it is read.

    Args:
        sip_node: the user part of the SIP URI at which a node, as an agent writes it, is subscribed; "" if it is none.
        node_advice: the sentence for a node that is none.
        translate: what a document tells of a node ("": the agent's own).
        own_number: the number of whoever is watched, as far as a dialog shows it; "" if it does not.
    """

    sip_node: Callable[[str], str]
    node_advice: str
    translate: Callable[[DialogInfo, str], list[Snapshot | LegNotification]]
    own_number: Callable[[DialogElement], str]


@dataclass(slots=True)
class _Node:
    name: str  # as the agent writes it
    is_own: bool
    tracker: DialogInfoTracker = field(default_factory=DialogInfoTracker)
    is_active: bool = False
    is_paused: bool = False
    has_state: bool = False  # some NOTIFY of the present subscription has told how things stand
    refreshed_at: float = float("-inf")
    refresh: asyncio.TimerHandle | None = None


class Watch:
    """The nodes of one line.

    Args:
        own: the user part of the SIP URI at which the agent's own calls are told.
        own_name: that node as the agent writes it.
        wanted: the names of the further nodes, kept up to date: what the system refuses is taken out.
        dialect: of the server.
        complaints: hears of what cannot be understood.
        say: hears the notifications.
        on_refused: hears that the server will not tell of the agent's own calls: the status, 0 if it gave none.
    """

    def __init__(
        self,
        own: str,
        own_name: str,
        wanted: list[str],
        dialect: Dialect,
        complaints: Complaints,
        say: Callable[[Notification], None],
        on_refused: Callable[[int], None],
    ) -> None:
        self.own_numbers = {own}
        """The numbers that ring the agent herself, as far as they are known."""
        self._own = own
        self._own_name = own_name
        self._wanted = wanted
        self._dialect = dialect
        self._say = say
        self._on_refused = on_refused
        self._complaints = complaints
        self._line: SubscribingLine | None = None
        self._nodes: dict[str, _Node] = {}

    def begin(self, line: SubscribingLine) -> None:
        """Subscribe to the agent's own node; the further ones follow when that is accepted."""
        self._line = line
        self._subscribe(self._own, _Node(name=self._own_name, is_own=True))

    def add(self, name: str) -> None:
        """Watch the further node `name`; SUBSCRIBED, or an ERROR, is said when the system has answered.

        Raises:
            CommandRefused: it is no node, or one too many.
        """
        sip = self._dialect.sip_node(name)
        if not sip:
            raise CommandRefused(self._dialect.node_advice, code="bad_node")
        node = self._nodes.get(sip)
        if node is not None:
            if node.is_active:
                self._say(SessionNotification(name="SUBSCRIBED", uri=node.name))
            return
        if len(self._wanted) >= MAX_NODES:
            raise CommandRefused(f"No more than {MAX_NODES} nodes can be watched.", code="too_many_nodes")
        self._wanted.append(name)
        self._subscribe(sip, _Node(name=name, is_own=False))

    def refresh(self) -> None:
        """Ask for the full state of the agent's own calls (RFC 6665 4.1.2.2: a refresh brings a NOTIFY of it)."""
        node = self._nodes.get(self._own)
        if node is not None:
            self._ask_for_full_state(self._own, node)

    def close(self) -> None:
        """Forget the line."""
        self._line = None
        for node in self._nodes.values():
            if node.refresh is not None:
                node.refresh.cancel()
        self._nodes.clear()

    def hear(self, event: SubscriberEvent) -> None:
        """Take in what the subscriber says."""
        if isinstance(event, ProtocolFault):
            self._complaints.tell("sip_fault", "The telephone line carried something that cannot be understood.")
            return
        node = self._nodes.get(event.node)
        if node is None:
            return
        match event:
            case SubscriptionActive():
                self._hear_active(node)
            case NotifyReceived():
                self._hear_notify(event, node)
            case SubscriptionEnded():
                self._hear_ended(event, node)

    # -- subscriptions ------------------------------------------------------------------------------------------

    def _subscribe(self, sip: str, node: _Node) -> None:
        self._nodes[sip] = node
        if self._line is not None:
            self._line.subscribe(sip)

    def _hear_active(self, node: _Node) -> None:
        if node.is_paused:
            node.is_paused = False
            self._say(SessionNotification(name="INFO", message=f"{node.name} is watched again.", code="line_back"))
        if node.is_active:
            return
        node.is_active = True
        self._say(SessionNotification(name="SUBSCRIBED", uri=node.name))
        if node.is_own:
            self._say(SessionNotification(name="READY"))
            for name in self._wanted:
                if (sip := self._dialect.sip_node(name)) not in self._nodes:
                    self._subscribe(sip, _Node(name=name, is_own=False))

    def _hear_ended(self, event: SubscriptionEnded, node: _Node) -> None:
        node.tracker = DialogInfoTracker()
        node.has_state = False
        if event.will_retry:
            if event.retry_after:
                node.is_paused = (
                    self._complaints.tell(
                        f"paused {node.name}",
                        f"The telephone system does not tell about {node.name} at the moment. It is asked again in "
                        f"{event.retry_after:.0f} seconds.",
                    )
                    or node.is_paused
                )
            return
        if node.is_own:
            self._on_refused(event.status)
            return
        because = f" (status {event.status:d})" if event.status else ""
        self._nodes.pop(event.node, None)
        if node.name in self._wanted:
            self._wanted.remove(node.name)
        message = f"The telephone system refuses to tell about {node.name}{because}."
        self._say(SessionNotification(name="ERROR", message=message, code="subscribe_refused"))

    # -- notifications ------------------------------------------------------------------------------------------

    def _hear_notify(self, event: NotifyReceived, node: _Node) -> None:
        if not event.body.strip():
            # The first NOTIFY of somebody who has no calls may be empty.
            if not node.has_state and event.subscription_state == "active":
                node.has_state = True
                node.tracker.start_empty()
                self._say(Snapshot(node="" if node.is_own else node.name))
            return
        if event.content_type not in (CONTENT_TYPE, ""):
            self._complaints.tell("not_dialog_info", "The telephone system told about a call in an unknown format.")
            return
        try:
            info = parse_dialog_info(event.body)
        except DialogInfoError as error:
            self._complaints.tell(error.code, str(error))
            return
        freshness = node.tracker.judge(info)
        if freshness in (Freshness.GAP, Freshness.OUT_OF_STEP):
            self._ask_for_full_state(event.node, node)
        if freshness in (Freshness.DUPLICATE, Freshness.OUT_OF_STEP):
            return
        node.has_state = True
        if node.is_own and len(self.own_numbers) < MAX_OWN_NUMBERS:
            self.own_numbers.update(filter(None, map(self._dialect.own_number, info.dialogs)))
        for notification in self._dialect.translate(info, "" if node.is_own else node.name):
            self._say(notification)

    def _ask_for_full_state(self, sip: str, node: _Node) -> None:
        if node.refresh is not None:
            return
        loop = asyncio.get_running_loop()

        def refresh() -> None:
            node.refresh = None
            node.refreshed_at = loop.time()
            node.tracker.expect_full()
            if self._line is not None:
                self._line.refresh(sip)

        node.refresh = loop.call_at(max(loop.time(), node.refreshed_at + REFRESH_SECONDS), refresh)
