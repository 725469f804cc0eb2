"""Keeps the index equal to the records: Django's signals say what was touched, the commit says when to look.

Signals only collect primary keys; after the commit the records are read once and compared with the index, however
often they were saved. Keys that a rolled-back savepoint leaves behind are looked at with the next commit, which is
harmless. A failure is logged by Django and never reaches whoever saved the record.
"""

from collections import defaultdict
from collections.abc import Iterable
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from django.apps import apps
from django.db import connections, transaction
from django.db.models import ForeignObjectRel, ManyToManyField, ManyToManyRel, ManyToOneRel, Model, signals

from .number_index import BATCH, index_records
from .sources import Source, on_change, registered, resolve

__all__: list[str] = []

_UID = "cti_django.contacts"

_watched: dict[type[Model], list[tuple[Source, str]]] = {}
"""Model -> the sources that it is part of, and by which path ("" is the source's own model)."""
_watched_through: dict[type[Model], list[tuple[Source, str, ManyToManyField | ManyToManyRel]]] = {}
"""Table behind a many-to-many field -> the sources whose paths cross it, the path up to it, and the field."""

_pending: WeakKeyDictionary[Any, dict[Source, set[Any]]] = WeakKeyDictionary()
_lock = Lock()


def _rewire() -> None:
    for model in _watched:
        for signal in (signals.pre_save, signals.post_save, signals.pre_delete, signals.post_delete):
            signal.disconnect(sender=model, dispatch_uid=_UID)
    for through in _watched_through:
        signals.m2m_changed.disconnect(sender=through, dispatch_uid=_UID)
    _watched.clear()
    _watched_through.clear()
    for source in registered():
        _watch(source.model, source, "")
        for path in source.related:
            _watch_path(source, path)
    for model in _watched:
        # By sender, never for all: a listener on post_delete costs a model Django's fast deletion.
        signals.pre_save.connect(_before, sender=model, dispatch_uid=_UID)
        signals.post_save.connect(_after, sender=model, dispatch_uid=_UID)
        signals.pre_delete.connect(_before, sender=model, dispatch_uid=_UID)
        signals.post_delete.connect(_after, sender=model, dispatch_uid=_UID)
    for through in _watched_through:
        signals.m2m_changed.connect(_linked, sender=through, dispatch_uid=_UID)


def _watch(model: type[Model], source: Source, path: str) -> None:
    concrete = model._meta.concrete_model
    for each in apps.get_models():
        # Children by inheritance and proxies send their own signals; so do parents, whose fields a child shows.
        if issubclass(each, concrete) or (not path and issubclass(concrete, each)):
            watches = _watched.setdefault(each, [])
            if (source, path) not in watches:
                watches.append((source, path))


def _watch_path(source: Source, path: str) -> None:
    names = path.split("__")
    for depth, step in enumerate(resolve(source.model, path)[:-1]):
        _watch(step.related_model, source, "__".join(names[: depth + 1]))
        if step.many_to_many:
            through = step.through if isinstance(step, ManyToManyRel) else step.remote_field.through
            _watched_through.setdefault(through, []).append((source, "__".join(names[:depth]), step))


def _before(sender: type[Model], instance: Model, using: str, **kwargs: Any) -> None:
    """Before a row is changed: the records that it belongs to now may not be those that it belongs to then."""
    deleting = kwargs["signal"] is signals.pre_delete
    for source, path in _watched.get(sender, ()):
        if path and not instance._state.adding:
            keys = _named_owner(source, path, instance) if deleting else None
            _collect(source, keys or _owners(source, path, [instance.pk], using), using)


def _after(sender: type[Model], instance: Model, using: str, **kwargs: Any) -> None:
    deleted = kwargs["signal"] is signals.post_delete
    for source, path in _watched.get(sender, ()):
        if not path:
            own_key = source.model._meta.pk.attname
            _collect(source, [getattr(instance, own_key, None) or instance.pk], using)
        elif not deleted:
            keys = _named_owner(source, path, instance) or _owners(source, path, [instance.pk], using)
            _collect(source, keys, using)
    _drain_after_commit(using)


def _linked(
    sender: type[Model],
    instance: Model,
    action: str,
    reverse: bool,
    pk_set: set[Any] | None,
    using: str,
    **_kwargs: Any,
) -> None:
    for source, path, step in _watched_through.get(sender, ()):
        if isinstance(step, ForeignObjectRel) is reverse:  # the instance stands at the near end of the path
            near: Iterable[Any] = [instance.pk]
        elif pk_set is not None:
            near = pk_set
        elif action == "pre_clear":
            near = list(
                step.model._base_manager.using(using).filter(**{step.name: instance.pk}).values_list("pk", flat=True)
            )
        else:
            near = ()
        _collect(source, _owners(source, path, near, using) if path else near, using)
    if action.startswith("post_"):
        _drain_after_commit(using)


def _named_owner(source: Source, path: str, instance: Model) -> list[Any]:
    """The record that a related row names itself, by its own foreign key: no query is needed. [] if it does not."""
    if "__" in path:
        return []
    step = source.model._meta.get_field(path)
    if not isinstance(step, ManyToOneRel) or not step.get_related_field().primary_key:
        return []
    key = getattr(instance, step.field.attname)
    return [] if key is None else [key]


def _owners(source: Source, path: str, keys: Iterable[Any], using: str) -> Iterable[Any]:
    """The primary keys of the records that the rows with these keys belong to."""
    records = source.model._base_manager.using(using).filter(**{f"{path}__in": list(keys)})
    return records.values_list("pk", flat=True)


def _collect(source: Source, keys: Iterable[Any], using: str) -> None:
    found = set(keys)
    with _lock:
        _pending.setdefault(connections[using], defaultdict(set))[source].update(found)


def _drain_after_commit(using: str) -> None:
    def drain() -> None:  # no partial(): Django asks a callback that failed for its name, to log it
        _drain(using)

    transaction.on_commit(drain, using=using, robust=True)


def _drain(using: str) -> None:
    with _lock:
        pending = _pending.pop(connections[using], {})
    for source, keys in pending.items():
        ordered = list(keys)
        for start in range(0, len(ordered), BATCH):
            index_records(source, ordered[start : start + BATCH], using=using)


on_change(_rewire)
