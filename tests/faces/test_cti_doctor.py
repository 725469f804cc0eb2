"""``manage.py cti_doctor``: every step well and badly, in words and as JSON, with its exit code."""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from channels.layers import channel_layers
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from cti_django.connectors.base import Finding
from cti_django.exceptions import LoginRefused
from cti_django.management import surroundings
from cti_django.management.commands import cti_doctor
from cti_django.models import AgentLease, ConnectorAccount, WebhookDelivery
from cti_django.testing import FakeConnector
from tests.connectors.voipstudio.fake_service import FakeService

pytestmark = pytest.mark.django_db(transaction=True)


class Examined(FakeConnector):
    """Examines itself as a test wants it."""

    findings: list[Finding | Exception] = []
    hangs = False
    numbers: list[str] = []

    @property
    def endpoint(self):
        return self.credentials.username if "push" in self.credentials.username else ""

    async def examine(self, *, number=""):
        self.numbers.append(number)
        for finding in self.findings:
            if isinstance(finding, Exception):
                raise finding
            yield finding
        if self.hangs:
            await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def telephone_system(settings, monkeypatch):
    settings.CTI_DJANGO = {
        "REGION": "GB",
        "CONNECTOR": "examined",
        "CONNECTORS": {"examined": f"{__name__}.Examined"},
    }
    settings.ASGI_APPLICATION = "tests.faces.doctor_asgi.application"
    settings.ALLOWED_HOSTS = ["crm.example"]
    channel_layers.backends.clear()
    monkeypatch.setattr(Examined, "findings", [Finding(step="Log in", ok=True, message="Well.")])
    monkeypatch.setattr(Examined, "numbers", [])


@pytest.fixture
def account(agent):
    return ConnectorAccount.objects.create(user=agent, connector="examined", username="alice", password="secret")


def examine(*arguments):
    """The exit code, and the findings."""
    code, lines = spoken(*arguments, "--json")
    return code, [json.loads(line) for line in lines]


def spoken(*arguments):
    out, code = StringIO(), 0
    try:
        call_command("cti_doctor", *arguments, stdout=out)
    except SystemExit as exit_:
        code = exit_.code
    return code, out.getvalue().splitlines()


def named(findings, step):
    return next(finding for finding in findings if finding["step"] == step)


def test_all_is_well(account):
    code, findings = examine("alice")
    assert code == 0
    assert [(finding["step"], finding["ok"]) for finding in findings] == [
        ("Read the settings", True),
        ("Compare the clocks", True),
        ("Look at the agent's rights", True),
        ("Look at the telephone account", True),
        ("Read the stored secrets", True),
        ("Send something through the channel layer", True),
        ("Find the WebSocket", True),
        ("Look for a running session", None),
        ("Set the connector up", True),
        ("Log in", True),
    ]


def test_it_is_said_in_words_with_the_advice_below(account, monkeypatch):
    bad = Finding(step="Log in", ok=False, message="Refused.", advice="Enter the password again.")
    monkeypatch.setattr(Examined, "findings", [Finding(step="Reach", ok=None, message="Not tried."), bad])
    code, lines = spoken("alice")
    assert code == 1
    assert "ok      Look at the agent's rights: She may use the telephone." in lines
    assert lines[-3:] == [
        "-       Reach: Not tried.",
        "failed  Log in: Refused.",
        "        Enter the password again.",
    ]


def test_an_agent_is_named_by_primary_key_too_and_no_secret_is_shown(account):
    code, lines = spoken(str(account.user_id))
    assert code == 0
    assert "secret" not in "".join(lines).replace("stored secrets", "")


@pytest.mark.parametrize(
    "arguments",
    [(), ("nobody",), ("alice", "--connector", "examined"), ("alice", "--option", "a=b"), ("--connector", "other")],
)
def test_a_wrong_command_line_is_exit_code_2(account, arguments):
    with pytest.raises(CommandError) as error:
        call_command("cti_doctor", *arguments)
    assert error.value.returncode == 2


def test_settings_that_cannot_be_used_end_it(account, settings):
    settings.CTI_DJANGO = {"CONECTOR": "examined"}
    code, findings = examine("alice")
    assert (code, len(findings)) == (1, 1)
    assert "CONNECTOR" in findings[0]["message"]


def test_a_user_without_the_right_and_one_switched_off(account):
    account.user.user_permissions.clear()
    assert "permission" in named(examine("alice")[1], "Look at the agent's rights")["advice"]
    account.user.is_active = False
    account.user.save()
    assert "switched off" in named(examine("alice")[1], "Look at the agent's rights")["message"]


def test_no_account_and_one_switched_off_and_one_of_an_unknown_connector(account):
    ConnectorAccount.objects.update(connector="gone")
    assert "gone" in named(examine("alice")[1], "Look at the telephone account")["message"]
    ConnectorAccount.objects.update(connector="examined", is_active=False)
    assert "switched off" in named(examine("alice")[1], "Look at the telephone account")["message"]
    ConnectorAccount.objects.all().delete()
    code, findings = examine("alice")
    assert code == 1
    assert named(findings, "Look at the telephone account")["ok"] is False
    assert not Examined.numbers


def test_secrets_that_cannot_be_read(account, monkeypatch):
    def unreadable(self):
        raise LoginRefused("The stored password cannot be read any more.")

    monkeypatch.setattr(ConnectorAccount, "credentials", unreadable)
    code, findings = examine("alice")
    assert code == 1
    assert "SALT_KEY" in named(findings, "Read the stored secrets")["advice"]


def test_options_that_the_connector_does_not_take(account):
    ConnectorAccount.objects.update(options={"colour": "red"})
    code, findings = examine("alice")
    assert code == 1
    assert "colour" in named(findings, "Set the connector up")["message"]


def test_a_clock_that_is_wrong(account, monkeypatch):
    class Late(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(seconds=90)

    monkeypatch.setattr(surroundings, "datetime", Late)
    found = named(examine("alice")[1], "Compare the clocks")
    assert (found["ok"], "90 seconds apart" in found["message"]) == (False, True)


def test_no_channel_layer_and_one_that_fails(account, settings, monkeypatch):
    step = "Send something through the channel layer"
    settings.CHANNEL_LAYERS = {}
    channel_layers.backends.clear()
    assert "CHANNEL_LAYERS" in named(examine("alice")[1], step)["advice"]

    async def refuse():
        raise ConnectionRefusedError

    monkeypatch.setattr(surroundings, "get_channel_layer", object)
    monkeypatch.setattr(surroundings.bus, "new_address", refuse)
    found = named(examine("alice")[1], step)
    assert (found["ok"], found["message"]) == (False, "It does not arrive (ConnectionRefusedError).")


@pytest.mark.parametrize("name", ["plain", "without_route", "accepting", "missing", ""])
def test_a_project_whose_asgi_application_does_not_have_the_socket(account, settings, name):
    settings.ASGI_APPLICATION = name and f"tests.faces.doctor_asgi.{name}"
    code, findings = examine("alice")
    assert code == 1
    assert named(findings, "Find the WebSocket")["advice"]


def test_a_host_name_that_the_project_answers_to_is_used(account, settings):
    for hosts in (["*"], [".crm.example"], ["crm.example"]):
        settings.ALLOWED_HOSTS = hosts
        assert named(examine("alice")[1], "Find the WebSocket")["ok"]


def test_a_session_that_runs_and_one_whose_line_is_lost(account):
    lease = AgentLease.objects.create(
        agent=account.user, holder="host:1:aa", link="ready", expires_at=timezone.now() + timedelta(seconds=60)
    )
    found = named(examine("alice")[1], "Look for a running session")
    assert (found["ok"], "host:1:aa" in found["message"]) == (True, True)
    lease.link = "lost"
    lease.save()
    assert named(examine("alice")[1], "Look for a running session")["ok"] is False


def test_a_system_that_pushes_and_what_it_pushed_last(account):
    ConnectorAccount.objects.update(username="push")
    assert named(examine("alice")[1], "Look for the last delivery")["ok"] is False
    WebhookDelivery.objects.create(
        endpoint="push", received_at=datetime(2026, 1, 5, 9, tzinfo=UTC), stage="newCall",
        provider_call_id="1", names="\nalice\n", fields={},
    )  # fmt: skip
    found = named(examine("alice")[1], "Look for the last delivery")
    assert (found["ok"], "2026-01-05 09:00:00" in found["message"]) == (True, True)


def test_a_call_is_placed_only_if_a_number_is_given(account):
    examine("alice")
    examine("alice", "--call", "+442079460018")
    assert Examined.numbers == ["", "+442079460018"]


def test_a_step_that_hangs_is_given_up(account, monkeypatch):
    monkeypatch.setattr(Examined, "hangs", True)
    monkeypatch.setattr(cti_doctor, "STEP_SECONDS", 0.5)
    code, findings = examine("alice")
    assert code == 1
    assert findings[-1]["step"] == "Wait"


def test_all_steps_together_have_their_limit(account, monkeypatch):
    monkeypatch.setattr(Examined, "hangs", True)
    monkeypatch.setattr(cti_doctor, "WHOLE_SECONDS", 1.0)
    code, findings = examine("alice")
    assert (code, findings[-1]["ok"]) == (1, False)


def test_a_database_that_fails_is_a_finding(account, monkeypatch):
    def fail(agent):
        raise OperationalError("the disk is on fire: password=secret")

    monkeypatch.setattr(surroundings, "examine_rights", fail)
    code, findings = examine("alice")
    assert (code, findings[-1]["step"]) == (1, "Ask the database")
    assert "password=" not in str(findings)


def test_a_connector_whose_examination_fails_is_a_finding(account, monkeypatch):
    monkeypatch.setattr(Examined, "findings", [KeyError("horse")])
    code, findings = examine("alice")
    assert (code, findings[-1]["ok"]) == (1, False)
    assert "horse" not in str(findings)


def test_a_telephone_system_without_an_account(monkeypatch, settings):
    monkeypatch.setenv("CTI_PASSWORD", "secret")
    code, findings = examine("--connector", "examined", "--username", "alice")
    assert code == 0
    assert [finding["step"] for finding in findings] == ["Read the settings", "Log in"]


@pytest.mark.parametrize(("password", "code"), [("sandbox", 0), ("wrong", 1)])
async def test_it_is_a_command_that_ends_with_its_exit_code(password, code):
    async with FakeService() as service:
        if code:
            service.answers["POST", "/login"] = (401, {"message": "Invalid e-mail or password."})
        options = [f"--option={key}={value}" for key, value in service.options.items()]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "django", "cti_doctor", "--connector", "voipstudio",
            "--username", "alice@example.com", *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "CTI_PASSWORD": password},
        )  # fmt: skip
        async with asyncio.timeout(30):
            out, err = await process.communicate()
    assert (process.returncode, err) == (code, b""), out
    assert password.encode() not in out.replace(b"password", b"")
    assert (b"failed  Log in: Invalid e-mail or password." in out) is bool(code)
