"""A project with a connector whose accounts have no password of their own."""

from cti_django.testing import FakeConnector
from tests.settings import *  # noqa: F403


class PhoneOnlyConnector(FakeConnector):
    """The account alone says whose phone is hers."""

    name = "phone_only"
    takes_typed_credentials = False

    def __init__(self, credentials, options, **more):
        assert credentials.password == credentials.api_key == ""
        super().__init__(credentials, {"obeys": True}, **more)


CTI_DJANGO = {
    "REGION": "GB",
    "CONNECTORS": {"phone_only": f"{__name__}.PhoneOnlyConnector"},
    "CONNECTOR": "phone_only",
}
