"""The PBX in a process of its own: ``python -m tests.chaos.pbx PORT USERS JOURNAL``, until it is killed."""

import asyncio
import sys

from cti_django.sandbox.server import run_sandbox
from cti_django.sandbox.users import Behaviour, Conduct, make_users

__all__ = ["main"]

HEARTBEAT_SECONDS = 1.5  # a watcher that is frozen is dropped before another may claim its lease
PICK_UP_SECONDS = 0.5


async def main(port: int, count: int, journal: str) -> None:
    """Serve."""
    users = make_users(count)
    for user in users:
        user.two_factor = False
        user.phone.pick_up = Conduct(Behaviour.ANSWERS, PICK_UP_SECONDS)
    async with run_sandbox(users, port=port, journal=journal, heartbeat_seconds=HEARTBEAT_SECONDS):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
