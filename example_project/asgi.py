"""CTI: the site's own application for HTTP, and cti_django's WebSocket beside it."""

import os

from django.core.asgi import get_asgi_application

from cti_django.routing import with_cti

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")
application = with_cti(get_asgi_application())
