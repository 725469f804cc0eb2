"""Where Asterisk and the soft phone are: on this machine, or in a small Debian of their own beneath it.

Debian's stable releases carry no Asterisk; its unstable one does, and a chroot takes from there what runs on anything.
``python3 -m tests.pbx.install`` makes it.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["PROGRAMS", "STAMP", "Home", "home", "root"]

PROGRAMS = ("asterisk", "baresip")
STAMP = ".cti_django-pbx"
"""In the chroot's top folder, written last: what was installed."""


def root() -> Path:
    """The chroot's place; the environment's CTI_PBX_ROOT moves it."""
    return Path(os.environ.get("CTI_PBX_ROOT") or "/var/cache/cti_django/pbx")


_IN_USE = ".in-use"
# The kernel ends a program whose parent is gone: a test run that was killed leaves nothing behind.
_DIES_WITH_ITS_PARENT = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()


class Home:
    """Runs programs where Asterisk is installed.

    Args:
        root: the top folder as seen from outside; "/" without a chroot.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def is_chroot(self) -> bool:
        return self.root != Path("/")

    def command(self, *words: str, user: str = "") -> list[str]:
        """How a program there is started, so that it ends with whoever starts it.

        Args:
            user: whom it runs as in a chroot; "" for root.
        """
        within = [*_DIES_WITH_ITS_PARENT, *words]
        if not self.is_chroot:
            return within
        who = [f"--userspec={user}:{user}"] if user else []
        return ["chroot", *who, str(self.root), *within]

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """A new folder that programs there see as well, as seen from outside; removed afterwards."""
        above = self.root / "srv" if self.is_chroot else Path(tempfile.gettempdir())
        made = Path(tempfile.mkdtemp(prefix=f"cti_django-{name}-", dir=above))
        made.chmod(0o755)
        with (made / "sign").open("w") as sign:
            fcntl.flock(sign, fcntl.LOCK_EX)
            (made / "sign").rename(made / _IN_USE)  # locked before anybody can find it
            _clear_up(above)
            try:
                yield made
            finally:
                shutil.rmtree(made, ignore_errors=True)

    def inside(self, path: Path) -> Path:
        """`path` as a program there names it."""
        return Path("/") / path.relative_to(self.root)

    def find(self, pattern: str) -> Path:
        """The first path that the pattern ("usr/lib/*/asterisk/modules") finds, as a program there names it."""
        return self.inside(next(iter(sorted(self.root.glob(pattern)))))


def _clear_up(above: Path) -> None:
    """Remove the folders of test runs that were killed: nobody holds the lock in them any more."""
    for sign in above.glob(f"cti_django-*/{_IN_USE}"):
        with contextlib.suppress(OSError), sign.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(sign.parent, ignore_errors=True)


def home() -> Home | None:
    """Where Asterisk and the phone can be run, None if nowhere."""
    if all(shutil.which(name) for name in PROGRAMS):
        return Home(Path("/"))
    if (root() / STAMP).exists() and os.geteuid() == 0 and shutil.which("chroot"):
        return Home(root())
    return None
