"""The index: one row for each number of each record, kept equal to what the records say.

Writing is by comparison: what is there already costs nothing but the look, so indexing again is harmless at any time.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router, transaction
from django.db.models import Model, QuerySet

from ..calls.numbers import reversed_national
from ..models import ContactNumber
from .normal_forms import NormalForm, normal_forms
from .sources import Source, registered, source_for

__all__ = ["BATCH", "content_type_id", "index", "index_records", "remove_orphans", "remove_unregistered"]

logger = logging.getLogger("cti_django.contacts")

BATCH = 500
"""Records that are read and written at a time."""

_SHOWN = ("field", "label", "detail", "url", "is_primary")


def index(queryset: QuerySet, *, batch: int = BATCH, progress: Callable[[int], None] | None = None) -> int:
    """Bring the index up to date with the records of `queryset`, after what no signal tells (bulk_create, update()).

    Args:
        queryset: records of a registered model.
        batch: records at a time; each batch takes a few statements, whatever its size.
        progress: called with the number of records done after each batch.

    Returns:
        The number of records.

    Raises:
        ImproperlyConfigured: the model is not registered.
    """
    source = source_for(queryset.model)
    if source is None:
        raise ImproperlyConfigured(f"{queryset.model._meta.label} is not registered as a contact source.")
    done = 0
    for object_ids in _batches(queryset, batch):
        index_records(source, object_ids, using=queryset.db)
        done += len(object_ids)
        if progress is not None:
            progress(done)
    return done


def index_records(source: Source, object_ids: Sequence[Any], *, using: str | None = None) -> None:
    """Bring the index up to date with these records of a source, also with those that are gone.

    Args:
        object_ids: primary keys, at most a few thousand.
        using: the database that the records are read from.
    """
    alias = router.db_for_write(ContactNumber)
    type_id = content_type_id(source.model, alias)
    wanted: dict[tuple[str, str, str], ContactNumber] = {}
    unreadable = set()
    for obj in source.queryset(using).filter(pk__in=object_ids):
        try:
            for row in list(_rows(source, obj, type_id)):
                wanted[row.object_id, row.number, row.extension] = row
        except Exception:  # one record with a label that fails must not keep the others out
            logger.exception("The numbers of %s %s cannot be read.", source.model_label, obj.pk)
            unreadable.add(str(obj.pk))
    rows = ContactNumber.objects.using(alias).filter(
        content_type_id=type_id, object_id__in=[str(object_id) for object_id in object_ids]
    )
    stale = []
    for row in rows:
        new = wanted.get((row.object_id, row.number, row.extension))
        if new is None and row.object_id in unreadable:
            continue
        if new is None:
            stale.append(row.pk)
        elif all(getattr(row, name) == getattr(new, name) for name in _SHOWN):
            del wanted[row.object_id, row.number, row.extension]
    if stale or wanted:
        _write(alias, stale, list(wanted.values()))


def _write(alias: str, stale: list[int], wanted: list[ContactNumber]) -> None:
    for row in wanted:
        row.national_reversed = reversed_national(row.number) if row.number else ""
    targets = None
    if connections[alias].features.supports_update_conflicts_with_target:
        targets = ["content_type", "object_id", "number", "extension"]
    with transaction.atomic(using=alias):
        if stale:
            ContactNumber.objects.using(alias).filter(pk__in=stale).delete()
        # Two processes may index one record at the same time: the unique constraint makes one row of it.
        ContactNumber.objects.using(alias).bulk_create(
            wanted, update_conflicts=True, update_fields=_SHOWN, unique_fields=targets
        )


def _rows(source: Source, obj: Model, type_id: int) -> Iterator[ContactNumber]:
    region = source.region_of(obj)
    seen: set[NormalForm] = set()
    shown: dict[str, str] | None = None
    for field, value in source.values(obj):
        for form in normal_forms(value, region):
            if form in seen:
                continue
            if shown is None:  # most records of a batch have a number, but those that have none cost no label
                shown = _shown(source, obj)
            yield ContactNumber(
                content_type_id=type_id,
                object_id=str(obj.pk),
                field=field,
                number=form.number,
                extension=form.extension,
                kind=form.kind.value,
                is_primary=not seen,
                **shown,
            )
            seen.add(form)


def _shown(source: Source, obj: Model) -> dict[str, str]:
    texts = {"label": source.label_of(obj)[:200], "detail": source.detail_of(obj)[:200]}
    return {key: text.replace("\x00", "") for key, text in texts.items()} | {"url": source.stored_url(obj)}


def _batches(queryset: QuerySet, batch: int) -> Iterator[list[Any]]:
    """The primary keys in batches; each batch is one look at the primary key's index."""
    if queryset.query.is_sliced or queryset.query.distinct:
        queryset = queryset.model._base_manager.using(queryset.db).filter(
            pk__in=list(queryset.values_list("pk", flat=True))
        )
    keys = queryset.order_by("pk").values_list("pk", flat=True)
    found = list(keys[:batch])
    while found:
        yield found
        found = list(keys.filter(pk__gt=found[-1])[:batch]) if len(found) == batch else []


def remove_orphans(source: Source, *, batch: int = BATCH) -> int:
    """Remove the rows of records that are gone; return how many rows."""
    alias = router.db_for_write(ContactNumber)
    rows = ContactNumber.objects.using(alias).filter(content_type_id=content_type_id(source.model, alias))
    ids = rows.order_by("object_id").values_list("object_id", flat=True).distinct()
    removed = 0
    found = list(ids[:batch])
    while found:
        living = {str(pk) for pk in _living(source, found)}
        orphans = [object_id for object_id in found if object_id not in living]
        if orphans:
            removed += rows.filter(object_id__in=orphans).delete()[0]
        found = list(ids.filter(object_id__gt=found[-1])[:batch])
    return removed


def _living(source: Source, object_ids: Iterable[str]) -> Iterable[Any]:
    key = source.model._meta.pk
    return source.model._default_manager.filter(pk__in=[key.to_python(each) for each in object_ids]).values_list(
        "pk", flat=True
    )


def remove_unregistered() -> int:
    """Remove the rows of models that are not registered any more; return how many rows."""
    alias = router.db_for_write(ContactNumber)
    type_ids = [content_type_id(source.model, alias) for source in registered()]
    return ContactNumber.objects.using(alias).exclude(content_type_id__in=type_ids).delete()[0]


def content_type_id(model: type[Model], alias: str) -> int:
    """The id of a model's content type; Django remembers it, so only the first time is a query."""
    types = ContentType.objects.db_manager(alias)
    return types.get_for_model(model, for_concrete_model=False).pk
