"""``python3 -m tests.pbx.install``: what the tests against a real Asterisk need, on Debian, as root.

On the machine itself SIPp, which plays many phones, and debootstrap; beneath it a chroot with Asterisk and a soft
phone, unless the machine has both. About two minutes, no time at all when everything is there. Nothing but Python's
own library is used, because this runs before anything else is installed.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.pbx.chroot import PROGRAMS, STAMP, Home, home, root

__all__ = ["NotPossible", "install", "main", "mirror_in"]

SUITE = "sid"
PACKAGES = ("asterisk", "asterisk-core-sounds-en-gsm", "baresip-core")
HOST_PROGRAMS = {"sipp": "sip-tester", "debootstrap": "debootstrap", "openssl": "openssl"}
ATTEMPTS = 2
"""A mirror may be in the middle of its update, above all that of an unstable release."""

_DPKG = """\
# Nothing here outlives the tests, and nobody reads it.
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
"""


class NotPossible(Exception):
    """It cannot be installed here; the sentence says why."""


def install() -> str:
    """Install what is missing.

    Returns:
        What is there now, a sentence.

    Raises:
        NotPossible: with what is missing and why.
    """
    _install_on_the_machine()
    if not _are_here() and not _is_made(root()):
        _check_root()
        with _alone():
            if not _is_made(root()):
                _make(root())
    found = home()
    if found is None:
        raise NotPossible("Asterisk was installed, and is not found.")
    return f"{_version(found)} in {found.root}"


def _version(found: Home) -> str:
    done = subprocess.run(found.command("asterisk", "-V"), capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotPossible(f"Asterisk is installed, and does not run: {done.stderr.strip()}")
    return done.stdout.strip()


def _are_here() -> bool:
    return all(shutil.which(name) for name in PROGRAMS)


def _check_root() -> None:
    if os.geteuid() or not shutil.which("apt-get"):
        raise NotPossible("Asterisk and baresip are not installed, and only root on Debian may install them here.")


def _install_on_the_machine() -> None:
    missing = [package for name, package in HOST_PROGRAMS.items() if not shutil.which(name)]
    if _are_here() and "debootstrap" in missing:
        missing.remove("debootstrap")
    if not missing:
        return
    _check_root()
    print(f"Installing {' '.join(missing)} ...", flush=True)
    _run("apt-get", "-o", "Acquire::Retries=3", "update", "-qq")
    _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)


# -- the chroot -----------------------------------------------------------------------------------------------------


@contextmanager
def _alone() -> Iterator[None]:
    """Two at once: the second waits, and finds it made."""
    root().parent.mkdir(parents=True, exist_ok=True)
    with _beside(root(), ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _beside(place: Path, ending: str) -> Path:
    return place.with_name(place.name + ending)


def _is_made(place: Path) -> bool:
    stamp = place / STAMP
    return stamp.exists() and stamp.read_text() == _stamp()


def _stamp() -> str:
    return f"{SUITE}: {' '.join(PACKAGES)}\n"


def _make(place: Path) -> None:
    """Made beside its place and moved there when it is whole: a half-made one is never taken for it."""
    print(f"Installing {' '.join(PACKAGES)} in {place}, about two minutes ...", flush=True)
    if place.exists() and not (place / STAMP).exists():
        raise NotPossible(f"{place} exists, and was not made here. Remove it, or set CTI_PBX_ROOT.")
    half = _beside(place, ".making")
    for attempt in range(1, ATTEMPTS + 1):
        _remove(half)
        try:
            _fill(half)
            break
        except NotPossible:
            if attempt == ATTEMPTS:
                raise
    _remove(place)
    half.rename(place)


def _fill(half: Path) -> None:
    half.mkdir(parents=True)
    log = _beside(root(), ".log")
    log.unlink(missing_ok=True)
    _run("debootstrap", "--variant=minbase", "--include=ca-certificates", SUITE, str(half), _mirror(), log=log)
    # Packages must not start services.
    policy = half / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    (half / "etc/dpkg/dpkg.cfg.d/cti_django").write_text(_DPKG)
    (half / "etc/apt/apt.conf.d/90machine").write_text(_download_settings())
    for name in ("resolv.conf", "hosts"):
        shutil.copy(f"/etc/{name}", half / "etc" / name)
    inside = ("chroot", str(half), "apt-get", "-o", "Acquire::Retries=3")
    _run(*inside, "update", "-qq", log=log)
    _run(*inside, "install", "-y", "-qq", "--no-install-recommends", *PACKAGES, log=log)
    _run(*inside, "clean", log=log)
    _unmount(half)
    (half / STAMP).write_text(_stamp())


def _mirror() -> str:
    """Whence this machine's own apt has its packages."""
    plan = subprocess.run(["apt-get", "update", "--print-uris"], capture_output=True, text=True, check=False).stdout
    if mirror := mirror_in(plan):
        return mirror
    raise NotPossible("This machine's apt names no Debian mirror.")


def mirror_in(plan: str) -> str:
    """The mirror of the distribution itself in what ``apt-get update --print-uris`` says, "" if there is none."""
    for uri, suite in re.findall(r"^'(\S+?)/dists/([^/' ]+)/[^']*InRelease'", plan, re.MULTILINE):
        if not suite.endswith(("-security", "-updates", "-backports")):
            return uri
    return ""


def _download_settings() -> str:
    """This machine's apt settings for downloads (a proxy, checks); not its hooks, which need what only it has."""
    settings = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    return "".join(f"{line}\n" for line in settings.splitlines() if line.startswith("Acquire::") and '""' not in line)


def _remove(place: Path) -> None:
    if place.exists():
        _unmount(place)
        _run("rm", "-rf", "--one-file-system", str(place))


def _unmount(place: Path) -> None:
    """debootstrap leaves /proc mounted when it fails; nothing may be removed through a mount."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((each for each in mounts if each.startswith(f"{place}/")), reverse=True):
        _run("umount", mount)


def _run(*words: str, log: Path | None = None) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, check=False
    )
    said = done.stdout.decode(errors="replace")
    if log is not None:
        with log.open("a") as file:
            file.write(said)
    if done.returncode:
        where = f" (all of it: {log})" if log else ""
        raise NotPossible(f"“{' '.join(words[:4])} ...” failed{where}:\n{said[-1_000:]}")


def main() -> int:
    """Install, say what is there or what is missing; the exit code is 1 only where nothing may be missing."""
    try:
        print(install())
    except (NotPossible, OSError) as problem:
        print(f"No Asterisk here: {problem} The tests that need it are skipped.", file=sys.stderr)
        if os.environ.get("CI") == "true":
            print("With CI=true that is a failure.", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
