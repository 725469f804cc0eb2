"""The system checks: each problem has its id, and a hint that says what to do."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import override_settings

from cti_django import checks, contacts
from cti_django.connectors.base import Connector
from cti_django.models import AgentLease
from cti_django.sessions import lease
from tests.testapp.models import Person


class Picky(Connector):
    """Takes no option at all."""

    name = "picky"

    def __init__(self, credentials: Any, options: Any, **kwargs: Any) -> None:
        super().__init__(credentials, options, **kwargs)
        for key in options:
            raise ValueError(f"There is no option {key!r}.")

    async def open(self) -> None: ...

    def notifications(self) -> Any: ...

    async def execute(self, command: Any, call: Any = None) -> None: ...

    async def close(self) -> None: ...


class Unfinished(Connector):
    """Lacks the verbs."""

    name = "unfinished"


def _ids(found: list) -> list[str]:
    assert all(message.hint for message in found)
    return [message.id.removeprefix("cti_django.") for message in found]


def _with(**keys: Any) -> override_settings:
    return override_settings(CTI_DJANGO={"REGION": "GB", **keys})


def test_a_good_project_has_nothing_to_complain_about() -> None:
    assert checks.check_settings() == []
    with override_settings(DEBUG=True):
        assert checks.check_surroundings() == []


def test_e001_names_the_misspelt_key() -> None:
    with _with(LINGER=3):
        found = checks.check_settings()
    assert _ids(found) == ["E001"]
    assert "LINGER_SECONDS" in found[0].msg


@pytest.mark.parametrize("path", ["no.such.Thing", "decimal.Decimal", f"{__name__}.Unfinished"])
def test_e002_names_a_connector_that_is_none(path: str) -> None:
    with _with(CONNECTORS={"ours": path}):
        found = checks.check_settings()
    assert _ids(found) == ["E002"]
    assert "'ours'" in found[0].msg


def test_e003_names_the_option_that_a_connector_does_not_take() -> None:
    with _with(CONNECTORS={"ours": f"{__name__}.Picky"}, CONNECTOR_OPTIONS={"ours": {"colour": "red"}}):
        found = checks.check_settings()
    assert _ids(found) == ["E003"]
    assert "'colour'" in found[0].msg
    with _with(CONNECTORS={"ours": f"{__name__}.Picky"}):
        assert checks.check_settings() == []


@override_settings(DEBUG=True)
def test_e004_misses_the_salt(settings: Any) -> None:
    with override_settings(SALT_KEY=""):
        assert _ids(checks.check_surroundings()) == ["E004"]
    del settings.SALT_KEY
    assert _ids(checks.check_surroundings()) == ["E004"]


@override_settings(DEBUG=True)
def test_e005_refuses_a_project_without_time_zones() -> None:
    with override_settings(USE_TZ=False):
        assert _ids(checks.check_surroundings()) == ["E005"]


@override_settings(DEBUG=True)
def test_w001_and_w002_miss_asgi_and_the_channel_layer() -> None:
    with override_settings(ASGI_APPLICATION=None, CHANNEL_LAYERS={}):
        assert _ids(checks.check_surroundings()) == ["W001", "W002"]


def test_w003_misses_the_region() -> None:
    with override_settings(CTI_DJANGO={}):
        assert _ids(checks.check_settings()) == ["W003"]


def test_w004_warns_of_the_in_memory_layer_in_production() -> None:
    with override_settings(DEBUG=False):
        assert _ids(checks.check_surroundings()) == ["W004"]


@pytest.mark.django_db
def test_w006_warns_of_a_source_that_was_never_indexed() -> None:
    Person.objects.bulk_create([Person(name="Dana", phone="020 7946 0018")])
    assert _ids(checks.check_database(databases=["default"])) == ["W006"]
    assert checks.check_database(databases=None) == []
    contacts.index(Person.objects.all())
    assert checks.check_database(databases=["default"]) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000/v1.2", "ws://localhost:9000/", "ws://[::1]:9000/"])
def test_w007_warns_of_the_sandbox_in_production(url: str) -> None:
    options = {"CONNECTORS": {"ours": f"{__name__}.Taking"}, "CONNECTOR_OPTIONS": {"ours": {"api_url": url}}}
    with _with(**options), override_settings(DEBUG=False):
        assert _ids(checks.check_settings()) == ["W007"]
    with _with(**options), override_settings(DEBUG=True):
        assert checks.check_settings() == []


def test_a_telephone_system_elsewhere_is_no_sandbox() -> None:
    options = {"api_url": "https://pbx.example/v1", "note": "127.0.0.1", "broken": "http://[", "port": 9000}
    with _with(CONNECTORS={"ours": f"{__name__}.Taking"}, CONNECTOR_OPTIONS={"ours": options}):
        assert checks.check_settings() == []


class Taking(Picky):
    """Takes any option."""

    def __init__(self, credentials: Any, options: Any, **kwargs: Any) -> None:
        Connector.__init__(self, credentials, options, **kwargs)


CORE, PUB_SUB = "channels_redis.core.RedisChannelLayer", "channels_redis.pubsub.RedisPubSubChannelLayer"
HERE = "redis://127.0.0.1:6379/1"


def _layer(backend: str, *hosts: Any) -> override_settings:
    config = {"hosts": list(hosts)} if hosts else {}
    return override_settings(CHANNEL_LAYERS={"default": {"BACKEND": backend, "CONFIG": config}})


@pytest.mark.parametrize("hosts", [(), (HERE,), (("127.0.0.1", 6379),), ({"address": HERE},)])
def test_w008_warns_of_the_core_layer_that_closes_quiet_consumers(hosts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "version", lambda package: "8.1.0")
    with override_settings(DEBUG=True):
        with _layer(CORE, *hosts):
            assert _ids(checks.check_surroundings()) == ["W008"]
        with _layer(PUB_SUB, *hosts):
            assert checks.check_surroundings() == []
        monkeypatch.setattr(checks, "version", lambda package: "7.4.0")
        with _layer(CORE, *hosts):
            assert checks.check_surroundings() == []


def test_a_core_layer_whose_every_host_waits_for_ever_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "version", lambda package: "8.1.0")
    patient = {"address": HERE, "socket_timeout": None}
    with override_settings(DEBUG=True):
        with _layer(CORE, patient):
            assert checks.check_surroundings() == []
        with _layer(CORE, patient, {"address": HERE, "socket_timeout": 5}):
            assert _ids(checks.check_surroundings()) == ["W008"]


@pytest.mark.parametrize(
    "host",
    [
        "redis://cache.example:6379/0",
        "rediss://10.0.0.7",
        ("cache.example", 6379),
        ("fd00::7", 6379),
        {"address": "redis://cache.example"},
        {"host": "cache.example"},
        {"sentinels": [("127.0.0.1", 26379), ("10.0.0.8", 26379)], "master_name": "main"},
    ],
)
def test_w009_warns_of_sqlite_beside_a_layer_on_another_machine(host: Any) -> None:
    with override_settings(DEBUG=False), _layer(PUB_SUB, host):
        assert _ids(checks.check_surroundings()) == ["W009"]
    with override_settings(DEBUG=True), _layer(PUB_SUB, host):
        assert checks.check_surroundings() == []


@pytest.mark.parametrize(
    "host",
    [
        HERE,
        "redis://[::1]:6379",
        "unix:///run/redis.sock",
        ("127.0.0.1", 6379),
        ("::1", 6379),
        ("localhost", 6379),
        {"address": HERE},
        {"path": "/run/redis.sock"},
        {"port": 6380},
        {"sentinels": [("127.0.0.1", 26379)], "master_name": "main"},
    ],
)
def test_sqlite_and_a_layer_on_the_same_machine_go_together(host: Any) -> None:
    with override_settings(DEBUG=False), _layer(PUB_SUB, host):
        assert checks.check_surroundings() == []


def test_a_layer_that_is_not_configured_as_its_package_wants_breaks_no_check() -> None:
    for config in ({"hosts": "redis://cache.example"}, {"hosts": [None, 7, []]}, {}):
        with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": PUB_SUB, "CONFIG": config}}):
            checks.check_surroundings()


def _live(*holders: str) -> None:
    for number, holder in enumerate(holders):
        lease.claim(get_user_model().objects.create_user(f"agent{number}").pk, holder, 10.0)


@pytest.mark.django_db
def test_w010_warns_of_sessions_in_several_processes_with_the_in_memory_layer() -> None:
    _live("web1:11:aa", "web1:11:aa", "web1:12:bb")
    found = checks.check_leases(databases=["default"])
    assert _ids(found) == ["W010"]
    assert "2 processes" in found[0].msg
    assert checks.check_leases(databases=None) == []
    with _layer(PUB_SUB, HERE):
        assert checks.check_leases(databases=["default"]) == []


@pytest.mark.django_db
def test_w010_warns_of_sessions_on_several_hosts_with_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    _live("web1:11:aa", "web2:11:aa")
    with _layer(PUB_SUB, HERE):
        monkeypatch.setattr(checks, "_is_sqlite", lambda: True)
        found = checks.check_leases(databases=["default"])
        assert _ids(found) == ["W010"]
        assert "2 hosts" in found[0].msg
        monkeypatch.setattr(checks, "_is_sqlite", lambda: False)
        assert checks.check_leases(databases=["default"]) == []


@pytest.mark.django_db
def test_sessions_that_no_longer_run_are_nobodys_business() -> None:
    _live("web1:11:aa", "web2:12:bb")
    AgentLease.objects.filter(holder="web1:11:aa").update(expires_at=None)
    lease.release("web2:12:bb")
    assert checks.check_leases(databases=["default"]) == []


def _endpoints(**endpoint: Any) -> override_settings:
    options = {"webhook": {"endpoints": {"main": {"shape": "generic", "secret": "x" * 20, **endpoint}}}}
    return _with(CONNECTOR_OPTIONS=options)


def test_an_endpoint_that_is_well_set_up_has_nothing_to_complain_about() -> None:
    with _endpoints(base_url="https://crm.example", decide="tests.test_checks._ids"):
        assert checks.check_endpoints() == []
        assert checks.check_settings() == []


@pytest.mark.parametrize(
    "endpoint",
    [
        {"secret": ""},
        {"secret": "short"},
        {"secret": ["x" * 20, "short"]},
        {"auth": "basic"},
        {"auth": "token", "secret": "a/b" * 10},
        {"decide": "tests.no_such_module.decide"},
    ],
)
def test_e006_says_why_nobody_is_let_in(endpoint: dict[str, Any]) -> None:
    with _endpoints(**endpoint):
        found = checks.check_endpoints()
    assert _ids(found) == ["E006"]
    assert "short" not in found[0].msg


@pytest.mark.parametrize("endpoint", [{"shape": "sipgate"}, {"base_url": "http://crm.example"}])
def test_w011_says_that_answers_will_not_be_heard_or_travel_in_the_clear(endpoint: dict[str, Any]) -> None:
    with _endpoints(**endpoint), override_settings(DEBUG=False):
        assert _ids(checks.check_endpoints()) == ["W011"]


def test_an_endpoint_that_cannot_be_read_is_e003_and_nothing_else() -> None:
    with _endpoints(shape="morse"):
        assert checks.check_endpoints() == []
        assert _ids(checks.check_settings()) == ["E003"]
    with _with(CONNECTOR_OPTIONS=5):
        assert checks.check_endpoints() == []
