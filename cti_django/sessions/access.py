"""Who may use the telephone, and how an open socket learns that this has changed."""

from importlib import import_module
from types import SimpleNamespace
from typing import Any

from django.contrib.auth import get_user, get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save

from ..conf import project_setting
from ..threads import WORK_THREADS
from . import bus

__all__ = ["PERMISSION", "check_access", "connect_signals", "may_use_telephone"]

PERMISSION = "cti_django.use_telephone"


def may_use_telephone(user: Any) -> bool:
    """Whether `user` is logged in, active, and has the permission."""
    return bool(user is not None and user.is_authenticated and user.is_active and user.has_perm(PERMISSION))


async def check_access(user_id: Any, session_key: str | None) -> str:
    """Ask the database anew: "" if the user may go on, else "logged_out" or "no_permission".

    Args:
        session_key: of the browser's Django session; None if the socket was not authenticated by one.
    """
    return await WORK_THREADS.run(_check_access, user_id, session_key)


def _check_access(user_id: Any, session_key: str | None) -> str:
    if session_key is None:
        user = get_user_model()._default_manager.filter(pk=user_id).first()
    else:
        # The session is read anew: it may have been ended, or its user's password changed.
        store = import_module(project_setting("SESSION_ENGINE")).SessionStore(session_key)
        user = get_user(SimpleNamespace(session=store))  # type: ignore[arg-type]
    if user is None or user.pk != user_id:
        return "logged_out"
    return "" if may_use_telephone(user) else "no_permission"


def _recheck_user(user_id: Any, using: str | None = None) -> None:
    transaction.on_commit(lambda: bus.ask_to_recheck(user_id), using=using)


def _user_saved(instance: Any, created: bool, using: str, update_fields: Any = None, **kwargs: Any) -> None:
    # Each log-in saves last_login alone; that changes nobody's rights.
    if not created and set(update_fields or ()) != {"last_login"}:
        _recheck_user(instance.pk, using)


def _user_gone(instance: Any, using: str, **kwargs: Any) -> None:
    _recheck_user(instance.pk, using)


def _logged_out(user: Any, **kwargs: Any) -> None:
    if user is not None:
        _recheck_user(user.pk)


def _rights_changed(instance: Any, action: str, using: str, **kwargs: Any) -> None:
    if action not in ("post_add", "post_remove", "post_clear"):
        return
    if isinstance(instance, get_user_model()):
        _recheck_user(instance.pk, using)
    else:
        transaction.on_commit(bus.ask_to_recheck, using=using)


def _group_gone(using: str, **kwargs: Any) -> None:
    transaction.on_commit(bus.ask_to_recheck, using=using)


def connect_signals() -> None:
    """Listen to everything that can end somebody's right to a socket. Called once, when the app is ready."""
    user_model = get_user_model()
    uid = "cti_django.access"
    user_logged_out.connect(_logged_out, dispatch_uid=uid)
    post_save.connect(_user_saved, sender=user_model, dispatch_uid=uid)
    post_delete.connect(_user_gone, sender=user_model, dispatch_uid=uid)
    post_delete.connect(_group_gone, sender=Group, dispatch_uid=uid)
    m2m_changed.connect(_rights_changed, sender=Group.permissions.through, dispatch_uid=uid)
    for field in ("groups", "user_permissions"):
        related = getattr(user_model, field, None)
        if related is not None:
            m2m_changed.connect(_rights_changed, sender=related.through, dispatch_uid=uid)
