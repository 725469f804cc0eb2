"""What an agent may see, loaded once and kept for a few minutes, so that a ring costs no permission query.

In this process a changed user, group or permission is noticed at once; a change made elsewhere is noticed when the
time is over, or when the agent's session calls ``arefresh_rights``, which it should do about once a minute.
"""

import time
from dataclasses import dataclass, replace
from typing import Any

from django.contrib.auth import get_permission_codename, get_user_model
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Model, signals

from ..threads import MATCH_THREADS

__all__ = ["RIGHTS_SECONDS", "AgentRights", "arefresh_rights", "forget_rights", "rights_from", "rights_of"]

RIGHTS_SECONDS = 300.0
"""How long rights are believed without looking again."""


@dataclass(frozen=True, slots=True)
class AgentRights:
    """What one agent may see.

    Args:
        agent_id: the user's primary key.
        user: the user, for a source's ``get_queryset``; None if there is no such user any more.
        permissions: "app.codename" of all permissions, by groups too; for a superuser they do not matter.
    """

    agent_id: Any
    user: Any
    permissions: frozenset[str] = frozenset()

    def may_view(self, model: type[Model]) -> bool:
        """Whether the agent may see records of `model` at all; to change them includes that, as in the admin."""
        return self._may("view", model) or self._may("change", model)

    def may_add(self, model: type[Model]) -> bool:
        """Whether the agent may create records of `model`."""
        return self._may("add", model)

    def has_perm(self, permission: str) -> bool:
        """Whether the agent has a permission ("app.codename"), as Django's ``user.has_perm`` would say."""
        if self.user is None or not self.user.is_active:
            return False
        return getattr(self.user, "is_superuser", False) or permission in self.permissions

    def _may(self, action: str, model: type[Model]) -> bool:
        return self.has_perm(f"{model._meta.app_label}.{get_permission_codename(action, model._meta)}")


_cache: dict[Any, tuple[float, AgentRights]] = {}
_changes = 0
"""Rises whenever rights are forgotten: what was being looked up meanwhile may be old already."""


def rights_of(agent_id: Any) -> AgentRights:
    """The rights of an agent; three queries at most, and none while they are remembered."""
    found = _cache.get(agent_id)
    if found is not None and time.monotonic() - found[0] < RIGHTS_SECONDS:
        return found[1]
    return _load(agent_id)


async def arefresh_rights(agent_id: Any) -> AgentRights:
    """Look an agent's rights up anew, away from the event loop."""
    return await MATCH_THREADS.run(_load, agent_id)


def forget_rights(agent_id: Any = None) -> None:
    """Forget the rights of one agent (None: of all), after a change that no signal told."""
    global _changes
    _changes += 1
    if agent_id is None:
        _cache.clear()
    else:
        _cache.pop(agent_id, None)


def rights_from(user: Any) -> AgentRights:
    """The rights of a user who is at hand, such as a request's; no query if her permissions were asked for before."""
    needed = user is not None and user.is_active and not getattr(user, "is_superuser", False)
    permissions = frozenset(user.get_all_permissions()) if needed else frozenset()
    return AgentRights(getattr(user, "pk", None), user, permissions)


def _load(agent_id: Any) -> AgentRights:
    changes = _changes
    rights = replace(rights_from(get_user_model()._default_manager.filter(pk=agent_id).first()), agent_id=agent_id)
    if changes == _changes:
        _cache[agent_id] = (time.monotonic(), rights)
    return rights


def _forget_now_and_then(agent_id: Any, using: str) -> None:
    """What is changed in a transaction is what others still read until its end, and could remember."""
    forget_rights(agent_id)
    transaction.on_commit(lambda: forget_rights(agent_id), using=using)


def _user_saved(instance: Model, using: str, update_fields: frozenset[str] | None = None, **_kwargs: Any) -> None:
    if update_fields is None or not update_fields <= {"last_login"}:  # a log-in changes no right
        _forget_now_and_then(instance.pk, using)


def _links_changed(action: str, using: str, **_kwargs: Any) -> None:
    if action.startswith("post_"):
        _forget_now_and_then(None, using)


def _follow() -> None:
    user_model = get_user_model()
    signals.post_save.connect(_user_saved, sender=user_model, dispatch_uid="cti_django.rights")
    throughs = [Group.permissions.through]
    for name in ("groups", "user_permissions"):
        if hasattr(user_model, name):
            throughs.append(getattr(user_model, name).through)
    for through in throughs:
        signals.m2m_changed.connect(_links_changed, sender=through, dispatch_uid="cti_django.rights")


_follow()
