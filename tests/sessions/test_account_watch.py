"""Who runs an agent's session hears at once that her account has changed."""

import pytest
from django.db import DatabaseError, transaction

from cti_django.models import AgentLease, ConnectorAccount
from cti_django.sessions import lease
from tests.faces.pages import make_user

pytestmark = pytest.mark.django_db(transaction=True)

HOLDER = "web:1:a"


@pytest.fixture
def alice():
    return make_user("alice")


@pytest.fixture
def account(alice):
    account = ConnectorAccount.objects.create(user=alice, username="alice@example.com")
    lease.claim(alice.pk, HOLDER, 10.0)
    return account


def test_a_saved_account_is_to_be_reloaded_once_it_is_committed(alice, account):
    with transaction.atomic():
        account.is_active = False
        account.save()
        assert lease.take_instructions(HOLDER) == {}
    assert lease.take_instructions(HOLDER) == {alice.pk: "reload"}


def test_a_change_that_is_rolled_back_reloads_nothing(account):
    with transaction.atomic():
        account.save()
        transaction.set_rollback(True)
    assert lease.take_instructions(HOLDER) == {}


def test_a_new_account_and_a_deleted_one_are_told_too(alice):
    lease.claim(alice.pk, HOLDER, 10.0)
    account = ConnectorAccount.objects.create(user=alice)
    assert lease.take_instructions(HOLDER) == {alice.pk: "reload"}
    account.delete()
    assert lease.take_instructions(HOLDER) == {alice.pk: "reload"}


def test_an_account_that_is_given_to_somebody_else_leaves_its_former_agent(alice, account):
    bob = make_user("bob")
    lease.claim(bob.pk, HOLDER, 10.0)
    account.user = bob
    account.save()
    assert lease.take_instructions(HOLDER) == {alice.pk: "reload", bob.pk: "reload"}


def test_nobody_is_told_of_an_agent_without_a_session(alice):
    ConnectorAccount.objects.create(user=alice)
    assert not AgentLease.objects.exclude(instruction="").exists()


def test_an_account_is_stored_even_if_nobody_can_be_told(account, monkeypatch):
    def fail(*args):
        raise DatabaseError

    monkeypatch.setattr(lease, "instruct", fail)
    account.number = "10031"
    account.save()
    account.refresh_from_db()
    assert account.number == "10031"


def test_a_user_who_is_deleted_with_account_and_session_disturbs_nobody(alice, account):
    alice.delete()
    assert not AgentLease.objects.exists()
