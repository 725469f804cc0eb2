"""What an agent of any SIP server watches: her own calls, and further nodes."""

from collections.abc import Callable

from ...calls.notifications import Notification
from ...calls.numbers import NumberPlan
from ..complaints import Complaints
from ..sip_dialogs import own_extension
from ..sip_watch import Dialect, Watch
from .translate import sip_node, translate

__all__ = ["new_watch"]


def new_watch(
    own: str,
    wanted: list[str],
    plan: NumberPlan,
    complaints: Complaints,
    say: Callable[[Notification], None],
    on_refused: Callable[[int], None],
) -> Watch:
    """A watch over the dialogs of `own`, the user part of an address; the rest is as for ``Watch``."""
    dialect = Dialect(
        sip_node=sip_node,
        node_advice="That is no node: write the number of an extension.",
        translate=lambda info, node: translate(info, node, plan),
        own_number=lambda dialog: own_extension(dialog, plan),
    )
    return Watch(own, f"user:{own}", wanted, dialect, complaints, say, on_refused)
