"""What the README and the documents promise."""

import re
import sys
from pathlib import Path

import pytest

from .readme_project import REPOSITORY, make_project, probe, python_blocks

DOCUMENTS = [*sorted(REPOSITORY.glob("*.md")), *sorted(REPOSITORY.glob("docs/**/*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_linked_file_is_there(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", document.read_text())
    missing = [link for link in links if not (document.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_anchor_is_a_heading_of_its_document(document: Path) -> None:
    for link, anchor in re.findall(r"\]\((?!https?://)([^)#\s]*)#([^)\s]+)\)", document.read_text()):
        target = (document.parent / link) if link else document
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
        assert anchor in [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings], anchor


def test_every_make_target_that_is_named_exists() -> None:
    named = set(re.findall(r"^    make (\w+)", "".join(path.read_text() for path in DOCUMENTS), re.MULTILINE))
    targets = set(re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= targets


def test_the_integration_is_about_a_dozen_lines() -> None:
    lines = [line for code in python_blocks().values() for line in code.splitlines() if line.strip()]
    assert len(lines) <= 14


def test_the_integration_works_as_it_is_written(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(REPOSITORY)}
    make_project(tmp_path / "project", sys.executable, environment)
    found = probe(tmp_path / "project", sys.executable, environment)
    assert found["indexed"] == ["+442079460018"]
    assert "<cti-call-bar>" in found["page"]
    assert 'href="tel:+442079460018"' in found["page"]
    assert "cti-connector.js" in found["page"]
