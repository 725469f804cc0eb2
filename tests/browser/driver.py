"""Playwright for the tests of this folder; without it they are skipped, and with CI=true that is a failure."""

import os

import pytest

__all__ = ["CHROMIUM_ARGUMENTS", "SECONDS", "playwright"]

try:
    from playwright import sync_api as playwright
except ImportError:
    if os.environ.get("CI") == "true":
        raise
    pytest.skip("playwright is not installed: no browser is driven", allow_module_level=True)

SECONDS = 15.0
"""How long anything on a page may take before a test gives up."""

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

playwright.expect.set_options(timeout=SECONDS * 1000)
