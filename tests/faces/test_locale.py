"""The translations are complete: every text of the sources is in every catalogue, translated and compiled."""

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils.translation.template import templatize

ROOT = Path(__file__).parents[2] / "cti_django"
CATALOGUES = sorted(ROOT.glob("locale/*/LC_MESSAGES/django.po"))
FUNCTIONS = {"_", "gettext", "gettext_lazy", "gettext_noop", "ngettext", "ngettext_lazy"}
NOT_OURS = {"sandbox", "static", "migrations"}


LITERAL = r"""u?("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
MARKED = re.compile(rf"(?:gettext|_)\(\s*{LITERAL}(?:,\s*{LITERAL})?")


def texts_of_code(source: str) -> Iterator[str]:
    """The literal arguments of the calls that mark a text for translation."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
            literals = (argument for argument in node.args[:2] if isinstance(argument, ast.Constant))
            yield from (literal.value for literal in literals if isinstance(literal.value, str))


def texts_of_template(source: str) -> Iterator[str]:
    """The same of a template: Django turns its tags into calls, and everything else into X."""
    for literals in MARKED.findall(templatize(source)):
        yield from (ast.literal_eval(literal) for literal in literals if literal)


def source_texts() -> dict[str, Path]:
    found = {}
    for path in sorted(ROOT.rglob("*")):
        if path.suffix not in (".py", ".html") or NOT_OURS & set(path.relative_to(ROOT).parts):
            continue
        texts = texts_of_code if path.suffix == ".py" else texts_of_template
        found.update(dict.fromkeys(texts(path.read_text()), path.relative_to(ROOT)))
    return found


def entries_of(catalogue: Path) -> dict[str, str]:
    """Text -> translation; the plural form stands for itself."""
    pairs = {}
    for block in catalogue.read_text().split("\n\n")[1:]:
        texts = dict(re.findall(r'^(msg\w+(?:\[\d\])?) (".*")$', block, re.M))
        values = {key: ast.literal_eval(value) for key, value in texts.items()}
        pairs[values["msgid"]] = values.get("msgstr", values.get("msgstr[0]"))
        if "msgid_plural" in values:
            pairs[values["msgid_plural"]] = values["msgstr[1]"]
    return pairs


def test_the_sources_are_read():
    found = source_texts()
    assert {"Answer", "telephone account", "Who is it?", "Call %(shown)s"} <= set(found)
    assert "Only the newest %(shown)s calls are shown." in found


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parts[-3])
def test_every_text_is_translated(catalogue):
    translated = {text for text, translation in entries_of(catalogue).items() if translation}
    assert {text: path for text, path in source_texts().items() if text not in translated} == {}


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parts[-3])
def test_nothing_is_translated_that_nobody_says(catalogue):
    assert set(entries_of(catalogue)) - set(source_texts()) == set()


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parts[-3])
def test_the_compiled_catalogue_is_the_written_one(catalogue):
    with catalogue.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    written = entries_of(catalogue)
    plurals = re.findall(r'^msgid (".*")\nmsgid_plural (".*")$', catalogue.read_text(), re.M)
    assert plurals
    for singular, plural in (map(ast.literal_eval, pair) for pair in plurals):
        assert compiled.ngettext(singular, plural, 2) == written.pop(plural)
    assert {text: compiled.gettext(text) for text in written} == written


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parts[-3])
def test_placeholders_survive_translation(catalogue):
    for text, translation in entries_of(catalogue).items():
        assert set(re.findall(r"%\(\w+\)s", text)) == set(re.findall(r"%\(\w+\)s", translation)), text


def test_there_is_a_german_catalogue():
    assert "de" in {path.parts[-3] for path in CATALOGUES}
