"""``manage.py cti_host``: sessions that are kept open while nobody looks."""

import asyncio
from datetime import timedelta
from io import StringIO

import pytest
from django import db
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.utils import timezone

from cti_django import metrics
from cti_django.management.commands import cti_host
from cti_django.management.commands.cti_host import Caretaker
from cti_django.models import AgentLease, ConnectorAccount
from cti_django.sessions import lease
from tests.faces.pages import make_agent, make_user

pytestmark = pytest.mark.django_db(transaction=True)

REDIS = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}


class FakeHost:
    """Keeps whatever it is asked to, unless somebody else holds it; notes how many it was asked at once."""

    def __init__(self, *held_elsewhere):
        self.sessions, self.asked, self.most_at_once = set(), [], 0
        self.is_keeping = asyncio.Event()
        self.room = asyncio.Barrier(1)  # so many come in together
        self._held_elsewhere, self._now = held_elsewhere, 0

    async def keep(self, agent_id):
        self.asked.append(agent_id)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        async with asyncio.timeout(5):
            await self.room.wait()
        self._now -= 1
        if agent_id in self._held_elsewhere:
            return False
        self.sessions.add(agent_id)
        self.is_keeping.set()
        return True

    def kept(self):
        return set(self.sessions)


def kept_open(name, *, user=None, **fields):
    """The primary key of an agent whose account is to stay open."""
    agent = user or make_agent(name)
    ConnectorAccount.objects.create(user=agent, keep_open=True, **fields)
    return agent.pk


@pytest.fixture
def alice():
    return kept_open("alice")


@pytest.fixture
def bob():
    return kept_open("bob")


def caretaker(host, cap=1_000):
    """A caretaker, and what it says."""
    said = []
    return Caretaker(host, cap, said.append), said


async def looked(cap=1_000):
    """What a fresh host keeps after one look."""
    host = FakeHost()
    await caretaker(host, cap)[0].look()
    return host.sessions


# -- whom it keeps


async def test_accounts_that_are_to_stay_open_are_kept(alice, bob):
    assert await looked() == {alice, bob}


@pytest.fixture
def others(db):
    """Agents whose accounts are not to be kept, each for another reason."""
    kept_open("off", is_active=False)
    kept_open("disabled", user=make_agent("disabled", is_active=False))
    kept_open("without-permission", user=make_user("without-permission"))
    ConnectorAccount.objects.create(user=make_agent("not-kept-open"))
    lease.claim(kept_open("elsewhere"), "web1:11:aa", 10.0)
    make_agent("without-account")


async def test_nobody_else_is_kept(others):
    assert await looked() == set()


@pytest.fixture
def abandoned(db):
    """Agents whose sessions were handed over, ended, or lost with their process."""
    found = {name: kept_open(name) for name in ("handed-over", "ended", "crashed", "row-without-time")}
    for agent_id in found.values():
        lease.claim(agent_id, "web1:11:aa", 10.0)
    lease.release("web1:11:aa", [found["handed-over"]], wanted_seconds=45.0)
    lease.release("web1:11:aa", [found["ended"]])
    rows = AgentLease.objects
    rows.filter(agent_id=found["crashed"]).update(expires_at=timezone.now() - timedelta(seconds=1))
    rows.filter(agent_id=found["row-without-time"]).update(expires_at=None)
    return set(found.values())


async def test_what_others_have_let_go_of_is_kept(abandoned):
    assert await looked() == abandoned


def test_who_is_vacant_is_one_query(alice, bob, others, abandoned, django_assert_num_queries):
    with django_assert_num_queries(1):
        cti_host._vacant()


async def test_there_are_never_more_than_the_cap(alice, bob, abandoned):
    host = FakeHost()
    keeping, said = caretaker(host, cap=2)
    for _ in range(3):
        await keeping.look()
    assert len(host.sessions) == len(host.asked) == 2
    assert [line for line in said if line.startswith("All 2 places are taken")]
    assert len(said) == 3


async def test_sessions_are_started_a_few_at_a_time(alice, bob, abandoned, monkeypatch):
    monkeypatch.setattr(cti_host, "AT_ONCE", 2)
    host = FakeHost()
    host.room = asyncio.Barrier(2)
    await caretaker(host)[0].look()
    assert (len(host.sessions), host.most_at_once) == (6, 2)


async def test_who_got_it_first_keeps_it(alice, bob):
    host = FakeHost(alice)
    await caretaker(host)[0].look()
    assert (set(host.asked), host.sessions) == ({alice, bob}, {bob})


async def test_a_session_that_ends_at_once_is_not_started_again_at_once(alice):
    host = FakeHost()
    keeping, _ = caretaker(host)
    for _ in range(3):
        await keeping.look()
        host.sessions.clear()
    assert host.asked == [alice]


@pytest.mark.parametrize(("stand_back", "times"), [(5.0, 1), (-1.0, 3)])
async def test_what_has_gone_from_here_is_left_to_others_for_a_while(alice, stand_back, times, monkeypatch):
    monkeypatch.setattr(cti_host, "AGAIN_SECONDS", -1.0)
    monkeypatch.setattr(cti_host, "STAND_BACK_SECONDS", stand_back)
    host = FakeHost()
    keeping, _ = caretaker(host)
    for _ in range(3):
        await keeping.look()
        host.sessions.clear()
    assert host.asked == [alice] * times


async def test_each_change_is_one_line(alice):
    host = FakeHost()
    keeping, said = caretaker(host, cap=7)
    await keeping.look()
    await keeping.look()
    host.sessions.clear()
    await keeping.look()
    assert said == [f"agent {alice}: kept here (1 of 7)", f"agent {alice}: not kept here any more (0 of 7)"]


# -- what may fail


async def test_one_session_that_cannot_be_started_keeps_no_other_from_it(alice, bob, caplog):
    host = FakeHost()

    async def keep(agent_id):
        if agent_id == alice:
            raise RuntimeError("broken")
        return await FakeHost.keep(host, agent_id)

    host.keep = keep
    await caretaker(host)[0].look()
    assert host.sessions == {bob}
    assert f"The session of agent {alice} could not be started" in caplog.text


async def run_until_kept(keeping, host):
    task = asyncio.create_task(keeping.run())
    async with asyncio.timeout(10):
        await host.is_keeping.wait()
    task.cancel()
    await asyncio.wait({task})


async def test_an_outage_of_the_database_is_told_once_and_waited_for(alice, monkeypatch):
    failures = iter([db.OperationalError()] * 3)
    vacant = cti_host._vacant

    def fail():
        if failure := next(failures, None):
            raise failure
        return vacant()

    monkeypatch.setattr(cti_host, "_vacant", fail)
    monkeypatch.setattr(cti_host, "ROUND_SECONDS", 0.001)
    host = FakeHost()
    keeping, said = caretaker(host)
    await run_until_kept(keeping, host)
    assert said[0] == "The database cannot be reached (OperationalError); it is tried again."
    assert len(said) <= 2


async def test_an_agent_whose_rights_could_not_be_read_is_tried_again(alice, monkeypatch):
    failures = iter([db.OperationalError()])
    read = cti_host.contacts.arefresh_rights

    async def fail(agent_id):
        if failure := next(failures, None):
            raise failure
        return await read(agent_id)

    monkeypatch.setattr(cti_host.contacts, "arefresh_rights", fail)
    monkeypatch.setattr(cti_host, "ROUND_SECONDS", 0.001)
    host = FakeHost()
    keeping, said = caretaker(host)
    await run_until_kept(keeping, host)
    assert said[0].startswith("The database cannot be reached")


# -- the command


def refusal(*arguments):
    with pytest.raises(CommandError) as refused:
        call_command("cti_host", *arguments, stdout=StringIO(), skip_checks=True)
    return str(refused.value)


def test_without_a_bus_between_processes_it_does_not_start():
    assert "channels_redis" in refusal()
    with override_settings(CHANNEL_LAYERS={}):
        assert "channels_redis" in refusal()


@override_settings(CHANNEL_LAYERS=REDIS)
@pytest.mark.parametrize("address", ["9100", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", ":9100", "[::1"])
def test_an_address_is_a_host_and_a_port(address):
    assert "such as 127.0.0.1:9100" in refusal("--metrics-address", address)


@override_settings(CHANNEL_LAYERS=REDIS)
def test_senseless_options_are_refused(monkeypatch):
    assert refusal("--cap", "0") == "--cap must be at least 1."
    monkeypatch.setattr(metrics, "render", lambda: None)
    assert "cti-django[metrics]" in refusal("--metrics-address", "127.0.0.1:9100")


# -- metrics


async def asked_for(request: bytes, *, is_complete=True) -> bytes:
    server = await asyncio.start_server(cti_host._answer, "127.0.0.1", 0, limit=cti_host.MAX_REQUEST)
    async with server, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(request + (b"\r\n\r\n" if is_complete else b""))
        answer = await reader.read()
        writer.close()
    return answer


async def test_metrics_are_served_as_prometheus_reads_them(monkeypatch):
    monkeypatch.setattr(metrics, "render", lambda: (b"cti_sessions 3\n", "text/plain; version=0.0.4"))
    head, _, body = (await asked_for(b"GET /metrics HTTP/1.1\r\nHost: x")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/plain; version=0.0.4" in head
    assert b"Content-Length: 15" in head
    assert body == b"cti_sessions 3\n"


@pytest.mark.parametrize(
    "request_", [b"GET / HTTP/1.1", b"POST /metrics HTTP/1.1", b"GET /metricsx HTTP/1.1", b"\x16\x03"]
)
async def test_nothing_else_is_served(request_):
    assert (await asked_for(request_)).startswith(b"HTTP/1.1 404 Not Found\r\n")


async def test_who_asks_for_ever_or_never_is_cut_off(monkeypatch):
    assert await asked_for(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 100_000) == b""
    monkeypatch.setattr(cti_host, "METRICS_SECONDS", 0.05)
    assert await asked_for(b"GET /met", is_complete=False) == b""
