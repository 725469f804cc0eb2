"""The site under measurement: ``cti_django`` and, beside it, the floor.

The floor is the least that a server could do for the same effect: a frame comes in, one indexed query, one
``group_send`` of the same size, a consumer that relays it.
"""

import os
import time
from typing import Any

import django
from django.conf import settings

if not settings.configured:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.bench.settings")
    django.setup()

from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.db.backends.signals import connection_created
from django.db.models import FloatField, Func, Value
from django.dispatch import receiver
from django.urls import path

from cti_django.models import ContactNumber
from cti_django.routing import websocket_urlpatterns

PAYLOAD = "x" * 700
SLOW_SECONDS = 0.2


class FloorConsumer(AsyncWebsocketConsumer):
    """One browser of the floor: relays."""

    async def connect(self) -> None:
        await self.channel_layer.group_add(f"floor.{self.scope['user'].pk}", self.channel_name)
        await self.accept()

    async def floor_relay(self, event: dict[str, str]) -> None:
        await self.send(text_data=event["text"])


class FloorTrigger(AsyncWebsocketConsumer):
    """Where the floor's rings come in: "<agent id> <number> <mark>"."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        agent_id, number, mark = (text_data or "").split()
        await ContactNumber.objects.filter(number=number).afirst()
        text = f"{mark} {PAYLOAD}"
        await self.channel_layer.group_send(f"floor.{agent_id}", {"type": "floor.relay", "text": text})


class SlowQuery(AsyncWebsocketConsumer):
    """Somebody else's slow query, asynchronous as Django has it: answers when it is over."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        nap = Func(Value(SLOW_SECONDS), function="nap", output_field=FloatField())
        await ContactNumber.objects.annotate(nap=nap).values_list("nap").afirst()
        await self.send(text_data="done")


@receiver(connection_created)
def _teach_to_nap(connection: Any, **_facts: Any) -> None:
    if connection.vendor == "sqlite":
        connection.connection.create_function("nap", 1, time.sleep)


application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": AuthMiddlewareStack(
            URLRouter(
                [
                    *websocket_urlpatterns,
                    path("floor/", FloorConsumer.as_asgi()),
                    path("trigger/", FloorTrigger.as_asgi()),
                    path("slow/", SlowQuery.as_asgi()),
                ]
            )
        ),
    }
)

__all__ = ["PAYLOAD", "application"]
