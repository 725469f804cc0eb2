"""Programs of the system that some tests need: Chromium, Node, Redis, PostgreSQL."""

import os
import shutil
from pathlib import Path

import pytest

__all__ = ["program"]


def program(*names: str) -> str:
    """The path of the first of these programs that is installed.

    Without any the test that asks is skipped; with CI=true it fails.
    """
    for name in names:
        if path := shutil.which(name) or shutil.which(name, path=_server_programs()):
            return path
    if os.environ.get("CI") == "true":
        pytest.fail(f"{names[0]} is not installed", pytrace=False)
    pytest.skip(f"{names[0]} is not installed")


def _server_programs() -> str:
    """Debian keeps PostgreSQL's server programs off the path, one folder for each version; the newest comes first."""
    versions = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdecimal()]
    return os.pathsep.join(str(path) for path in sorted(versions, key=lambda path: -int(path.parent.name)))
