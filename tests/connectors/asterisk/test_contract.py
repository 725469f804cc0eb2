"""The Asterisk connector keeps the contract of all connectors."""

from cti_django.testing.contract import ConnectorContractTests


class TestAsterisk(ConnectorContractTests):
    """Against the fake PBX."""
