"""A changed telephone account is taken up at once: whichever process runs the agent's session is told to reload it."""

from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete, post_save, pre_save

from ..models import ConnectorAccount, Instruction
from . import lease

__all__ = ["connect_signals"]


def _reload(agent_id: Any, using: str) -> None:
    # Robust: an account is stored, or a form answered, even if nobody can be told.
    transaction.on_commit(lambda: lease.instruct([agent_id], Instruction.RELOAD), using=using, robust=True)


def _will_be_saved(instance: ConnectorAccount, using: str, raw: bool = False, **kwargs: Any) -> None:
    if raw or instance.pk is None:
        return
    # An account that is given to somebody else must not stay logged in for its former agent.
    former = ConnectorAccount.objects.using(using).filter(pk=instance.pk).exclude(user_id=instance.user_id)
    for agent_id in former.values_list("user_id", flat=True):
        _reload(agent_id, using)


def _saved(instance: ConnectorAccount, using: str, **kwargs: Any) -> None:
    _reload(instance.user_id, using)


def connect_signals() -> None:
    """Follow every account that is saved or deleted through the ORM; ``update()`` tells nobody. Called once, when the
    app is ready."""
    uid = "cti_django.account_watch"
    pre_save.connect(_will_be_saved, sender=ConnectorAccount, dispatch_uid=uid)
    post_save.connect(_saved, sender=ConnectorAccount, dispatch_uid=uid)
    post_delete.connect(_saved, sender=ConnectorAccount, dispatch_uid=uid)
