"""The Asterisk connector as the flows use it."""

from dataclasses import replace
from typing import Any

from cti_django.connectors.asterisk.connector import AsteriskConnector
from cti_django.connectors.base import Credentials
from tests.pbx.asterisk import Asterisk

__all__ = ["connector", "options"]


def options(pbx: Asterisk, **others: Any) -> dict[str, Any]:
    """The connector's options for this Asterisk, with the least rights; `others` replace or add."""
    return {
        "host": "127.0.0.1",
        "port": pbx.ami_port,
        "username": "cti",
        "secret": pbx.secret,
        "dial_context": "from-agents",
        "hold_context": "cti-hold",
        "hint_context": "hints",
        "answer": "redirect",
        "answer_context": "auto-answer",
        "queues": "sales",
        **others,
    }


def connector(pbx: Asterisk, agent: str, **others: Any) -> AsteriskConnector:
    """One agent's connector."""
    plan = replace(AsteriskConnector.number_plan_defaults, region="GB")
    return AsteriskConnector(Credentials(username=agent), options(pbx, **others), number_plan=plan)
