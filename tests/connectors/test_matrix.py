"""The matrix says what the connectors can: the page shows the CSV, and the CSV agrees with the code."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cti_django.calls.commands import Capability
from cti_django.connectors.asterisk.connector import AsteriskConnector
from cti_django.connectors.base import Connector, Credentials
from cti_django.connectors.sip.connector import SIPConnector
from cti_django.connectors.voipstudio.connector import VoIPstudioConnector
from cti_django.connectors.webhook.connector import WebhookConnector

CONNECTORS = Path(__file__).parents[2] / "docs" / "connectors"
BEGIN, END = "<!-- matrix.csv -->", "<!-- end of matrix.csv -->"

PLAIN: dict[str, tuple[type[Connector], dict[str, Any]]] = {
    "VoIPstudio": (VoIPstudioConnector, {}),
    "Asterisk": (AsteriskConnector, {"username": "cti", "secret": "secret"}),
    "SIP": (SIPConnector, {"server": "pbx.example.com"}),
    "webhook": (WebhookConnector, {}),
}
COLLEAGUES = {"directory": {"1002": "Bob Agent"}}
FULL: dict[str, dict[str, Any]] = {
    "VoIPstudio": {},
    "Asterisk": {
        "hold_context": "cti-hold",
        "answer": "talk",
        "queues": ["support"],
        "dnd_family": "DND",
        **COLLEAGUES,
    },
    "SIP": {"register": True, "click_to_call": "3pcc", **COLLEAGUES},
    "webhook": {"dial_url": "https://pbx.example.com/dial", "hangup_url": "https://pbx.example.com/hangup"},
}


def rows() -> list[dict[str, str]]:
    with (CONNECTORS / "matrix.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def rendered() -> str:
    names = ["what", *PLAIN]
    lines = [["", *PLAIN], ["---"] * len(names), *([row[name] for name in names] for row in rows())]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def build(name: str, *, is_full: bool) -> Connector:
    connector, options = PLAIN[name]
    options = {**options, **(FULL[name] if is_full else {})}
    return connector(Credentials(username="1001", password="secret"), options)


def cells() -> Iterator[tuple[Capability, str, str]]:
    for row in rows():
        if row["capability"]:
            for name in PLAIN:
                yield Capability(row["capability"]), name, row[name]


def test_every_capability_has_one_row() -> None:
    assert sorted(row["capability"] for row in rows() if row["capability"]) == sorted(Capability)


def test_the_page_shows_the_matrix() -> None:
    page = (CONNECTORS / "index.md").read_text()
    shown = page.partition(BEGIN)[2].partition(END)[0].strip()
    assert shown == rendered()


@pytest.mark.parametrize(("capability", "name", "cell"), list(cells()))
def test_a_connector_can_what_the_matrix_says(capability: Capability, name: str, cell: str) -> None:
    assert (capability in build(name, is_full=True).capabilities) is (cell != "no")
    if cell.startswith("yes"):
        assert capability in build(name, is_full=False).capabilities
    if cell.startswith("with"):
        assert capability not in build(name, is_full=False).capabilities
