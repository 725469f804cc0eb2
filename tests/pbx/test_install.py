"""What ``make system`` does for Asterisk, as far as it can be tried without installing anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pbx import chroot, install

PLAN = """\
'http://mirror.example/debian/dists/stable-updates/InRelease' mirror.example_debian_dists_stable-updates_InRelease 0
'http://mirror.example/debian-security/dists/stable-security/InRelease' mirror.example_x_InRelease 0
'http://mirror.example/debian/dists/stable/InRelease' mirror.example_debian_dists_stable_InRelease 0
'http://mirror.example/debian/dists/stable/main/binary-amd64/Packages.xz' mirror.example_Packages 0
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where a chroot would be made, on a machine that has neither Asterisk nor baresip."""
    monkeypatch.setenv("CTI_PBX_ROOT", str(tmp_path / "pbx"))
    monkeypatch.setattr("shutil.which", lambda name: None if name in chroot.PROGRAMS else f"/usr/bin/{name}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path / "pbx"


@pytest.fixture
def commands(place, monkeypatch):
    """What would have been run; debootstrap makes the folders that are written to."""
    run: list[tuple[str, ...]] = []

    def pretend(*words: str, log: Path | None = None) -> None:
        run.append(words)
        if words[0] == "debootstrap":
            for name in ("usr/sbin", "etc/dpkg/dpkg.cfg.d", "etc/apt/apt.conf.d"):
                (Path(words[-2]) / name).mkdir(parents=True)
        elif words[0] == "rm":
            subprocess.run(words, check=True)

    monkeypatch.setattr(install, "_run", pretend)
    monkeypatch.setattr(install, "_mirror", lambda: "http://mirror.example/debian")
    monkeypatch.setattr(install, "_download_settings", lambda: "")
    monkeypatch.setattr(install, "_version", lambda home: "Asterisk 22")
    return run


def test_the_mirror_is_that_of_the_distribution_itself():
    assert install.mirror_in(PLAN) == "http://mirror.example/debian"
    assert install.mirror_in("E: no sources") == ""


def test_a_chroot_is_made_once_and_then_found(place, commands):
    assert install.install() == f"Asterisk 22 in {place}"
    assert [words[0] for words in commands] == ["debootstrap", "chroot", "chroot", "chroot"]
    assert "http://mirror.example/debian" in commands[0]
    assert chroot.home().root == place
    commands.clear()
    install.install()
    assert commands == []


def test_one_that_was_half_made_is_thrown_away_first(place, commands):
    half = place.with_name("pbx.making")
    (half / "usr").mkdir(parents=True)
    install.install()
    assert commands[0] == ("rm", "-rf", "--one-file-system", str(half))
    assert not half.exists()


def test_a_mirror_that_fails_is_asked_twice(place, commands, monkeypatch):
    failures = ["once"]
    pretend = install._run

    def fails_once(*words: str, log: Path | None = None) -> None:
        pretend(*words, log=log)
        if words[0] == "chroot" and failures:
            raise install.NotPossible(failures.pop())

    monkeypatch.setattr(install, "_run", fails_once)
    install.install()
    assert [words[0] for words in commands].count("debootstrap") == 2
    failures += ["again", "once"]
    (place / chroot.STAMP).write_text("another list of packages")
    with pytest.raises(install.NotPossible, match="again"):
        install.install()
    assert (place / chroot.STAMP).exists()  # the old one stays until there is a new one


def test_what_was_not_made_here_is_left_alone(place, commands):
    place.mkdir()
    (place / "precious").touch()
    with pytest.raises(install.NotPossible, match="was not made here"):
        install.install()
    assert (place / "precious").exists()


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_where_it_cannot_be_installed_that_is_said_and_fails_only_in_ci(place, monkeypatch, capsys, ci, code):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("CI", ci)
    assert install.main() == code
    assert "only root on Debian" in capsys.readouterr().err


def test_it_needs_nothing_but_python():
    folder = Path(__file__).parents[2]
    code = "import sys; before = set(sys.modules); import tests.pbx.install; print(*(set(sys.modules) - before))"
    words = [sys.executable, "-S", "-c", code]
    loaded = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    assert {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) == {"tests"}
