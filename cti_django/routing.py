"""The WebSocket's place in a project's ASGI application.

In ``asgi.py``, one line::

    application = with_cti(get_asgi_application())

A project that has WebSockets of its own adds ``websocket_urlpatterns`` to its own router instead, behind the origin
check and the authentication that ``with_cti`` shows, and ``lifespan``. (Import the patterns after
``get_asgi_application()``: they need models.)
"""

import re
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import re_path

from .conf import get_settings

__all__ = ["lifespan", "websocket_urlpatterns", "with_cti"]  # noqa: F822  the first one is made by __getattr__


def with_cti(http_application: Any) -> ProtocolTypeRouter:
    """`http_application` for HTTP, and the telephone's WebSocket: origin checked, user authenticated."""
    from channels.auth import AuthMiddlewareStack

    sockets = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(_urlpatterns())))
    return ProtocolTypeRouter({"http": http_application, "websocket": sockets, "lifespan": lifespan})


async def lifespan(scope: Any, receive: Any, send: Any) -> None:
    """End this process's sessions in order when the server says that it ends (uvicorn does; Daphne needs no telling).

    Source: ASGI, Lifespan Protocol 2.0.
    """
    from .sessions.host import shut_down

    kind = ""
    while kind != "lifespan.shutdown":
        kind = (await receive())["type"]
        if kind == "lifespan.shutdown":
            await shut_down()
        await send({"type": f"{kind}.complete"})


def _urlpatterns() -> list[Any]:
    # Imported here, so that asgi.py may import this module before Django has loaded its models.
    from .consumers import TelephoneConsumer

    return [re_path(f"^{re.escape(get_settings().socket_path.lstrip('/'))}$", TelephoneConsumer.as_asgi())]


def __getattr__(name: str) -> Any:
    if name == "websocket_urlpatterns":
        return _urlpatterns()
    raise AttributeError(name)
