"""``manage.py cti_ring``: somebody calls an extension of the sandbox PBX."""

import http.client
import json
import urllib.error
import urllib.request
from argparse import ArgumentParser
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from ...conf import get_settings

__all__ = ["Command"]

DEFAULT_URL = "http://127.0.0.1:9000"
HOW_TO_START = "Start one with: manage.py cti_sandbox. Is it elsewhere? Say so with --url or --port."
TIMEOUT = 10.0


class Command(BaseCommand):
    help = "Let somebody call an extension of the running sandbox PBX; prints the call id."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("to", help="extension, or several with commas between them")
        parser.add_argument("--from", dest="number", default="", help="who calls; without it the number is withheld")
        parser.add_argument("--name", default="", help="the caller's name")
        parser.add_argument("--via", default="", help="a queue or IVR that the call comes through")
        where = parser.add_mutually_exclusive_group()
        where.add_argument("--url", help=f"of the sandbox (default: as the project has it, else {DEFAULT_URL})")
        where.add_argument("--port", type=int, help="of the sandbox, if it is on this machine")

    def handle(self, *args: Any, **options: Any) -> None:
        body = {"to": options["to"], "from": options["number"], "name": options["name"], "via": options["via"]}
        url = f"http://127.0.0.1:{options['port']}" if options["port"] is not None else options["url"]
        self.stdout.write(_ring(_projects_url() if url is None else url, body)["id"])


def _projects_url() -> str:
    """Where the project's own connector finds a sandbox on this machine; never an address elsewhere."""
    try:
        url = urlsplit(str(get_settings().connector_options.get("voipstudio", {}).get("api_url", "")))
        is_here = url.hostname == "localhost" or ip_address(url.hostname or "").is_loopback
    except (ImproperlyConfigured, ValueError):
        return DEFAULT_URL
    return f"{url.scheme}://{url.netloc}" if is_here else DEFAULT_URL


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
        raise CommandError(f"No sandbox answers at {url}. {HOW_TO_START}") from None
    except (ValueError, KeyError, TypeError):
        raise CommandError(f"What answers at {url} is not the sandbox.") from None


def _sentence(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["message"])
    except (ValueError, KeyError, TypeError):
        return f"The sandbox refused with status {error.code}."
