"""What a project may answer to a new call, and how each shape says it.

sipgate   XML; every answer to a new call also tells where to push that it was answered, and that it has ended
zammad    JSON: a reject. Nothing else is in that protocol for an inbound call
generic   JSON: {"action": "reject" | "redirect" | "voicemail" | "none"}

Source: sipgate.io's push API, "The XML response"; Zammad's "Generic CTI", "New Call".
"""

import json
import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

__all__ = ["Answer", "Decision", "Redirect", "Reject", "answer"]

_E164 = re.compile(r"\+?([1-9][0-9]{4,14})")


@dataclass(frozen=True, slots=True)
class Reject:
    """The caller is turned away.

    Args:
        reason: "rejected", or "busy" to sound engaged.
    """

    reason: str = "rejected"

    def __post_init__(self) -> None:
        if self.reason not in ("rejected", "busy"):
            raise ValueError('A reason to reject is "rejected" or "busy".')


@dataclass(frozen=True, slots=True)
class Redirect:
    """The call goes elsewhere.

    Args:
        number: where to, E.164 ("+442079460018").
        voicemail: to voicemail instead.
    """

    number: str = ""
    voicemail: bool = False

    def __post_init__(self) -> None:
        if bool(self.number) is bool(self.voicemail) or (self.number and not _E164.fullmatch(self.number)):
            raise ValueError("A call is redirected to a number (E.164) or to voicemail.")


Decision = Reject | Redirect | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a delivery.

    Args:
        status: of HTTP.
        is_obeyed: False if the shape cannot say what was decided.
    """

    body: bytes = b""
    content_type: str = "text/plain"
    status: int = 200
    is_obeyed: bool = True


def answer(shape: str, decision: Decision, *, is_new_call: bool, callback_url: str = "") -> Answer:
    """The answer that `shape` wants.

    Args:
        decision: only looked at for a new call.
        callback_url: where a system that has to be told shall push what comes next; "" if that is not known.
    """
    if shape == "sipgate":
        return _sipgate(decision if is_new_call else None, callback_url if is_new_call else "")
    return _json(shape, decision if is_new_call else None)


def _sipgate(decision: Decision, callback_url: str) -> Answer:
    response = Element("Response")
    if callback_url:
        response.set("onAnswer", callback_url)
        response.set("onHangup", callback_url)
    match decision:
        case Reject(reason):
            SubElement(response, "Reject", {"reason": reason})
        case Redirect(voicemail=True):
            SubElement(SubElement(response, "Dial"), "Voicemail")
        case Redirect(number):
            SubElement(SubElement(response, "Dial"), "Number").text = number.removeprefix("+")
    return Answer(tostring(response, encoding="utf-8", xml_declaration=True), "application/xml")


def _json(shape: str, decision: Decision) -> Answer:
    said: dict[str, str] = {}
    match decision:
        case Reject(reason):
            said = {"action": "reject", "reason": reason}
        case Redirect(voicemail=True) if shape == "generic":
            said = {"action": "voicemail"}
        case Redirect(number) if shape == "generic":
            said = {"action": "redirect", "number": number}
    return Answer(json.dumps(said).encode(), "application/json", is_obeyed=bool(said) or decision is None)
