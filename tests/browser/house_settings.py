"""The example CRM's settings, with a telephone system that can do everything behind it."""

from example_project.settings import *  # noqa: F403
from example_project.settings import CTI_DJANGO

CTI_DJANGO = {**CTI_DJANGO, "CONNECTORS": {"voipstudio": "tests.browser.house.HouseConnector"}}
