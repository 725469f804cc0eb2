import pytest

from cti_django.calls.numbers import NumberPlan
from cti_django.connectors.base import Credentials
from cti_django.connectors.voipstudio.connector import VoIPstudioConnector

from .fake_service import FakeService
from .listener import Listener

PLAN = NumberPlan(region="GB", extension_pattern=r"[1-9][0-9]{3,4}")
ALICE = Credentials(username="alice@example.com", password="sandbox")


@pytest.fixture
async def service():
    async with FakeService() as service:
        yield service


@pytest.fixture
async def connect(service):
    """Gives unopened connectors to the fake service, and closes them."""
    made = []

    def make(credentials=ALICE, **options):
        connector = VoIPstudioConnector(credentials, {**service.options, **options}, number_plan=PLAN)
        made.append(connector)
        return connector

    yield make
    for connector in made:
        await connector.close()


@pytest.fixture
async def ready(connect):
    """An opened connector that has said READY, and its listener."""

    async def make(credentials=ALICE, **options):
        connector = connect(credentials, **options)
        await connector.open()
        listener = Listener(connector)
        await listener.until_said("READY")
        return connector, listener

    return make
