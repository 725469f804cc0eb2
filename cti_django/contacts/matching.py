"""Who calls: from a party to the records of the CRM that this agent may see.

One indexed question to the database, which answers with all that a call bar shows: labels and URLs stand in the
index, so no record is loaded. Only a source with its own ``get_queryset`` costs one more.
"""

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import Any, Literal

from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, InterfaceError, OperationalError, connections, router
from django.db.models import CharField, Exists, Expression, Field, Model, OuterRef
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from .. import metrics
from ..calls.numbers import Party, PartyKind
from ..conf import get_settings
from ..models import ContactNumber, RememberedChoice
from ..threads import MATCH_THREADS
from .number_index import content_type_id
from .rights import AgentRights, rights_of
from .sources import Source, registered, source_for

__all__ = [
    "Candidate",
    "CreationLink",
    "Match",
    "MatchKind",
    "amatch",
    "aremember",
    "creation_links",
    "known",
    "match",
    "remember",
]

logger = logging.getLogger("cti_django.contacts")

MatchKind = Literal["one", "several", "none", "withheld", "internal", "forbidden"]

_ROWS_PER_CANDIDATE = 10
"""A number with very many records is cut off in the database; forbidden and repeated rows must not use up the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A record that a call may be about.

    Args:
        label: what the record is called.
        detail: what stands below it, "" if nothing.
        url: its page in the CRM, "" if it has none.
        admin_url: its change page in the admin, "" if it has none.
        model: "crm.person".
        content_type_id: with `object_id`, the record itself.
        object_id: the primary key, as text.
    """

    label: str
    detail: str
    url: str
    admin_url: str
    model: str
    content_type_id: int
    object_id: str

    def to_json(self) -> dict[str, str]:
        """What a browser hears of it."""
        return {
            "label": self.label,
            "detail": self.detail,
            "url": self.url,
            "adminUrl": self.admin_url,
            "model": self.model,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What came of a match.

    Args:
        kind: "one": the first candidate is the one (others may follow: the agent chose among them before);
            "several": the agent must choose; "none"; "withheld": the caller does not tell the number;
            "internal": an extension, with the records that have it; "forbidden": known, but the agent may see
            none of the records, and learns nothing of them.
        candidates: the best first, at most the setting MAX_CANDIDATES.
        failed: the database could not be asked, so that "none" means nothing.
        can_create: with "none": whether there is a page where this agent may create a record.
    """

    kind: MatchKind
    candidates: tuple[Candidate, ...] = ()
    failed: bool = False
    can_create: bool = False

    @property
    def certain(self) -> tuple[int, str] | None:
        """(content type id, object id) of the record that the call is about, if that is certain."""
        if self.kind != "one":
            return None
        return self.candidates[0].content_type_id, self.candidates[0].object_id

    def to_json(self) -> dict[str, Any]:
        """``match``, ``contacts`` and ``canCreate``, as the call object of the socket carries them."""
        candidates = [candidate.to_json() for candidate in self.candidates]
        return {"match": self.kind, "contacts": candidates, "canCreate": self.can_create}


@dataclass(frozen=True, slots=True, kw_only=True)
class CreationLink:
    """A page that creates a record for an unknown caller: the record's kind in words, "crm.person", and the URL."""

    label: str
    model: str
    url: str


def match(party: Party, agent_id: Any, rights: AgentRights | None = None) -> Match:
    """The records that `party` may be, best first, as far as the agent may see them. Never raises.

    Args:
        party: the other side of a call.
        agent_id: the user's primary key; what she chose before stands first.
        rights: hers, if they are at hand; else they are looked up and remembered for a while.
    """
    early = _without_asking(party)
    return early if early is not None else _match(party, agent_id, rights)


async def amatch(party: Party, agent_id: Any, rights: AgentRights | None = None) -> Match:
    """``match``, on the match's own threads. The caller sets the time limit."""
    early = _without_asking(party)
    return early if early is not None else await MATCH_THREADS.run(_match, party, agent_id, rights)


def remember(agent_id: Any, number: str, obj: Model) -> None:
    """The agent chose `obj` for `number` (E.164 or extension): from now on that is the match.

    Raises:
        ValueError: `obj` is no record of a registered source.
    """
    source = source_for(type(obj))
    if source is None:
        raise ValueError(f"{obj._meta.label} is not registered as a contact source.")
    alias = router.db_for_write(RememberedChoice)
    RememberedChoice.objects.using(alias).update_or_create(
        agent_id=agent_id,
        number=number,
        defaults={
            "content_type_id": content_type_id(source.model, alias),
            "object_id": str(obj.pk),
            "at": timezone.now(),
        },
    )


async def aremember(agent_id: Any, number: str, obj: Model) -> None:
    """``remember``, on the match's own threads."""
    await MATCH_THREADS.run(remember, agent_id, number, obj)


def known(keys: Collection[tuple[int, str]], rights: AgentRights) -> dict[tuple[int, str], Candidate]:
    """The records with these (content type id, object id), as the index shows them, if the agent may see them.

    One query (and one for each source with its own ``get_queryset``), whatever their number.
    """
    alias = router.db_for_read(ContactNumber)
    rows = ContactNumber.objects.using(alias).filter(
        content_type_id__in={type_id for type_id, _ in keys}, object_id__in={object_id for _, object_id in keys}
    )
    found = [
        row
        for values in rows.values_list("content_type_id", "object_id", "label", "detail", "url", "is_primary")
        if (row := _Row(*values, False)) and (row.content_type_id, row.object_id) in keys
    ]
    visible, _hidden = _visible(found, alias, rights)
    return {(row.content_type_id, row.object_id): _candidate(source, row) for source, row in visible}


def creation_links(number: str, rights: AgentRights) -> tuple[CreationLink, ...]:
    """The pages where this agent may create a record for `number` (E.164, an extension, or "")."""
    return tuple(
        CreationLink(
            label=str(source.model._meta.verbose_name), model=source.model_label, url=source.create_url(number)
        )
        for source in registered()
        if source.create_url is not None and rights.may_add(source.model)
    )


def _without_asking(party: Party) -> Match | None:
    if party.kind in (PartyKind.WITHHELD, PartyKind.UNAVAILABLE):
        return _counted(Match(kind="withheld"))
    if not (party.number or party.extension):
        return _counted(Match(kind="none"))
    return None


def _counted(found: Match) -> Match:
    metrics.matches_total.labels(result="failed" if found.failed else found.kind).inc()
    return found


def _match(party: Party, agent_id: Any, rights: AgentRights | None) -> Match:
    began = perf_counter()
    found = _look_up(party, agent_id, rights)
    metrics.match_seconds.observe(perf_counter() - began)
    return _counted(found)


def _look_up(party: Party, agent_id: Any, rights: AgentRights | None) -> Match:
    alias = router.db_for_read(ContactNumber)
    for is_last_try in (False, True):
        try:
            rows = _ask(alias, party, agent_id)
            rights = rights or rights_of(agent_id)
            visible, hidden = _visible(rows, alias, rights) if rows else ([], False)
            return _judge(party, visible, hidden, rights)
        except (OperationalError, InterfaceError):
            # Most often the server has closed an idle connection: a new one will do, unless a caller's
            # transaction lives on the old one.
            if is_last_try or connections[alias].in_atomic_block:
                logger.exception("The match could not ask the database.")
                break
            connections[alias].close()
        except DatabaseError:
            logger.exception("The match could not ask the database.")
            break
        except Exception:
            logger.exception("A contact source failed in the match.")
            break
    return Match(kind="none", failed=True)


@dataclass(frozen=True, slots=True)
class _Row:
    content_type_id: int
    object_id: str
    label: str
    detail: str
    url: str
    is_primary: bool
    is_remembered: bool


def _ask(alias: str, party: Party, agent_id: Any) -> list[_Row]:
    """The one question of the ring path."""
    connection = connections[alias]
    sql, slots = _question(alias, bool(party.number), get_settings().max_candidates * _ROWS_PER_CANDIDATE)
    answers = {
        "number": party.number,
        "extension": party.extension,
        "remembered": party.number or party.extension,
        "agent": get_user_model()._meta.pk.get_db_prep_value(agent_id, connection),
    }
    with connection.cursor() as cursor:
        cursor.execute(sql, [answers[slot.name] if isinstance(slot, _Slot) else slot for slot in slots])
        return [_Row(*values) for values in cursor.fetchall()]


class _Slot(Expression):
    """A place in a compiled question that each asking fills anew."""

    def __init__(self, name: str, output_field: Field) -> None:
        super().__init__(output_field=output_field)
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list["_Slot"]]:
        return "%s", [self]


@lru_cache
def _question(alias: str, by_number: bool, limit: int) -> tuple[str, tuple[Any, ...]]:
    """The question as SQL and its parameters, with slots among them.

    Compiled by the ORM, but only once: putting a query together takes the ORM ten times as long as answering it
    takes the database.
    """
    text = CharField()
    remembered = RememberedChoice.objects.filter(
        agent_id=_Slot("agent", get_user_model()._meta.pk),
        number=_Slot("remembered", text),
        content_type=OuterRef("content_type_id"),
        object_id=OuterRef("object_id"),
    )
    rows = ContactNumber.objects.using(alias)
    if by_number:
        rows = rows.filter(number=_Slot("number", text))
    else:
        rows = rows.filter(number="", extension=_Slot("extension", text))
    asked = (
        rows.annotate(is_remembered=Exists(remembered))
        .order_by("-is_remembered", "-is_primary", "pk")
        .values_list("content_type_id", "object_id", "label", "detail", "url", "is_primary", "is_remembered")
    )
    sql, slots = asked[:limit].query.get_compiler(alias).as_sql()
    return sql, tuple(slots)


def _visible(rows: Iterable[_Row], alias: str, rights: AgentRights) -> tuple[list[tuple[Source, _Row]], bool]:
    """The rows that the agent may see, one for each record; and whether there are others."""
    by_model = {source.model: source for source in registered()}
    types = ContentType.objects.db_manager(alias).get_for_models(*by_model, for_concrete_models=False)
    sources = {content_type.pk: by_model[model] for model, content_type in types.items()}
    records: dict[tuple[int, str], _Row] = {}
    for row in rows:
        if row.content_type_id in sources:
            records.setdefault((row.content_type_id, row.object_id), row)
    allowed: dict[int, set[str] | None] = {}
    for type_id in {type_id for type_id, _ in records}:
        source = sources[type_id]
        ids = [object_id for each, object_id in records if each == type_id]
        allowed[type_id] = _allowed(source, ids, rights)
    seen = []
    for (type_id, object_id), row in records.items():
        only = allowed[type_id]
        if only is None or object_id in only:
            seen.append((sources[type_id], row))
    return seen, len(seen) < len(records)


def _allowed(source: Source, object_ids: list[str], rights: AgentRights) -> set[str] | None:
    """Those of the records that the agent may see; None for all of them."""
    if not rights.may_view(source.model):
        return set()
    if source.get_queryset is None:
        return None
    queryset = source.get_queryset(rights.user)
    if queryset is None:
        return set()
    key = source.model._meta.pk
    keys = [key.to_python(object_id) for object_id in object_ids]
    return {str(pk) for pk in queryset.filter(pk__in=keys).values_list("pk", flat=True)}


def _judge(party: Party, visible: list[tuple[Source, _Row]], hidden: bool, rights: AgentRights) -> Match:
    ranked = sorted(visible, key=lambda pair: (not pair[1].is_remembered, not pair[1].is_primary, -pair[0].priority))
    candidates = tuple(_candidate(source, row) for source, row in ranked[: get_settings().max_candidates])
    if party.kind is PartyKind.EXTENSION:
        return Match(kind="internal", candidates=candidates)
    if not candidates:
        return Match(kind="forbidden") if hidden else Match(kind="none", can_create=_can_create(rights))
    if len(candidates) == 1 or ranked[0][1].is_remembered:
        return Match(kind="one", candidates=candidates)
    return Match(kind="several", candidates=candidates)


def _can_create(rights: AgentRights) -> bool:
    return any(source.create_url is not None and rights.may_add(source.model) for source in registered())


def _candidate(source: Source, row: _Row) -> Candidate:
    return Candidate(
        label=row.label,
        detail=row.detail,
        url=source.url_of(row.object_id, row.url),
        admin_url=_admin_url(source.model, row.object_id),
        model=source.model_label,
        content_type_id=row.content_type_id,
        object_id=row.object_id,
    )


def _admin_url(model: type[Model], object_id: str) -> str:
    from django.contrib.admin.utils import quote  # a project may do without the admin

    try:
        return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[quote(object_id)])
    except NoReverseMatch:
        return ""
