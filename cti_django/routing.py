"""The WebSocket's place in a project's ASGI application.

In ``asgi.py``, one line::

    application = with_cti(get_asgi_application())

A project that has WebSockets of its own adds ``websocket_urlpatterns`` to its own router instead, behind the origin
check and the authentication that ``with_cti`` shows.
"""

from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import re_path

from .conf import get_settings
from .consumers import TelephoneConsumer

__all__ = ["websocket_urlpatterns", "with_cti"]

_path = get_settings().socket_path.lstrip("/")

websocket_urlpatterns = [re_path(rf"^{_path}$", TelephoneConsumer.as_asgi())]


def with_cti(http_application: Any) -> ProtocolTypeRouter:
    """`http_application` for HTTP, and the telephone's WebSocket: origin checked, user authenticated."""
    sockets = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))
    return ProtocolTypeRouter({"http": http_application, "websocket": sockets})
