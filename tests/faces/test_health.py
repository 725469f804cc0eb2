"""What load balancers and Prometheus are told, and that nobody is told more."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from django.db.backends.utils import CursorWrapper
from django.test import AsyncClient
from django.urls import reverse

from cti_django import health, metrics
from cti_django.outbox import Outbox
from cti_django.sessions import host
from cti_django.threads import WORK_THREADS
from tests.faces.pages import make_user

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "a-token-for-tests-only"
ALL_WELL = {"database": "ok", "bus": "ok", "outbox": "ok", "leases": "ok"}


class FakeHost:
    def __init__(self, **facts: bool) -> None:
        self.facts = {"bus": True, "leases": True, **facts}

    def health(self) -> dict[str, bool]:
        return self.facts


@pytest.fixture(autouse=True)
def well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "current_host", FakeHost)
    fill(monkeypatch, 0.0)


@pytest.fixture
def token(settings: Any) -> str:
    settings.CTI_DJANGO = {**settings.CTI_DJANGO, "METRICS_TOKEN": TOKEN}
    return TOKEN


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The database answers nothing until the test is over; the questions to it are listed."""
    over, asked = threading.Event(), []

    def hang(_cursor: Any, sql: str, _params: Any = None) -> None:
        asked.append(sql)
        over.wait(10)
        raise OperationalError("secret")

    monkeypatch.setattr(CursorWrapper, "execute", hang)
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.05)
    yield asked
    over.set()
    if health._question is not None:
        health._question.result(10)


def fill(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    monkeypatch.setattr(Outbox, "fill", property(lambda _outbox: share))


async def get(name: str, **headers: str) -> Any:
    return await AsyncClient().get(reverse(f"cti_django:{name}"), headers=headers)


async def checks(status: int) -> dict[str, str]:
    response = await get("ready")
    assert response.status_code == status
    answer = response.json()
    assert set(answer) == {"status", "checks"}
    assert answer["status"] == ("ok" if status == 200 else "failed")
    return answer["checks"]


# -- live and ready ---------------------------------------------------------------------------------------------------


async def test_a_process_that_answers_is_live_whatever_fails(hanging: list[str]) -> None:
    response = await get("live")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert hanging == []


async def test_a_process_whose_parts_all_work_is_ready() -> None:
    assert await checks(200) == ALL_WELL


@pytest.mark.parametrize("part", ["bus", "leases"])
async def test_a_process_that_cannot_run_sessions_is_not_ready(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setattr(host, "current_host", lambda: FakeHost(**{part: False}))
    assert await checks(503) == {**ALL_WELL, part: "failed"}


async def test_a_process_that_has_run_no_session_yet_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "current_host", lambda: None)
    assert await checks(200) == {**ALL_WELL, "bus": "unused", "leases": "unused"}


async def test_a_process_with_an_outbox_that_fills_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch, 0.79)
    assert await checks(200) == ALL_WELL
    fill(monkeypatch, 0.8)
    assert await checks(503) == {**ALL_WELL, "outbox": "failed"}


async def test_a_check_that_raises_has_failed_and_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any) -> Any:
        raise OperationalError("secret")

    monkeypatch.setattr(host, "current_host", fail)
    monkeypatch.setattr(CursorWrapper, "execute", fail)
    monkeypatch.setattr(Outbox, "fill", property(fail))
    response = await get("ready")
    assert response.json()["checks"] == dict.fromkeys(ALL_WELL, "failed")
    assert b"secret" not in response.content


async def test_a_connection_that_the_database_has_closed_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    execute, failures = CursorWrapper.execute, [OperationalError("closed")]

    def failing_once(cursor: Any, sql: Any, params: Any = None) -> Any:
        if failures:
            raise failures.pop()
        return execute(cursor, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", failing_once)
    assert await checks(200) == ALL_WELL
    assert not failures


async def test_a_database_that_hangs_has_failed_in_time_and_is_asked_once(hanging: list[str]) -> None:
    answers = await asyncio.gather(*(checks(503) for _each in range(10)))
    assert answers == [{**ALL_WELL, "database": "failed"}] * 10
    assert hanging == ["SELECT 1"]


async def test_a_probe_that_goes_away_takes_the_answer_from_nobody() -> None:
    go = threading.Event()
    busy = [WORK_THREADS.submit(go.wait, 10) for _each in range(WORK_THREADS.count)]
    impatient, patient = asyncio.ensure_future(health._database()), asyncio.ensure_future(health._database())
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait({impatient})
    go.set()
    assert await patient
    assert all(each.result(10) for each in busy)


@pytest.mark.parametrize("name", ["live", "ready", "metrics"])
async def test_no_cache_keeps_an_answer(name: str, token: str) -> None:
    response = await get(name, authorization=f"Bearer {token}")
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]


@pytest.mark.parametrize("name", ["live", "ready", "metrics"])
async def test_there_is_nothing_to_post(name: str) -> None:
    assert (await AsyncClient().post(reverse(f"cti_django:{name}"))).status_code == 405


async def test_they_answer_in_projects_with_log_in_everywhere_and_transactions_round_every_request(
    settings: Any, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    monkeypatch.setitem(settings.DATABASES["default"], "ATOMIC_REQUESTS", True)
    for name in ("live", "ready", "metrics"):
        assert (await get(name, authorization=f"Bearer {token}")).status_code == 200


# -- metrics ----------------------------------------------------------------------------------------------------------


async def test_the_bearer_of_the_token_reads_the_metrics(token: str) -> None:
    response = await get("metrics", authorization=f"Bearer {token}")
    assert response["Content-Type"].startswith("text/plain; version=")
    assert b"# TYPE cti_events_total counter" in response.content


@pytest.mark.parametrize(
    "presented", ["", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer né"]
)
async def test_nobody_else_does(token: str, presented: str) -> None:
    response = await get("metrics", authorization=presented)
    assert response.status_code == 403
    assert b"cti_events" not in response.content
    assert token.encode() not in response.content


@pytest.mark.parametrize("presented", ["", "Bearer", "Bearer "])
async def test_without_a_token_in_the_settings_nobody_bears_it(presented: str) -> None:
    assert (await get("metrics", authorization=presented)).status_code == 403


@pytest.mark.parametrize(
    ("facts", "permissions", "status"),
    [
        ({"is_staff": True}, ["cti_django.view_agentlease"], 200),
        ({"is_staff": True}, [], 403),
        ({"is_staff": False}, ["cti_django.view_agentlease"], 403),
        ({"is_staff": True, "is_active": False}, ["cti_django.view_agentlease"], 403),
    ],
)
async def test_staff_who_may_see_the_sessions_may_read_the_metrics(
    facts: dict[str, bool], permissions: list[str], status: int
) -> None:
    user = await sync_to_async(make_user)("olga", *permissions, **facts)
    client = AsyncClient()
    await client.aforce_login(user)
    assert (await client.get(reverse("cti_django:metrics"))).status_code == status


async def test_without_prometheus_client_a_sentence_says_so(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_registry", None)
    response = await get("metrics", authorization=f"Bearer {token}")
    assert response.status_code == 404
    assert b"prometheus-client is not installed" in response.content
    assert (await get("metrics")).status_code == 403
