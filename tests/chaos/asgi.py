"""The ASGI application of the site under chaos, as a project writes its own."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.chaos.settings")

from django.core.asgi import get_asgi_application

from cti_django.routing import with_cti

__all__ = ["application"]

application = with_cti(get_asgi_application())
