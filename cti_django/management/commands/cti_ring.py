"""``manage.py cti_ring``: somebody calls an extension of the sandbox PBX."""

import http.client
import json
import urllib.error
import urllib.request
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

__all__ = ["Command"]

DEFAULT_URL = "http://127.0.0.1:9000"
TIMEOUT = 10.0


class Command(BaseCommand):
    help = "Let somebody call an extension of the running sandbox PBX; prints the call id."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("to", help="extension, or several with commas between them")
        parser.add_argument("--from", dest="number", default="", help="who calls; without it the number is withheld")
        parser.add_argument("--name", default="", help="the caller's name")
        parser.add_argument("--via", default="", help="a queue or IVR that the call comes through")
        parser.add_argument("--url", default=DEFAULT_URL, help="of the sandbox (default: %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        body = {"to": options["to"], "from": options["number"], "name": options["name"], "via": options["via"]}
        self.stdout.write(_ring(options["url"], body)["id"])


def _ring(url: str, body: dict[str, str]) -> dict[str, Any]:
    if not url.startswith(("http://", "https://")):
        raise CommandError("The URL of the sandbox begins with http:// or https://.")
    request = urllib.request.Request(  # noqa: S310 - the scheme is checked
        url.rstrip("/") + "/console/api/ring",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT) as response:
            call: dict[str, Any] = json.load(response)
            call["id"] = str(call["id"])
            return call
    except urllib.error.HTTPError as error:
        raise CommandError(_sentence(error)) from None
    except (OSError, http.client.HTTPException):
        raise CommandError(f"No sandbox answers at {url}. Start one with: manage.py cti_sandbox") from None
    except (ValueError, KeyError, TypeError):
        raise CommandError(f"What answers at {url} is not the sandbox.") from None


def _sentence(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["message"])
    except (ValueError, KeyError, TypeError):
        return f"The sandbox refused with status {error.code}."
