"""The wheel: what is in it, and that it is enough."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .readme_project import REPOSITORY, make_project, probe

pytestmark = pytest.mark.slow

SOURCES = ["cti_django", "setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"]
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # From a copy: a build directory left in the tree would put files into the wheel that are gone from the sources.
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, source / name, ignore=LEFT_OUT)
        else:
            shutil.copy(REPOSITORY / name, source / name)
    _pip("wheel", "--no-deps", "--wheel-dir", str(source / "dist"), str(source))
    return next((source / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def _files(folder: str) -> Iterator[str]:
    for path in (REPOSITORY / "cti_django" / folder).rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("folder", ["templates", "static", "migrations", "locale", "sandbox", "testing"])
def test_the_wheel_holds_every_file_of(folder: str, names: list[str]) -> None:
    files = set(_files(folder))
    assert files
    assert files - set(names) == set()


def test_the_wheel_holds_the_marker_for_typed_packages(names: list[str]) -> None:
    assert "cti_django/py.typed" in names


def test_the_wheel_holds_the_compiled_german_texts(names: list[str]) -> None:
    assert "cti_django/locale/de/LC_MESSAGES/django.mo" in names


def test_the_wheel_holds_nothing_else(names: list[str]) -> None:
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"cti_django"}


def test_the_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = str(tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python")
    _pip("--python", python, "install", str(wheel))
    make_project(tmp_path / "project", python, {})
    found = probe(tmp_path / "project", python, {})
    assert Path(found["imported_from"]).is_relative_to(tmp_path / "venv")
    assert found["static"] == [True, True]
    assert found["german"] != "telephone account"
    assert "<cti-call-bar>" in found["page"]
    assert found["indexed"] == ["+442079460018"]


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=400)
    if done.returncode and "Failed to establish a new connection" in done.stderr and os.environ.get("CI") != "true":
        pytest.skip("pip reaches no package index")
    assert done.returncode == 0, done.stderr
