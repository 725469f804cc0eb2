"""The CRM's records behind the telephone numbers: register models, keep their numbers indexed, match a caller.

A CRM writes, in the ``cti.py`` of its app::

    from cti_django import contacts
    from .models import Person

    contacts.register(Person, ["phone", "mobile"], related=["numbers__value"], detail="company_name")
"""

from . import receivers  # noqa: F401  keeps the index from now on
from .matching import (
    Candidate,
    CreationLink,
    Match,
    MatchKind,
    amatch,
    aremember,
    creation_links,
    known,
    match,
    remember,
)
from .number_index import content_type_id, index, remove_orphans, remove_unregistered
from .rights import RIGHTS_SECONDS, AgentRights, arefresh_rights, forget_rights, rights_from, rights_of
from .sources import Source, register, registered, source_for, unregister

__all__ = [
    "RIGHTS_SECONDS",
    "AgentRights",
    "Candidate",
    "CreationLink",
    "Match",
    "MatchKind",
    "Source",
    "amatch",
    "arefresh_rights",
    "aremember",
    "content_type_id",
    "creation_links",
    "forget_rights",
    "index",
    "known",
    "match",
    "register",
    "registered",
    "remember",
    "remove_orphans",
    "remove_unregistered",
    "rights_from",
    "rights_of",
    "source_for",
    "unregister",
]
