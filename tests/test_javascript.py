"""The browser code: its own tests under node, its size, and what a strict Content-Security-Policy forbids."""

import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STATIC = ROOT / "cti_django" / "static" / "cti_django"
MAX_GZIPPED = 20_000  # bytes of the scripts and the bar's style sheet, each compressed by itself
MAX_PANELS_GZIPPED = 4_000  # and of what only a page loads that has a call, or queues to serve
MAX_LINES = 400
SCRIPTS = sorted(STATIC.glob("*.js"))
SHEETS = sorted(STATIC.glob("*.css"))
PAGES_SHEET = STATIC / "pages.css"  # of the server-rendered pages; the call bar does without it
PANELS = [STATIC / "panels.js", STATIC / "panels.css"]
LITERAL = re.compile(r'\bt\("((?:[^"\\]|\\.)*)"\)')


def test_the_browser_code_passes_its_own_tests() -> None:
    node = shutil.which("node")
    if node is None:
        reason = "node is not installed: the tests under tests/js/ were not run"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    tests = sorted(str(path) for path in (ROOT / "tests" / "js").glob("*.test.mjs"))
    assert tests
    done = subprocess.run([node, "--test", *tests], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_the_browser_side_is_small() -> None:
    files = {path for path in [*SCRIPTS, *SHEETS] if path != PAGES_SHEET}
    for counted, most in ((files - set(PANELS), MAX_GZIPPED), (PANELS, MAX_PANELS_GZIPPED)):
        sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in counted}
        assert sum(sizes.values()) <= most, sizes


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_keeps_to_a_strict_content_security_policy(path: Path) -> None:
    source = path.read_text()
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment",
        r"\beval\b|new Function|setTimeout\(\s*[\"'`]|setInterval\(\s*[\"'`]",
        r"setAttribute\(\s*[\"'](?:style|on\w+)|\bstyle\s*[:=]|cssText",
        r"console\.(?:log|debug)|debugger|\bimport\b|\brequire\(",
        r"https?://(?!www\.w3\.org/2000/svg)",
        r"randomUUID",
    )
    for pattern in forbidden:
        assert not re.search(pattern, source), pattern


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_of_readable_length(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_texts_to_translate_are_literals(path: Path) -> None:
    source = path.read_text()
    calls = re.findall(r"(?<![\w.#])t\((?!text\))([^)]*)", source)
    known = {"message", 'message || ""'}  # the server's sentences, looked up as they come
    assert all(call.startswith('"') or call in known for call in calls), calls


def test_every_text_of_the_bar_is_offered_for_translation() -> None:
    bar_texts = pytest.importorskip("cti_django.templatetags.bar_texts")
    texts = {text for path in SCRIPTS for text in LITERAL.findall(path.read_text())}
    assert texts <= set(bar_texts.BAR_TEXTS), sorted(texts - set(bar_texts.BAR_TEXTS))


@pytest.mark.parametrize("path", SHEETS, ids=lambda path: path.name)
def test_a_style_sheet_loads_nothing_from_elsewhere(path: Path) -> None:
    assert not re.search(r"url\(|@import|expression\(", path.read_text())


def test_the_bars_rules_stay_inside_its_shadow_root() -> None:
    """cti.css is loaded by the page too: a rule that is not :host's would restyle the page."""
    source = re.sub(r"/\*.*?\*/", "", (STATIC / "cti.css").read_text(), flags=re.DOTALL)
    selectors = re.findall(r"(?:^|[{}])\s*([^{}@]+?)\s*\{", source)
    strangers = [s for s in selectors if not re.match(r":host|\.cti-|cti-call-bar|\d+%", s)]
    assert not strangers
