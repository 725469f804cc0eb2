"""ASGI applications as projects have them: with the telephone's socket, without it, and one that fails."""

from channels.routing import ProtocolTypeRouter, URLRouter

from cti_django.routing import with_cti


async def plain(scope, receive, send):
    """Says nothing about WebSockets."""


async def accepting(scope, receive, send):
    """Lets everybody in, whoever that is."""
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 1000})


async def application(scope, receive, send):
    """As a project's own; made anew, because the origin check remembers ALLOWED_HOSTS."""
    await with_cti(plain)(scope, receive, send)


without_route = ProtocolTypeRouter({"http": plain, "websocket": URLRouter([])})
