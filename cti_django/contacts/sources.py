"""Which models of the CRM hold telephone numbers, and how their records are shown.

A CRM registers them in its ``cti.py``, which is found as ``admin.py`` is.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured, ObjectDoesNotExist
from django.db.models import Field, ForeignObjectRel, Model, QuerySet
from django.urls import NoReverseMatch, reverse

from ..conf import get_settings

__all__ = ["Source", "on_change", "register", "registered", "resolve", "source_for", "unregister"]

_SAFE_URLS = ("/", "https://", "http://")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """A registered model; the fields are the arguments of ``register``."""

    model: type[Model]
    fields: tuple[str, ...]
    related: tuple[str, ...]
    numbers: Callable[[Any], Iterable[Any]] | None
    label: Callable[[Any], Any] | str
    detail: Callable[[Any], Any] | str | None
    url: Callable[[Any], str] | str | None
    create_url: Callable[[str], str] | None
    get_queryset: Callable[[Any], QuerySet | None] | None
    priority: int
    region: Callable[[Any], str | None] | str | None
    prefetch: tuple[str, ...]

    @property
    def model_label(self) -> str:
        """ "crm.person"."""
        return self.model._meta.label_lower

    def queryset(self, using: str | None = None) -> QuerySet:
        """The records that are indexed, with everything that their numbers, labels and details need."""
        paths = ["__".join(_attributes(self.model, path)[:-1]) for path in self.related]
        queryset = self.model._default_manager.using(using)
        return queryset.prefetch_related(*dict.fromkeys([*self.prefetch, *paths]))

    def values(self, obj: Model) -> Iterator[tuple[str, Any]]:
        """(where it comes from, raw value) for each of a record's numbers, the most important first."""
        for name in self.fields:
            yield name, getattr(obj, name)
        for path in self.related:
            for value in _walk(obj, _attributes(self.model, path)):
                yield path, value
        if self.numbers is not None:
            for value in self.numbers(obj) or ():
                yield "", value

    def region_of(self, obj: Model) -> str:
        """The region that a record's national numbers belong to."""
        region = self.region(obj) if callable(self.region) else self.region
        return region or get_settings().region

    def label_of(self, obj: Model) -> str:
        """What a record is called."""
        return _shown(self.label, obj)

    def detail_of(self, obj: Model) -> str:
        """What stands below the label."""
        return _shown(self.detail, obj) if self.detail else ""

    def stored_url(self, obj: Model) -> str:
        """The record's URL if only the record can tell it; "" if `url_of` can do without the record."""
        if isinstance(self.url, str):
            return ""
        if self.url is not None:
            return _safe(self.url(obj))
        get_absolute_url = getattr(obj, "get_absolute_url", None)
        try:
            return _safe(get_absolute_url()) if get_absolute_url else ""
        except NoReverseMatch:
            return ""

    def url_of(self, object_id: str, stored: str) -> str:
        """The URL of the record `object_id`, which need not be loaded; "" if it has none."""
        if not isinstance(self.url, str):
            return stored
        try:
            return reverse(self.url, args=[object_id])
        except NoReverseMatch:
            return ""


_sources: dict[type[Model], Source] = {}
_listeners: list[Callable[[], None]] = []


def register(
    model: type[Model],
    fields: Sequence[str] = (),
    *,
    related: Sequence[str] = (),
    numbers: Callable[[Any], Iterable[Any]] | None = None,
    label: Callable[[Any], Any] | str = str,
    detail: Callable[[Any], Any] | str | None = None,
    url: Callable[[Any], str] | str | None = None,
    create_url: Callable[[str], str] | None = None,
    get_queryset: Callable[[Any], QuerySet | None] | None = None,
    priority: int = 0,
    region: Callable[[Any], str | None] | str | None = None,
    prefetch: Sequence[str] = (),
) -> None:
    """Have callers matched against the records of `model`.

    Args:
        model: a model of the CRM. Records that its default manager hides are not matched.
        fields: its own fields that hold numbers, the most important first (text, PhoneNumberField, JSON list ...).
        related: numbers in rows around it, as look-up paths ("numbers__value", "company__switchboard").
        numbers: numbers that are in no field: a function of the record. When something changes that the record's
            own save does not tell, call ``index``.
        label: what the record is called: a function of the record, or the name of an attribute.
        detail: what stands below the label (the company, say), likewise.
        url: the name of a URL pattern whose one argument is the primary key (nothing is stored then), or a function
            of the record; default: its ``get_absolute_url``. The latter two are stored: reindex when they change.
        create_url: the page that creates a record, as a function of the number (E.164, an extension, or "").
        get_queryset: the records that a user may see, as a function of the user; None means: none. It comes on top
            of the model's view permission.
        priority: candidates of a source with a higher priority stand first.
        region: ISO 3166 region of national numbers, or a function of the record; default: the setting REGION.
        prefetch: relations that `label`, `detail`, `numbers` and `region` follow, so that they cost no query a record.

    Raises:
        ImproperlyConfigured: the model is registered already, or there is no such field; the text names both.
    """
    apps.check_models_ready()
    if model in _sources:
        raise ImproperlyConfigured(f"{model._meta.label} is registered as a contact source already.")
    if not (fields or related or numbers):
        raise ImproperlyConfigured(f"{model._meta.label} is registered without any number: give fields or related.")
    if isinstance(fields, str) or isinstance(related, str):
        raise ImproperlyConfigured(f"{model._meta.label}: fields and related are lists of names, not one text.")
    for name in fields:
        resolve(model, name)
    for path in related:
        if "__" not in path:
            raise ImproperlyConfigured(f"{model._meta.label}: {path!r} leads to no related row; put it into fields.")
        resolve(model, path)
    _sources[model] = Source(
        model=model,
        fields=tuple(fields),
        related=tuple(related),
        numbers=numbers,
        label=label,
        detail=detail,
        url=url,
        create_url=create_url,
        get_queryset=get_queryset,
        priority=priority,
        region=region,
        prefetch=tuple(prefetch),
    )
    _tell()


def unregister(model: type[Model]) -> None:
    """Forget `model`. Its rows stay in the index, unused, until the next ``cti_reindex``.

    Raises:
        ImproperlyConfigured: it is not registered.
    """
    if _sources.pop(model, None) is None:
        raise ImproperlyConfigured(f"{model._meta.label} is not registered as a contact source.")
    _tell()


def registered() -> list[Source]:
    """All sources, the highest priority first."""
    return sorted(_sources.values(), key=lambda source: -source.priority)


def source_for(model: type[Model]) -> Source | None:
    """The source of a model's records: its own, or that of the model it inherits from or is a proxy of."""
    for each in (*model.__mro__, model._meta.concrete_model):
        if each in _sources:
            return _sources[each]
    return None


def on_change(listener: Callable[[], None]) -> None:
    """Call `listener` now, and whenever a source is registered or unregistered."""
    _listeners.append(listener)
    listener()


def _tell() -> None:
    for listener in _listeners:
        listener()


def resolve(model: type[Model], path: str) -> list[Field | ForeignObjectRel]:
    """The fields along a look-up path; the last is no relation.

    Raises:
        ImproperlyConfigured: there is no such path.
    """
    steps: list[Field | ForeignObjectRel] = []
    names = path.split("__")
    here = model
    for name in names:
        try:
            step = here._meta.get_field(name)
        except FieldDoesNotExist:
            known = [field.name for field in here._meta.get_fields()]
            near = get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            text = f"{model._meta.label} has no {path!r}: {here._meta.label} has no field {name!r}.{hint}"
            raise ImproperlyConfigured(text) from None
        steps.append(step)
        is_last = len(steps) == len(names)
        if bool(step.is_relation) is is_last:
            wrong = "is a relation" if is_last else "is no relation"
            raise ImproperlyConfigured(f"{model._meta.label}: {name!r} in {path!r} {wrong}.")
        if step.is_relation:
            here = step.related_model
    return steps


@cache
def _attributes(model: type[Model], path: str) -> list[str]:
    """A look-up path as the attributes to follow: the other end of a foreign key has another name there."""
    steps = resolve(model, path)
    return [step.get_accessor_name() if isinstance(step, ForeignObjectRel) else step.name for step in steps]


def _walk(obj: Any, attributes: Sequence[str]) -> Iterator[Any]:
    if obj is None:
        return
    first, *others = attributes
    try:
        found = getattr(obj, first)
    except ObjectDoesNotExist:  # the other end of a one-to-one relation
        return
    if not others:
        yield found
        return
    for each in found.all() if hasattr(found, "all") else [found]:
        yield from _walk(each, others)


def _shown(how: Callable[[Any], Any] | str, obj: Model) -> str:
    value = how(obj) if callable(how) else getattr(obj, how)
    if callable(value):
        value = value()
    return "" if value is None else str(value)


def _safe(url: Any) -> str:
    """Only what a browser may be sent to: a record could carry "javascript:" in a field that its URL is made of."""
    text = str(url or "")
    return text if text.startswith(_SAFE_URLS) and len(text) <= 500 else ""
