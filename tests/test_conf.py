"""The settings: built late, frozen, and loud about mistakes."""

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from cti_django import conf
from cti_django.conf import Settings, get_settings, problems


def test_without_any_key_everything_has_its_default() -> None:
    with override_settings(CTI_DJANGO={}):
        settings = get_settings()
    assert settings.connectors["voipstudio"] == "cti_django.connectors.voipstudio.connector.VoIPstudioConnector"
    assert set(settings.connectors) == {"voipstudio", "asterisk", "sip", "webhook"}
    assert (settings.connector, settings.region, settings.linger_seconds) == ("voipstudio", "", 45.0)
    assert (settings.pop_action, settings.pop_when, settings.match_seconds) == ("open", "ring", 0.15)
    assert (settings.max_candidates, settings.outbox_size, settings.socket_path) == (20, 10_000, "/ws/cti/")


def test_the_setting_may_be_missing_altogether(settings) -> None:
    del settings.CTI_DJANGO
    assert get_settings().lease_seconds == 10.0


def test_overriding_settings_takes_effect_at_once_and_ends_again() -> None:
    before = get_settings()
    with override_settings(CTI_DJANGO={"REGION": "DE", "LINGER_SECONDS": 3}):
        assert get_settings().region == "DE"
        assert get_settings().linger_seconds == 3
    assert get_settings() == before


def test_settings_are_built_once_and_cannot_be_changed() -> None:
    settings = get_settings()
    assert get_settings() is settings
    with pytest.raises(FrozenInstanceError):
        settings.region = "FR"  # type: ignore[misc]


def test_connectors_of_the_project_stand_beside_the_built_in_ones() -> None:
    with override_settings(CTI_DJANGO={"CONNECTORS": {"ours": "ours.Connector"}, "CONNECTOR": "ours"}):
        assert set(get_settings().connectors) == {"voipstudio", "asterisk", "sip", "webhook", "ours"}


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ({"REGOIN": "GB"}, ["'REGOIN'", "'REGION'"]),
        ({"region": "GB"}, ["'region'", "'REGION'"]),
        ({"COLOUR": "red"}, ["'COLOUR'"]),
        ({7: "red"}, ["7"]),
        ({"REGION": "gb"}, ["'REGION'", "'gb'"]),
        ({"REGION": "GBR"}, ["'REGION'"]),
        ({"LINGER_SECONDS": "45"}, ["'LINGER_SECONDS'", "seconds"]),
        ({"LINGER_SECONDS": True}, ["'LINGER_SECONDS'"]),
        ({"MATCH_SECONDS": 0}, ["'MATCH_SECONDS'"]),
        ({"LEASE_SECONDS": float("nan")}, ["'LEASE_SECONDS'"]),
        ({"MAX_CANDIDATES": 2.5}, ["'MAX_CANDIDATES'"]),
        ({"OUTBOX_SIZE": -1}, ["'OUTBOX_SIZE'"]),
        ({"POP_ACTION": "jump"}, ["'POP_ACTION'", "'open', 'card', 'none'"]),
        ({"POP_WHEN": ["ring"]}, ["'POP_WHEN'"]),
        ({"SOCKET_PATH": "ws/"}, ["'SOCKET_PATH'"]),
        ({"METRICS_TOKEN": "short"}, ["'METRICS_TOKEN'", "16"]),
        ({"METRICS_TOKEN": None}, ["'METRICS_TOKEN'"]),
        ({"METRICS_TOKEN": "sixteen letters\n"}, ["'METRICS_TOKEN'"]),
        ({"LOG_PERSONAL_DATA": "no"}, ["'LOG_PERSONAL_DATA'"]),
        ({"CONNECTOR": None}, ["'CONNECTOR'"]),
        ({"CONNECTOR": "voipstduio"}, ["'CONNECTOR'", "'voipstudio'"]),
        ({"CONNECTORS": ["voipstudio"]}, ["'CONNECTORS'"]),
        ({"CONNECTORS": {"ours": 5}}, ["'CONNECTORS'"]),
        ({"CONNECTOR_OPTIONS": {"voipstudio": "x"}}, ["'CONNECTOR_OPTIONS'"]),
        ({"CONNECTOR_OPTIONS": {"voipstdio": {}}}, ["'CONNECTOR_OPTIONS'", "'voipstudio'"]),
        ("REGION=GB", ["dict"]),
    ],
)
def test_a_mistake_is_named_with_the_right_key(raw: object, named: list[str]) -> None:
    with override_settings(CTI_DJANGO=raw):
        with pytest.raises(ImproperlyConfigured) as caught:
            get_settings()
        assert all(word in str(caught.value) for word in named)
        assert len(problems()) == 1


def test_every_mistake_is_told_not_only_the_first() -> None:
    with override_settings(CTI_DJANGO={"REGOIN": "GB", "MAX_CANDIDATES": "20"}):
        assert len(problems()) == 2


def test_a_mistake_in_a_value_that_may_be_secret_is_told_without_it() -> None:
    with override_settings(CTI_DJANGO={"CONNECTOR_OPTIONS": {"voipstudio": "hunter2"}}):
        assert "hunter2" not in " ".join(problems())
    with override_settings(CTI_DJANGO={"METRICS_TOKEN": "hunter2"}):
        assert "hunter2" not in " ".join(problems())


def test_the_token_is_never_shown() -> None:
    with override_settings(CTI_DJANGO={"METRICS_TOKEN": "a-long-enough-secret"}):
        assert get_settings().metrics_token == "a-long-enough-secret"
        assert "a-long-enough-secret" not in repr(get_settings())


def test_every_setting_is_checked_and_documented() -> None:
    names = {each.name for each in fields(Settings)}
    assert set(conf._RULES) == names
    assert all(f"{name}:" in (Settings.__doc__ or "") for name in names)
    page = (Path(__file__).parents[1] / "docs" / "settings.md").read_text()
    assert all(f"`{name.upper()}`" in page for name in names)
