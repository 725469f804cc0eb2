"""The models: secrets encrypted, rows unique, and a call that outlives its agent."""

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, connection, transaction
from django.test import override_settings
from django.utils import timezone

from cti_django import models
from cti_django.exceptions import LoginRefused
from cti_django.models import AgentLease, CallNote, CallRecord, ConnectorAccount, ContactNumber, RememberedChoice
from tests.testapp.models import Badge

pytestmark = pytest.mark.django_db


def _call(agent, call_id: str = "c1") -> CallRecord:
    return CallRecord.objects.create(
        call_id=call_id,
        agent=agent,
        connector="voipstudio",
        direction="INBOUND",
        state="HANGUP",
        kind="number",
        started_at=timezone.now(),
    )


def test_an_account_gives_plain_credentials_but_keeps_them_encrypted(agent) -> None:
    ConnectorAccount.objects.create(user=agent, username="alice@example.com", password="hunter2", api_key="k-1")
    account = ConnectorAccount.objects.get()
    credentials = account.credentials()
    assert (credentials.username, credentials.password, credentials.api_key) == ("alice@example.com", "hunter2", "k-1")
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM cti_django_connectoraccount")
        stored = str(cursor.fetchall())
    assert "hunter2" not in stored
    assert "k-1" not in stored
    assert "hunter2" not in f"{account!r} {account} {credentials!r}"


def test_an_account_without_secrets_gives_empty_ones(agent) -> None:
    ConnectorAccount.objects.create(user=agent)
    credentials = ConnectorAccount.objects.get().credentials()
    assert (credentials.username, credentials.password, credentials.api_key) == ("", "", "")


def test_a_secret_that_no_key_opens_is_refused_and_never_sent(agent) -> None:
    ConnectorAccount.objects.create(user=agent, password="hunter2")
    stored = ConnectorAccount._meta.get_field("password").f.encrypt(b"hunter2").decode()
    unreadable = ConnectorAccount(user=agent, password=stored)
    with pytest.raises(LoginRefused) as caught:
        unreadable.credentials()
    assert caught.value.code == "unreadable_secret"
    assert stored not in str(caught.value)


@override_settings(CTI_DJANGO={"CONNECTORS": {"ours": "x.Y"}, "CONNECTOR": "ours"})
def test_a_new_account_uses_the_projects_connector(agent) -> None:
    assert ConnectorAccount(user=agent).connector == "ours"


def test_the_app_has_its_two_permissions() -> None:
    found = Permission.objects.filter(codename__in=["use_telephone", "supervise_calls"])
    assert {permission.content_type.app_label for permission in found} == {"cti_django"}
    assert found.count() == 2


def test_an_agent_has_one_account_and_one_lease(agent) -> None:
    ConnectorAccount.objects.create(user=agent)
    with pytest.raises(IntegrityError), transaction.atomic():
        ConnectorAccount.objects.create(user=agent)
    lease = AgentLease.objects.create(agent=agent)
    assert (lease.pk, lease.fence, lease.expires_at, agent.cti_lease) == (agent.pk, 0, None, lease)


def test_a_call_and_its_notes_outlive_their_agent(agent) -> None:
    CallNote.objects.create(call=_call(agent), author=agent, text="rang back")
    agent.delete()
    note = CallNote.objects.get()
    assert (note.author, note.call.agent, note.text) == (None, None, "rang back")


def test_a_call_id_is_unique_and_so_is_an_authors_note(agent) -> None:
    call = _call(agent)
    with pytest.raises(IntegrityError), transaction.atomic():
        _call(agent)
    CallNote.objects.create(call=call, author=agent, text="one")
    with pytest.raises(IntegrityError), transaction.atomic():
        CallNote.objects.create(call=call, author=agent, text="two")


def test_a_call_may_be_about_a_record_with_any_primary_key(agent) -> None:
    badge = Badge.objects.create(holder="Dana")
    call = _call(agent)
    call.contact = badge
    call.save()
    assert CallRecord.objects.get().contact == badge


def test_a_number_stands_once_for_each_record_and_a_choice_once_for_each_number(agent) -> None:
    badges = ContentType.objects.get_for_model(Badge)
    values = {"content_type": badges, "object_id": "1", "number": "+442079460018", "kind": "number", "label": "Dana"}
    ContactNumber.objects.create(**values)
    with pytest.raises(IntegrityError), transaction.atomic():
        ContactNumber.objects.create(**values)
    choice = {"agent": agent, "number": "+442079460018", "content_type": badges}
    RememberedChoice.objects.create(**choice, object_id="1")
    with pytest.raises(IntegrityError), transaction.atomic():
        RememberedChoice.objects.create(**choice, object_id="2")


def test_every_index_and_constraint_has_a_name_of_ours() -> None:
    for name in models.__all__:
        meta = getattr(getattr(models, name), "_meta", None)
        for each in [*getattr(meta, "indexes", []), *getattr(meta, "constraints", [])]:
            assert each.name.startswith("cti_")
            assert len(each.name) <= 30
