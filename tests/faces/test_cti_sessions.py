"""``manage.py cti_sessions``: the list, and what it asks of the processes that run the sessions."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from cti_django.management.commands import cti_sessions
from cti_django.models import AgentLease
from cti_django.sessions import lease
from tests.faces.pages import make_call, make_user

pytestmark = pytest.mark.django_db

WEB1, WEB2 = "web1:11:aa", "web2:12:bb"


@pytest.fixture
def agents():
    """Alice and Bob on one host, Carol on another, and Dan, whose session has ended."""
    agents = {name: make_user(name) for name in ("alice", "bob", "carol", "dan")}
    for name, holder in (("alice", WEB1), ("bob", WEB1), ("carol", WEB2), ("dan", WEB2)):
        lease.claim(agents[name].pk, holder, 10.0)
    lease.release(WEB2, [agents["dan"].pk])
    lease.note_links(WEB1, {"ready": [agents["alice"].pk]})
    make_call(agents["alice"], state="CONNECTED")
    return agents


def run(*arguments) -> str:
    out = StringIO()
    call_command("cti_sessions", *map(str, arguments), stdout=out, stderr=out, no_color=True)
    return out.getvalue()


def listed(*arguments) -> list[dict]:
    return [json.loads(line) for line in run(*arguments, "--json").splitlines()]


def refusal(*arguments) -> tuple[str, int]:
    with pytest.raises(CommandError) as refused:
        run(*arguments)
    return str(refused.value), refused.value.returncode


def asked() -> dict[str, str]:
    return dict(AgentLease.objects.exclude(instruction="").values_list("agent__username", "instruction"))


# -- the list


def test_the_list_says_who_holds_what(agents):
    rows = listed()
    assert [row["agent"] for row in rows] == ["alice", "bob", "carol"]
    alice = rows[0]
    assert 5 < alice.pop("expires_in") <= 10
    assert alice.pop("since")[:4].isdigit()
    assert alice == {
        "agent": "alice",
        "agent_id": agents["alice"].pk,
        "holder": WEB1,
        "fence": 1,
        "link": "ready",
        "calls": 1,
    }


def test_the_list_for_people_has_a_line_for_each_session(agents):
    heading, *lines = run().splitlines()
    assert heading.split() == ["agent", "holder", "fence", "link", "since", "calls", "expires", "in"]
    assert [line.split()[0] for line in lines] == ["alice", "bob", "carol"]
    assert lines[0].split()[1:4] == [WEB1, "1", "ready"]
    assert len({line.index("web") for line in lines}) == 1


def test_a_lease_that_has_run_out_says_since_when(agents):
    AgentLease.objects.filter(agent=agents["bob"]).update(expires_at=timezone.now() - timedelta(seconds=60))
    assert "ran out 60 s ago" in run()


@pytest.mark.parametrize(
    ("holder", "names"),
    [(WEB1, ["alice", "bob"]), ("web1", ["alice", "bob"]), ("web2:12", ["carol"]), ("web", []), ("web1:1", [])],
)
def test_the_list_of_one_host_or_process(agents, holder, names):
    assert [row["agent"] for row in listed("--holder", holder)] == names


def test_all_lists_those_that_have_ended_too(agents):
    rows = {row["agent"]: row for row in listed("--all")}
    assert set(rows) == set(agents)
    assert (rows["dan"]["holder"], rows["dan"]["since"], rows["dan"]["expires_in"]) == ("", None, None)
    assert "dan" in run("--all")


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_the_list_takes_one_query_for_any_number_of_sessions(agents, arguments, django_assert_num_queries):
    with django_assert_num_queries(1):
        run(*arguments)


def test_a_name_sends_nothing_but_letters_to_the_terminal(agents):
    lease.claim(make_user("eve\x1b[2J").pk, WEB2, 10.0)
    assert "\x1b" not in run()
    assert "eve?[2J" in run()


# -- instructions


@pytest.mark.parametrize(("option", "instruction"), [("--hand-over", "hand_over"), ("--close", "close")])
def test_agents_are_named_by_user_name_or_primary_key(agents, option, instruction):
    assert run(option, "alice", agents["carol"].pk).strip().endswith(": 2")
    assert asked() == {"alice": instruction, "carol": instruction}


def test_a_user_name_goes_before_a_primary_key(agents):
    other = make_user(str(agents["alice"].pk))
    lease.claim(other.pk, WEB2, 10.0)
    run("--close", agents["alice"].pk)
    assert asked() == {other.username: "close"}


def test_all_sessions_of_a_process_or_every_one_are_asked_only_if_that_is_said(agents):
    assert refusal("--hand-over") == ("Name the agents, or say --holder or --all.", 2)
    run("--hand-over", "--holder", "web1")
    assert asked() == {"alice": "hand_over", "bob": "hand_over"}
    run("--close", "--all")
    assert asked() == {"alice": "close", "bob": "close", "carol": "close"}


def test_a_holder_narrows_down_what_is_asked(agents):
    run("--close", "alice", "carol", "--holder", WEB2)
    assert asked() == {"carol": "close"}


def test_an_agent_without_a_session_is_asked_nothing(agents):
    assert run("--close", "dan", "--wait").strip().endswith(": 0")
    assert asked() == {}


@pytest.mark.parametrize("name", ["nobody", "0", "-", "99999999999999999999999", "x\x1b[2J"])
def test_an_unknown_agent_is_named_and_nobody_is_asked(agents, name):
    text, status = refusal("--close", "alice", name) if name != "-" else refusal("--close=-")
    assert text.startswith("There is no agent ")
    assert "\x1b" not in text
    assert status == 2
    assert asked() == {}


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "86400"])
def test_waiting_has_an_end(agents, seconds):
    assert refusal("--close", "alice", f"--wait={seconds}")[1] == 2
    assert asked() == {}


def test_waiting_belongs_to_an_instruction(agents):
    assert refusal("--wait")[1] == 2


def test_what_is_not_done_in_time_is_named_and_a_failure(agents):
    lease.release(WEB1, [agents["bob"].pk])
    assert refusal("--hand-over", "alice", "bob", "--wait", "0") == ("Not handed over after 0 s: alice.", 1)


@pytest.mark.parametrize("option", ["--hand-over", "--close"])
def test_waiting_ends_when_the_holder_has_let_go_or_another_one_has_claimed(agents, option, monkeypatch):
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        lease.release(WEB1, [agents["alice"].pk], wanted_seconds=45.0)
        if len(looks) == 2:
            AgentLease.objects.filter(agent=agents["bob"]).update(expires_at=None)
            lease.claim(agents["bob"].pk, WEB2, 10.0)

    monkeypatch.setattr(cti_sessions.time, "sleep", sleep)
    run(option, "alice", "bob", "--wait")
    assert len(looks) == 2
