"""docs/adding-a-connector.md shows the toy connector and its test whole, as they are."""

import re
from pathlib import Path

from cti_django.testing.contract import ConnectorContractTests
from cti_django.testing.contract_calls import HOSTILE_NAMES, HOSTILE_NUMBERS

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "adding-a-connector.md").read_text()


def lines(text):
    """The lines that say something."""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_the_code_on_the_page_is_the_toy_connector_and_then_its_test():
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert lines("\n".join(blocks[:-1])) == lines((HERE / "toy_connector.py").read_text())
    assert lines(blocks[-1]) == lines((HERE / "test_toy_connector.py").read_text())


def test_the_number_of_contract_tests_on_the_page_is_right():
    each = {"test_a_hostile_name_is_only_a_name": HOSTILE_NAMES}
    each["test_a_hostile_number_does_not_end_the_line"] = HOSTILE_NUMBERS
    names = [name for name in dir(ConnectorContractTests) if name.startswith("test_")]
    count = sum(len(each.get(name, (None,))) for name in names)
    assert f"the contract: {count} tests" in PAGE
    assert f"{count} passed" in PAGE
