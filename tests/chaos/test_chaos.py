"""The short run: several processes, real servers, everything that can go wrong, for about three minutes."""

import os
import random
import signal
import subprocess
import sys

import pytest

from tests.chaos.faults import HEAVY, HEAVY_PAUSE, draw_faults
from tests.chaos.playbook import draw_plan
from tests.programs import program
from tests.readme_project import REPOSITORY

SHORT = ["--seconds", "130", "--agents", "12", "--seed", os.environ.get("CHAOS_SEED", "1")]
LIMIT_SECONDS = 400


def test_the_same_seed_draws_the_same_days_and_the_same_faults():
    days = [[draw_plan(rng, 12) for _ in range(50)] for rng in (random.Random("7 10031"), random.Random("7 10031"))]
    assert days[0] == days[1]
    assert len(set(days[0])) == 50
    faults = [draw_faults(random.Random("7"), HEAVY, HEAVY_PAUSE, 24) for _ in range(2)]
    assert faults[0] == faults[1]
    assert {kind for _, kind in faults[0][: len(HEAVY)]} == set(HEAVY)  # each happens before any happens again


@pytest.mark.slow
def test_no_call_is_lost_or_told_twice_whatever_breaks():
    for name in ("pg_ctl", "redis-server"):
        program(name)
    run = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", *SHORT],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = run.communicate(timeout=LIMIT_SECONDS)
    except BaseException:
        run.send_signal(signal.SIGTERM)  # it ends what it has started
        run.wait(60)
        raise
    assert run.returncode == 0, said
