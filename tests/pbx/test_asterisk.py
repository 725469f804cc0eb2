"""Asterisk, the phones and the public network do what the tests that need them rely on."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.pbx.asterisk import asterisk
from tests.pbx.phone import phone
from tests.pbx.public_network import public_network
from tests.pbx.talk_phone import talk_phone

MANY = "+33612345678"


async def test_a_caller_outside_talks_with_an_agent_and_hangs_up(pbx):
    async with public_network(pbx) as outside, phone(pbx, "1001") as desk:
        caller = await outside.ring("1001")
        await desk.answer()
        await caller.answered()
        await caller.hang_up()
        await desk.wait_for("idle")


async def test_an_agent_refuses_and_a_caller_gives_up(pbx):
    async with public_network(pbx) as outside, phone(pbx, "1001") as desk:
        caller = await outside.ring("1001")
        await desk.wait_for("ringing")
        await desk.hang_up()
        await caller.over()
        assert caller.code == 486
        caller = await outside.ring("1001", anonymous=True)
        await caller.rings()
        await caller.hang_up()
        assert caller.code == 487
        await desk.wait_for("idle")


async def test_an_agent_calls_outside_and_the_far_side_hears_her_keys(pbx):
    async with public_network(pbx) as outside, phone(pbx, "1002", transport="tcp") as desk:
        await desk.dial(MANY)
        far = await outside.called(MANY)
        assert far.shown == "+442079460002"
        await far.answer()
        await desk.wait_for("talking")
        await desk.press("1#")
        await far.pressed("1#")
        await far.hang_up()
        await desk.wait_for("idle")


async def test_a_number_outside_may_be_engaged(pbx):
    async with public_network(pbx) as outside, phone(pbx, "1001") as desk:
        outside.engaged[MANY] = 486
        await desk.dial(MANY)
        far = await outside.called(MANY)
        await far.over()
        await desk.wait_for("idle")


async def test_a_talk_phone_answers_when_it_is_told_to(pbx):
    async with public_network(pbx) as outside, talk_phone(pbx, "1005") as desk:
        caller = await outside.ring("1005")
        rings = await desk.called("1005")
        channel = next(name for name in await asyncio.to_thread(pbx.channels) if "/1005-" in name)
        await asyncio.to_thread(pbx.cli, f"pjsip send notify talk channel {channel}")
        await caller.answered()
        await caller.hang_up()
        await rings.over()


async def test_what_was_called_is_billed(pbx):
    async with public_network(pbx) as outside, phone(pbx, "1009", answers_by_itself=True):
        caller = await outside.ring("1009", shown="+4930901820")
        await caller.answered()
        await caller.hang_up()
    rows = [row for row in pbx.bills() if row[1] == "+4930901820"]
    assert [(row[2], row[14]) for row in rows] == [("1009", "ANSWERED")]


def test_two_run_at_once_and_one_that_was_killed_comes_back_where_it_was(pbx):
    with asterisk(agents=12) as another:
        assert {another.sip_port, another.ami_port, another.http_port}.isdisjoint(
            {pbx.sip_port, pbx.ami_port, pbx.http_port}
        )
        assert "PJSIP/1012" in another.cli("core show hints")
        another.kill()
        assert not another.is_running
        another.start()
        assert "PJSIP/1012" in another.cli("core show hints")
    assert not another.folder.exists()


def test_a_flow_can_be_recorded(tmp_path):
    words = [sys.executable, "-m", "tests.pbx.record", str(tmp_path), "inbound_given_up"]
    folder = Path(__file__).parents[2]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "inbound_given_up: recorded\n", done.stderr
    recorded = (tmp_path / "inbound-given-up" / "ami.txt").read_text()
    assert "Event: DialEnd" in recorded
    assert "Goodbye" not in recorded
    assert "missed" in (tmp_path / "inbound-given-up" / "story.json").read_text()


def test_the_accounts_have_no_more_rights_than_they_say(pbx):
    settings = pbx.cli("manager show user cti")
    assert "system" not in settings
    assert "originate" in settings


def test_nothing_is_left_of_a_test_run_that_was_killed(pbx):
    code = (
        "import sys, time\nfrom tests.pbx.asterisk import asterisk\n"
        "with asterisk() as server:\n    print(server._process.pid, server.folder, flush=True)\n    time.sleep(60)"
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as run:
        pid, folder = run.stdout.readline().split()
        run.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 15
    while _is_alive(pid):
        assert time.monotonic() < deadline, "an Asterisk outlived the run that had started it"
        time.sleep(0.01)
    with pbx.home.folder("another"):
        assert not Path(folder).exists()
        assert pbx.folder.exists()


def _is_alive(pid: str) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False
