"""Dialog-info documents: what a subscription to somebody's calls is told (RFC 4235).

``parse_dialog_info`` reads one document; ``DialogInfoTracker`` tells, for one subscription, whether a document is
news. Elements of other namespaces and elements nobody here needs are passed over, as RFC 4235 section 4.4 asks.
"""

from dataclasses import dataclass, field
from enum import Enum
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import XMLParser

from ..exceptions import DialogInfoError

__all__ = [
    "DialogElement",
    "DialogInfo",
    "DialogInfoTracker",
    "Freshness",
    "Participant",
    "parse_dialog_info",
]

NAMESPACE = "urn:ietf:params:xml:ns:dialog-info"
MAX_DOCUMENT = 65_536  # bytes
MAX_DEPTH = 16  # elements inside one another; RFC 4235 needs five
MAX_DIALOGS = 200
MAX_PARAMS = 32  # of one target
MAX_TEXT = 256  # characters of any text or attribute that are kept

_UNPRINTABLE = dict.fromkeys((*range(32), *range(127, 160), 8232, 8233, *range(8234, 8239)))


@dataclass(frozen=True, slots=True)
class Participant:
    """One side of a dialog.

    Args:
        identity: the URI of ``<identity>``, "" if there is none.
        display: its display name; whatever somebody called himself, so escape it on output.
        target: the URI of ``<target>``, "" if there is none.
        params: the target's parameters, ``{"+sip.rendering": "no"}``.
    """

    identity: str = ""
    display: str = ""
    target: str = ""
    params: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DialogElement:
    """One dialog of a document.

    Args:
        dialog_id: ``dialog/@id``.
        direction: "initiator" or "recipient" (also spelt "receiver" on the wire), None if the document does not say.
        state: in small letters: "trying", "proceeding", "early", "confirmed", "terminated", or what else was there.
        event: why it came to this state ("rejected", "remote-bye", ...), "" if the document does not say.
        code: the SIP status that brought it there, None if the document does not say.
        local: the side that is watched.
        remote: the other side.
    """

    dialog_id: str
    direction: str | None
    state: str
    event: str
    code: int | None
    local: Participant
    remote: Participant


@dataclass(frozen=True, slots=True)
class DialogInfo:
    """One document.

    Args:
        version: the document's number within its subscription.
        is_full: whether it lists all dialogs there are ("full") or only those that changed ("partial").
        entity: the URI of whom it tells.
        dialogs: in the order of the document.
    """

    version: int
    is_full: bool
    entity: str
    dialogs: tuple[DialogElement, ...]


def parse_dialog_info(body: bytes) -> DialogInfo:
    """Read a dialog-info document.

    DTDs and entities are refused, so nothing in a document is ever expanded or fetched. Texts come out without control
    characters and capped.

    Raises:
        DialogInfoError: not such a document, or larger or deeper than any honest one. Nothing else, whatever comes in.

    Source: RFC 4235 section 4.
    """
    if len(body) > MAX_DOCUMENT:
        raise DialogInfoError("The telephone system sent a dialog document that is too large.")
    reader = _Reader()
    # The parser hands its events straight to the reader: no tree is built, and a hostile document is dropped where
    # its first excess stands.
    parser = XMLParser(target=reader, forbid_dtd=True)
    try:
        parser.feed(body)
        parser.close()
    except DialogInfoError:
        raise
    except DefusedXmlException:
        raise DialogInfoError("The telephone system sent a dialog document with a DTD or entities in it.") from None
    except (ParseError, ValueError, LookupError, AttributeError, TypeError):  # the last four: strange encodings
        raise DialogInfoError("The telephone system sent a dialog document that is not well-formed XML.") from None
    return reader.document()


class _Reader:
    """The parser's target: builds the dialogs while the elements pass by."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._root: dict[str, str] | None = None
        self._dialogs: list[DialogElement] = []
        self._text: list[str] | None = None
        self._begin_dialog({})

    def _begin_dialog(self, attributes: dict[str, str]) -> None:
        self._dialog = attributes
        self._state = ""
        self._state_attributes: dict[str, str] = {}
        self._sides: dict[str, dict[str, str]] = {"local": {}, "remote": {}}
        self._params: dict[str, dict[str, str]] = {"local": {}, "remote": {}}

    # -- what the parser calls ----------------------------------------------------------------------------------

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        path = self._path
        if len(path) >= MAX_DEPTH:
            raise DialogInfoError("The telephone system sent a dialog document that is nested too deeply.")
        namespace, _, name = tag.rpartition("}")
        # Some servers forget the namespace altogether; a foreign one is an extension that means nothing to us.
        path.append(name if not namespace or namespace[1:] == NAMESPACE else "")
        match path:
            case ["dialog-info"]:
                self._root = attributes
            case ["dialog-info", "dialog"]:
                self._begin_dialog(attributes)
            case ["dialog-info", "dialog", "state"]:
                self._state_attributes = attributes
                self._text = []
            case ["dialog-info", "dialog", "local" | "remote" as side, "identity"]:
                self._sides[side]["display"] = attributes.get("display") or attributes.get("display-name", "")
                self._text = []
            case ["dialog-info", "dialog", "local" | "remote" as side, "target"]:
                self._sides[side]["target"] = attributes.get("uri", "")
            case ["dialog-info", "dialog", "local" | "remote" as side, "target", "param"]:
                self._take_param(self._params[side], attributes)

    def data(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def end(self, tag: str) -> None:
        match self._path:
            case ["dialog-info", "dialog"]:
                self._end_dialog()
            case ["dialog-info", "dialog", "state"]:
                self._state = self._take_text()
            case ["dialog-info", "dialog", "local" | "remote" as side, "identity"]:
                self._sides[side]["identity"] = self._take_text()
        self._path.pop()

    def close(self) -> None:
        """The document is over."""

    # -- what becomes of it -------------------------------------------------------------------------------------

    def _take_text(self) -> str:
        text, self._text = "".join(self._text or ()), None
        return _clean(text)

    def _take_param(self, params: dict[str, str], attributes: dict[str, str]) -> None:
        name = _clean(attributes.get("pname", "")).lower()
        if name and len(params) < MAX_PARAMS:
            params[name] = _clean(attributes.get("pval", ""))

    def _end_dialog(self) -> None:
        dialog_id = _clean(self._dialog.get("id", ""))
        if not dialog_id:
            return
        if len(self._dialogs) >= MAX_DIALOGS:
            raise DialogInfoError("The telephone system sent a dialog document with too many dialogs.")
        code = self._state_attributes.get("code", "")
        self._dialogs.append(
            DialogElement(
                dialog_id=dialog_id,
                direction=_DIRECTIONS.get(self._dialog.get("direction", "").strip().lower()),
                state=self._state.lower(),
                event=_clean(self._state_attributes.get("event", "")).lower(),
                code=int(code) if code.isascii() and code.isdigit() and len(code) == 3 else None,
                local=self._participant("local"),
                remote=self._participant("remote"),
            )
        )

    def _participant(self, side: str) -> Participant:
        told = self._sides[side]
        return Participant(
            identity=told.get("identity", ""),
            display=_clean(told.get("display", "")),
            target=_clean(told.get("target", "")),
            params=self._params[side],
        )

    def document(self) -> DialogInfo:
        if self._root is None:
            raise DialogInfoError("The telephone system sent XML that is not a dialog document.")
        version = self._root.get("version", "").strip()
        if not (version.isascii() and version.isdigit() and len(version) <= 20):
            raise DialogInfoError("The telephone system sent a dialog document without a version.")
        state = self._root.get("state", "").strip().lower()
        if state not in ("full", "partial"):
            raise DialogInfoError("The telephone system sent a dialog document that is neither full nor partial.")
        return DialogInfo(
            version=int(version),
            is_full=state == "full",
            entity=_clean(self._root.get("entity", "")),
            dialogs=tuple(self._dialogs),
        )


_DIRECTIONS = {"initiator": "initiator", "recipient": "recipient", "receiver": "recipient"}


def _clean(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text[:MAX_TEXT].strip()
    return text.translate(_UNPRINTABLE)[:MAX_TEXT].strip()


class Freshness(Enum):
    """What a document is to its subscription."""

    NEWS = "news"  # use it
    GAP = "gap"  # use it, and ask for a full state: something before it is missing
    DUPLICATE = "duplicate"  # known already: drop it
    OUT_OF_STEP = "out of step"  # drop it, and ask for a full state: the server counts anew, or replays


class DialogInfoTracker:
    """The versions of one subscription.

    A document that is older than what we have may be a replay, and would end calls that live; or the server has
    begun to count anew. A full state that was asked for settles it: that one is always news. Only documents whose
    NOTIFY came in order (by its CSeq) may be shown to it.

    Source: RFC 4235 section 4.3.
    """

    __slots__ = ("_expects_full", "_last", "_last_partial", "_starts_empty", "_version")

    def __init__(self) -> None:
        self._starts_empty = False
        self._version: int | None = None
        self._last: DialogInfo | None = None
        self._last_partial: DialogInfo | None = None
        self._expects_full = True

    def expect_full(self) -> None:
        """A subscription was just made or refreshed: the next full state counts, whatever its version."""
        self._expects_full = True

    def start_empty(self) -> None:
        """The first NOTIFY had no document, so there are no dialogs: nothing is missing before the next."""
        self._starts_empty = True

    def judge(self, info: DialogInfo) -> Freshness:
        """Tell what `info` is, and remember its version if it is to be used."""
        if info.is_full:
            return self._judge_full(info)
        if self._version is None:
            freshness = Freshness.NEWS if self._starts_empty else Freshness.GAP
        elif info.version <= self._version:
            # What comes late on the way never gets here, because its CSeq is old: so this is a copy, or a new count.
            return Freshness.DUPLICATE if info == self._last_partial else Freshness.OUT_OF_STEP
        else:
            freshness = Freshness.NEWS if info.version == self._version + 1 else Freshness.GAP
        self._version = info.version
        self._last, self._last_partial = None, info
        return freshness

    def _judge_full(self, info: DialogInfo) -> Freshness:
        if self._version is not None and not self._expects_full and info.version <= self._version:
            if info.version < self._version:
                return Freshness.OUT_OF_STEP
            # Servers that never count write one version on every full state: only its content tells whether it is new.
            if self._last is None or info == self._last:
                return Freshness.DUPLICATE
        self._version = info.version
        self._last = info
        self._expects_full = False
        return Freshness.NEWS
