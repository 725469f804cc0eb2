"""What the dialplan knows, asked before it is relied on."""

from ...exceptions import CommandRefused
from .manager import Manager
from .options import Options

__all__ = ["check_number"]


async def check_number(manager: Manager, options: Options, context: str, digits: str) -> None:
    """See whether `context` (or what it includes) has anything for `digits`; where that cannot be told, it has.

    Raises:
        CommandRefused: it has not. A call that is sent there would be dropped.
        ConnectionLost: there is no answer.

    Source: Asterisk's documentation, AMI action ShowDialPlan.
    """
    if not options.check_numbers or "ShowDialPlan" not in manager.commands:
        return
    answer = await manager.ask_list("ShowDialPlan", [("Context", context), ("Extension", digits)])
    if answer.get("Response") == "Error" and "did not find extension" in answer.get("Message", "").lower():
        raise CommandRefused("The telephone system does not know that number.", code="number_refused")
