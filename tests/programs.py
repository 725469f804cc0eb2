"""Programs of the system that some tests need: Chromium, Node, Redis."""

import os
import shutil

import pytest

__all__ = ["program"]


def program(*names: str) -> str:
    """The path of the first of these programs that is installed.

    Without any the test that asks is skipped; with CI=true it fails.
    """
    for name in names:
        if path := shutil.which(name):
            return path
    if os.environ.get("CI") == "true":
        pytest.fail(f"{names[0]} is not installed", pytrace=False)
    pytest.skip(f"{names[0]} is not installed")
