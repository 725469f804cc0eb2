"""What an agent of VoIPstudio watches: her own calls, and further nodes."""

from collections.abc import Callable

from ...calls.notifications import Notification
from ...calls.numbers import NumberPlan
from ...exceptions import ConnectorError, LoginRefused
from ..complaints import Complaints
from ..sip_dialogs import own_extension
from ..sip_watch import Dialect, Watch
from .translate import sip_node, translate

__all__ = ["new_watch"]


def new_watch(
    own_user_id: str,
    wanted: list[str],
    plan: NumberPlan,
    complaints: Complaints,
    say: Callable[[Notification], None],
    fail: Callable[[ConnectorError], None],
) -> Watch:
    """A watch over the calls of `own_user_id`, in VoIPstudio's dialect.

    Args:
        wanted: the names of the further nodes ("user:10032"), kept up to date.
        plan: how the system writes numbers.
        complaints, say: as for ``Watch``.
        fail: hears what ends the whole session.
    """

    def refused(status: int) -> None:
        because = f" (status {status:d})" if status else ""
        fail(LoginRefused(f"The telephone system refuses to tell about your calls{because}."))

    dialect = Dialect(
        sip_node=sip_node,
        node_advice="That is no node: write user:10032, ivr:12, queue:17 or conf:31.",
        translate=lambda info, node: translate(info, node, plan),
        own_number=lambda dialog: own_extension(dialog, plan),
    )
    return Watch(own_user_id, f"user:{own_user_id}", wanted, dialect, complaints, say, refused)
