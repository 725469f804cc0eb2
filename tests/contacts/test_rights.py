"""Rights: remembered, and forgotten as soon as something changes them."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from cti_django.contacts import arefresh_rights, forget_rights, rights, rights_of
from tests.testapp.models import Company, Person

pytestmark = pytest.mark.django_db


def permission(codename: str) -> Permission:
    return Permission.objects.get(codename=codename)


def test_rights_are_looked_up_once(agent: Any) -> None:
    with CaptureQueriesContext(connection) as captured:
        assert rights_of(agent.pk).may_view(Person)
        assert len(captured) <= 3
        before = len(captured)
        assert not rights_of(agent.pk).may_add(Company)
        assert len(captured) == before


def test_they_are_looked_up_again_after_a_while(agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rights_of(agent.pk)
    monkeypatch.setattr(rights, "RIGHTS_SECONDS", 0.0)
    with CaptureQueriesContext(connection) as captured:
        rights_of(agent.pk)
    assert captured


def test_a_permission_taken_away_is_noticed_at_once(agent: Any) -> None:
    assert rights_of(agent.pk).may_view(Person)
    agent.user_permissions.remove(permission("view_person"))
    assert not rights_of(agent.pk).may_view(Person)


def test_groups_count_and_so_do_changes_of_them(other_agent: Any) -> None:
    group = Group.objects.create(name="sales")
    other_agent.groups.add(group)
    assert not rights_of(other_agent.pk).may_view(Person)
    group.permissions.add(permission("view_person"))
    assert rights_of(other_agent.pk).may_view(Person)
    other_agent.groups.clear()
    assert not rights_of(other_agent.pk).may_view(Person)


def test_a_user_who_is_deactivated_sees_nothing_any_more(agent: Any) -> None:
    assert rights_of(agent.pk).may_view(Person)
    agent.is_active = False
    agent.save()
    assert not rights_of(agent.pk).may_view(Person)


def test_a_log_in_forgets_nothing(agent: Any) -> None:
    first = rights_of(agent.pk)
    agent.save(update_fields=["last_login"])
    assert rights_of(agent.pk) is first


def test_a_user_who_does_not_exist_has_no_rights() -> None:
    assert not rights_of(424242).may_view(Person)


def test_rights_can_be_forgotten_by_hand(agent: Any, other_agent: Any) -> None:
    hers, his = rights_of(agent.pk), rights_of(other_agent.pk)
    forget_rights(agent.pk)
    assert rights_of(agent.pk) is not hers
    assert rights_of(other_agent.pk) is his
    forget_rights()
    assert rights_of(other_agent.pk) is not his


@pytest.mark.django_db(transaction=True)
async def test_a_session_refreshes_them_away_from_the_event_loop(agent: Any) -> None:
    found = await arefresh_rights(agent.pk)
    assert found.may_view(Person)
    assert rights_of(agent.pk) is found


@pytest.mark.django_db(transaction=True)
def test_what_was_looked_up_before_a_change_was_committed_is_not_believed_after_it(agent: Any) -> None:
    with transaction.atomic():
        agent.user_permissions.clear()
        # Another connection still reads, and would remember, what was.
        assert ThreadPoolExecutor(1).submit(_looked_up_elsewhere, agent.pk).result(5).may_view(Person)
    assert not rights_of(agent.pk).may_view(Person)


def _looked_up_elsewhere(agent_id: Any) -> rights.AgentRights:
    try:
        return rights_of(agent_id)
    finally:
        connections.close_all()


def test_what_was_being_looked_up_during_a_change_is_not_remembered(
    agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = rights.rights_from

    def slowly(user: Any) -> rights.AgentRights:
        found = load(user)
        agent.user_permissions.clear()  # while the answer is on its way
        return found

    monkeypatch.setattr(rights, "rights_from", slowly)
    rights_of(agent.pk)
    monkeypatch.undo()
    assert not rights_of(agent.pk).may_view(Person)
