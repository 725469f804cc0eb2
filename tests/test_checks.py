"""The system checks: each problem has its id, and a hint that says what to do."""

from typing import Any

import pytest
from django.test import override_settings

from cti_django import checks, contacts
from cti_django.connectors.base import Connector
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
