"""Dialog-info documents in the shape that VoIPstudio sends them, and a few that no honest server sends.

Source: RFC 4235 4. Deviates: ``direction="receiver"`` where the RFC says recipient, because the service does.
"""

from collections.abc import Iterable
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, tostring

from .legs import ANONYMOUS, Leg, Party

__all__ = ["CONTENT_TYPE", "ENTITY_BOMB", "MALFORMED", "dialog_info", "oversized"]

CONTENT_TYPE = "application/dialog-info+xml"
_USER = "-_.!~*'()&=+$,"  # what the user part of a SIP URI holds unescaped
NAMESPACE = "urn:ietf:params:xml:ns:dialog-info"

MALFORMED = b'<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="1"><dialog id="7310025-1"><state>early'
ENTITY_BOMB = (
    b'<!DOCTYPE dialog-info [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    b'<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;">]>'
    b'<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="1" state="full" entity="&d;"/>'
)


def dialog_info(node: str, domain: str, version: int, legs: Iterable[Leg], *, is_full: bool) -> bytes:
    """One document about `legs`, all of them seen from `node`."""
    root = Element(
        "dialog-info",
        {
            "xmlns": NAMESPACE,
            "version": str(version),
            "state": "full" if is_full else "partial",
            "entity": f"sip:{node}@{domain}",
        },
    )
    for leg in legs:
        _add_dialog(root, leg, domain)
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def oversized(node: str, domain: str, version: int) -> bytes:
    """A well-formed document of about a megabyte."""
    root = Element("dialog-info", {"xmlns": NAMESPACE, "version": str(version), "state": "partial"})
    root.set("entity", f"sip:{node}@{domain}")
    for number in range(8000):
        SubElement(SubElement(root, "dialog", {"id": f"{number}-1", "direction": "receiver"}), "state").text = "early"
    root.tail = " " * 400_000
    document: bytes = tostring(root, encoding="utf-8")
    return document


def _add_dialog(root: Element, leg: Leg, domain: str) -> None:
    direction = "initiator" if leg.initiator else "receiver"
    dialog = SubElement(root, "dialog", {"id": leg.leg_id, "direction": direction})
    SubElement(dialog, "state").text = leg.state.value
    target = _add_side(dialog, "local", leg.party, domain)
    params = {
        "+sip.rendering": "no" if leg.on_hold else "yes",
        "timestamp.start": str(int(leg.call.started_at)),
        "context": "LOCAL",
    }
    for name, value in params.items():
        SubElement(target, "param", {"pname": name, "pval": value})
    _add_side(dialog, "remote", leg.remote, domain)


def _add_side(dialog: Element, name: str, party: Party, domain: str) -> Element:
    host = "anonymous.invalid" if party is ANONYMOUS else domain
    uri = f"sip:{quote(party.number, safe=_USER)}@{host}"
    side = SubElement(dialog, name)
    SubElement(side, "identity", {"display": party.display}).text = uri
    return SubElement(side, "target", {"uri": uri})
