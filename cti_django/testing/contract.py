"""What every connector must do, as tests: the docstrings of ``connectors/base.py``, held against a real line.

A connector's author subclasses ``ConnectorContractTests`` and gives it one fixture, ``world``::

    class TestMyConnector(ConnectorContractTests):
        @pytest_asyncio.fixture
        async def world(self):
            async with MyWorld() as world:
                yield world
"""

import pytest

pytest.register_assert_rewrite(*(f"cti_django.testing.contract_{part}" for part in ("ground", "lines", "calls")))

from .contract_calls import CallContract  # noqa: E402  what it asserts is explained only if that was said before
from .contract_lines import LineContract  # noqa: E402

__all__ = ["ConnectorContractTests"]


class ConnectorContractTests(LineContract, CallContract):
    """All of the contract. Needs pytest-asyncio, and the fixture ``world``: a ``ConnectorWorld``.

    Attributes:
        patience_seconds: how long a test waits for what must come.
    """
