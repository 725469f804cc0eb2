"""What a bench needs around it: a database with agents and contacts, a server process, browser sockets."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cti_django.sandbox.users import PASSWORD, User, make_users
from tests.programs import program

__all__ = [
    "contact_number",
    "fill_database",
    "free_ports",
    "has_programs",
    "lines",
    "server",
    "sockets",
    "use_settings",
]

CONTACTS = 100_000
AT_ONCE = 20  # browsers that connect and log in at the same time

Socket = aiohttp.ClientWebSocketResponse
Reader = Callable[[int, Socket], Coroutine[Any, Any, None]]


def use_settings(
    directory: Path, sandbox_url: str = "", redis_url: str = "", database: dict[str, Any] | None = None
) -> None:
    """Make this process, and the servers that it starts, use the bench's settings.

    Args:
        directory: where the SQLite database is made, unless there is another.
        database: as in DATABASES.
    """
    os.environ |= {"DJANGO_SETTINGS_MODULE": "tests.bench.settings", "BENCH_DIR": str(directory)}
    os.environ |= {"SANDBOX_URL": sandbox_url, "REDIS_URL": redis_url}
    os.environ["BENCH_DATABASE"] = json.dumps(database) if database else ""
    import django

    django.setup()


def has_programs(*names: str) -> bool:
    """Whether these programs are installed; if not, it is said that something is not measured."""
    try:
        for name in names:
            program(name)
    except pytest.skip.Exception as missing:
        print(f"  not measured: {missing}", file=sys.stderr)
        return False
    return True


def lines(count: int) -> list[User]:
    """Sandbox users for so many agents, none with two-factor."""
    users = make_users(count)
    for user in users:
        user.two_factor = False
    return users


def contact_number(index: int) -> str:
    """The E.164 number of contact `index`."""
    return f"+4420{70000000 + index}"


def fill_database(agents: int, contacts: int = CONTACTS) -> list[str]:
    """Migrate, make agents 10031... with accounts and contacts with numbers; the agents' Django session keys."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
    from django.contrib.auth.models import Permission
    from django.contrib.contenttypes.models import ContentType
    from django.contrib.sessions.backends.db import SessionStore
    from django.core.management import call_command

    from cti_django.calls.numbers import reversed_national
    from cti_django.models import ConnectorAccount, ContactNumber
    from tests.testapp.models import Person

    call_command("migrate", verbosity=0)
    user_model = get_user_model()
    permissions = Permission.objects.filter(codename__in=("use_telephone", "view_person"))
    keys = []
    accounts = []
    for line in lines(agents):
        user = user_model.objects.create(username=line.user_id)
        user.user_permissions.set(permissions)
        accounts.append(
            ConnectorAccount(
                user=user, connector="voipstudio", username=line.email, password=PASSWORD, number=line.user_id
            )
        )
        session = SessionStore()
        session.update({SESSION_KEY: str(user.pk), HASH_SESSION_KEY: user.get_session_auth_hash()})
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session.create()
        keys.append(str(session.session_key))
    ConnectorAccount.objects.bulk_create(accounts)
    person_type = ContentType.objects.get_for_model(Person)
    ContactNumber.objects.bulk_create(
        (
            ContactNumber(
                content_type=person_type,
                object_id=str(index + 1),
                field="phone",
                number=contact_number(index),
                national_reversed=reversed_national(contact_number(index)),
                kind="number",
                label=f"Contact {index}",
            )
            for index in range(contacts)
        ),
        batch_size=2_000,
    )
    return keys


def free_ports(count: int) -> list[int]:
    """So many TCP ports on loopback that nobody uses now, no two the same."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


COMMANDS = {
    "daphne": ["daphne", "-b", "127.0.0.1", "-p", "{port}", "--verbosity", "0", "tests.bench.site:application"],
    "uvicorn": [
        "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "error", "--lifespan", "off",
        "--ws-per-message-deflate", "false", "tests.bench.site:application",
    ],
}  # fmt: skip


@contextmanager
def server(kind: str, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The site under measurement, in a process of its own. Should the bench fail, it is told what the site said."""
    command = [sys.executable, "-m", *(part.format(port=port) for part in COMMANDS[kind])]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield process
    except BaseException:
        print(log.read_text(errors="replace")[-4_000:], file=sys.stderr)
        raise
    finally:
        process.terminate()
        process.wait(20)


@asynccontextmanager
async def sockets(
    urls_and_keys: list[tuple[str, str]], read: Reader | None = None, greet: Reader | None = None
) -> AsyncIterator[list[Socket]]:
    """Browser sockets, opened a few at a time.

    Args:
        read: reads socket number n from when it is open: the server's pings are answered only while somebody reads.
        greet: what is done with each before another one is opened in its place.
    """
    gate = asyncio.Semaphore(AT_ONCE)
    readers: list[asyncio.Task[None]] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def connect(index: int, url: str, key: str) -> Socket:
            async with gate:
                socket = await _connected(session, url, key)
                if read is not None:
                    readers.append(asyncio.create_task(_until_closed(read(index, socket))))
                if greet is not None:
                    await greet(index, socket)
                return socket

        yield list(await asyncio.gather(*(connect(index, *each) for index, each in enumerate(urls_and_keys))))
        for reader in readers:
            reader.cancel()


async def _connected(session: aiohttp.ClientSession, url: str, key: str) -> Socket:
    headers = {"Cookie": f"sessionid={key}", "Origin": "http://127.0.0.1"}
    for _attempt in range(200):
        try:
            return await session.ws_connect(url, headers=headers, compress=0)
        except aiohttp.ClientConnectorError:  # it does not listen yet
            await asyncio.sleep(0.1)
    raise TimeoutError(url)


async def _until_closed(reading: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(aiohttp.ClientError):
        await reading
