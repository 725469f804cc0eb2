"""CTI: the site's own application for HTTP, and cti_django's WebSocket beside it."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")
http_application = get_asgi_application()

from cti_django.routing import with_cti  # noqa: E402  (imports models, so the apps must be loaded)

application = with_cti(http_application)
