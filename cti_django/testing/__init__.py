"""For users' own tests: a telephone system that does as it is told."""

from .fake_connector import FakeConnector

__all__ = ["FakeConnector"]
