"""docs/deployment.md: what it tells people to type is understood by the programs that it is for."""

import argparse
import re
import shlex
from pathlib import Path

import pytest
from daphne.cli import CommandLineInterface
from django.conf import settings
from django.core.management import load_command_class
from django.test import override_settings
from psycopg.conninfo import make_conninfo
from uvicorn.main import main as uvicorn

from cti_django import checks

TEXT = Path(__file__).parents[1].joinpath("docs", "deployment.md").read_text()


def commands(program: str) -> list[list[str]]:
    """The arguments of each line that starts this program, continued lines joined."""
    lines = TEXT.replace("\\\n", " ").splitlines()
    starts = (re.match(rf"\s*(?:ExecStart=\S*/)?{program} (.*)", line) for line in lines)
    return [shlex.split(start[1].replace("%i", "8001")) for start in starts if start]


def test_uvicorn_takes_its_flags():
    found = commands("uvicorn")
    assert len(found) == 2
    for arguments in found:
        options = uvicorn.make_context("uvicorn", list(arguments)).params
        assert options["ws_ping_interval"] + options["ws_ping_timeout"] < 30
        assert options["ws_per_message_deflate"] is False
        assert options["timeout_graceful_shutdown"] == 2


def test_daphne_takes_its_flags():
    (arguments,) = commands("daphne")
    options = CommandLineInterface().parser.parse_args(arguments)
    assert options.ping_interval + options.ping_timeout < 28  # it looks every two seconds
    assert options.ping_timeout < options.ping_interval


def test_our_own_commands_take_theirs():
    found = [shlex.split(line.split("  ")[0]) for line in re.findall(r"manage\.py (cti_\w+(?: [^`\n]*)?)", TEXT)]
    assert {words[0] for words in found} == {"cti_host", "cti_sessions"}
    for name, *arguments in found:
        parser = load_command_class("cti_django", name).create_parser("manage.py", name)
        try:
            parser.parse_args(arguments)
        except (SystemExit, argparse.ArgumentError) as error:  # pragma: no cover
            pytest.fail(f"{name} {arguments}: {error}")


@pytest.fixture
def documented():
    """The settings of the document, as a project would have them."""
    names: dict = {}
    exec(re.search(r"```python\n(.*?)```", TEXT, re.S)[1], names)
    return {name: value for name, value in names.items() if name.isupper()}


def test_the_settings_are_understood_and_no_check_complains(documented, monkeypatch):
    assert make_conninfo(**documented["DATABASES"]["default"]["OPTIONS"])
    del documented["DATABASES"]
    monkeypatch.setattr(checks, "_is_sqlite", lambda: False)
    with override_settings(**documented, DEBUG=False):
        assert settings.CTI_DJANGO["REGION"] == "GB"
        assert checks.check_settings() == []
        assert checks.check_surroundings() == []
