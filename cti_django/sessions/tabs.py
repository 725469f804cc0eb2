"""An agent's open tabs, wherever they are connected: which of them rings and pops, and which has popped what."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from . import bus

__all__ = ["MAX_POPPED", "Tab", "Tabs"]

KEPT_CLAIMS = 200
MAX_POPPED = 20  # pops that a tab may say it has opened, the newest last


@dataclass(slots=True)
class Tab:
    """One page load of an agent.

    Args:
        channel_name: of its consumer, wherever that is.
        holder: the process that it is connected to.
        popped: the keys of the pops that its browser has opened, as far as it says.
        connection: higher with each of the page's; what a process that was held up says of an earlier one is too late.
        say: if it is connected to this process: sends it a message, whether the bus works or not.
        join: likewise: joins its groups on the bus again.
    """

    tab_id: str
    channel_name: str
    holder: str = ""
    popped: list[str] = field(default_factory=list)
    connection: int = 0
    say: Callable[[dict[str, Any]], Awaitable[None]] | None = field(default=None, compare=False)
    join: Callable[[], Awaitable[None]] | None = field(default=None, compare=False)
    focused_order: int = 0  # the higher, the later it had the focus
    is_silent: bool = False  # it was offered a pop, and has not been heard since

    def note_popped(self, key: str) -> None:
        """It was granted this pop."""
        self.popped = [*self.popped, key][-MAX_POPPED:]


class Tabs:
    """All tabs of one agent that this process knows."""

    def __init__(self) -> None:
        self.elected = ""
        self._tabs: dict[str, Tab] = {}
        self._focus_count = 0
        self._claims: OrderedDict[str, str] = OrderedDict()  # a pop's key -> the tab that opened it

    def __len__(self) -> int:
        return len(self._tabs)

    def __iter__(self) -> Iterator[Tab]:
        return iter(list(self._tabs.values()))

    def get(self, tab_id: str) -> Tab | None:
        """The tab of that id."""
        return self._tabs.get(tab_id)

    @property
    def here(self) -> list[Tab]:
        """Those that are connected to this process."""
        return [tab for tab in self if tab.say is not None]

    def sit_down(self, tab: Tab, *, focused: bool) -> None:
        """A tab has opened, or presents itself once more. The first one is elected; later ones with the focus."""
        before = self._tabs.get(tab.tab_id)
        if before is not None and before.connection > tab.connection:
            return
        if before is not None and before.channel_name == tab.channel_name:
            tab.focused_order = before.focused_order
        else:
            self._focus_count += 1
            tab.focused_order = self._focus_count if focused else -self._focus_count
        self._tabs[tab.tab_id] = tab
        self._note_claims(tab)

    def stand_up(self, tab_id: str, channel_name: str) -> bool:
        """A connection of a tab has ended; whether the tab is gone.

        A page whose line broke comes back under its id, often before its old socket is found dead.
        """
        tab = self._tabs.get(tab_id)
        if tab is None or tab.channel_name != channel_name:
            return False
        del self._tabs[tab_id]
        return True

    def forget(self, is_gone: Callable[[Tab], bool]) -> bool:
        """These tabs cannot be reached any more; whether there were any."""
        before = len(self._tabs)
        self._tabs = {tab_id: tab for tab_id, tab in self._tabs.items() if not is_gone(tab)}
        return len(self._tabs) < before

    def focus(self, tab_id: str) -> None:
        """A tab has got the focus."""
        tab = self._tabs.get(tab_id)
        if tab is not None:
            self._focus_count += 1
            tab.focused_order, tab.is_silent = self._focus_count, False

    async def elect(self, fence: int) -> None:
        """Choose the tab that rings and pops: the one that had the focus last. Tell those for whom that changes."""
        elected = max(
            self._tabs.values(), key=lambda tab: (not tab.is_silent, tab.focused_order, tab.tab_id), default=None
        )
        before, self.elected = self.elected, elected.tab_id if elected else ""
        if before == self.elected:
            return
        for tab_id in (before, self.elected):
            if tab := self._tabs.get(tab_id):
                message = {"type": "elected", "elected": tab_id == self.elected, "fence": fence}
                await bus.send_to(tab.channel_name, message)

    # -- pops ---------------------------------------------------------------------------------------------------

    def has_popped(self, key: str) -> bool:
        """Whether a tab was granted this pop, or had opened it before it sat down."""
        return key in self._claims

    def claim(self, tab_id: str, key: str) -> str:
        """A tab asks for a pop: "" if it may open it, else why not. One tab may, once."""
        tab = self._tabs.get(tab_id)
        if tab is not None:
            tab.is_silent = False
        if self._claims.get(key, tab_id) != tab_id:
            return "popped"
        if tab_id != self.elected:
            return "not_elected"
        self._note_claim(key, tab_id)
        return ""

    def pass_over(self, tab_id: str) -> bool:
        """The elected tab does not ask for its pop: whether there is another one to elect."""
        tab = self._tabs.get(tab_id)
        if tab is None or tab_id != self.elected:
            return False
        tab.is_silent = True
        return any(not other.is_silent for other in self._tabs.values())

    def recall_claims(self) -> None:
        """Know what the tabs have popped since they sat down, while another process granted it."""
        for tab in self:
            self._note_claims(tab)

    def _note_claims(self, tab: Tab) -> None:
        for key in tab.popped:
            self._note_claim(key, tab.tab_id)

    def _note_claim(self, key: str, tab_id: str) -> None:
        self._claims.setdefault(key, tab_id)
        while len(self._claims) > KEPT_CLAIMS:
            self._claims.popitem(last=False)
