"""A desk phone that answers when it is told to by a NOTIFY with "Event: talk", as many business phones do.

baresip does not know that event. This one makes no sound, and does nothing else.
"""

import asyncio
import hashlib
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.pbx.asterisk import Asterisk, password_of, port_pair
from tests.pbx.public_network import Line, Message, PublicNetwork, written

__all__ = ["TalkPhone", "talk_phone"]

SECONDS = 15.0


class TalkPhone(PublicNetwork):
    """One agent's phone; ``called(agent)`` waits until it rings."""

    def __init__(self, pbx: Asterisk, agent: str) -> None:
        super().__init__(pbx, port_pair(), agent)
        self.agent = agent
        self._replies: asyncio.Queue[Message] = asyncio.Queue()
        self._answering: set[asyncio.Task[None]] = set()

    async def register(self) -> None:
        """Tell the PBX where it is, and wait until the PBX calls it reachable."""
        call_id, challenge = secrets.token_hex(8), ""
        for number in (1, 2):
            self.send(self._register(call_id, number, challenge))
            async with asyncio.timeout(SECONDS):
                reply = await self._replies.get()
            challenge = reply.get("WWW-Authenticate")
        assert reply.status == 200, reply.first

    def _register(self, call_id: str, number: int, challenge: str) -> bytes:
        who, registrar = f"<sip:{self.agent}@127.0.0.1>", f"sip:127.0.0.1:{self.pbx.sip_port}"
        headers = [
            ("Via", self.via()),
            ("From", f"{who};tag={call_id}"),
            ("To", who),
            ("Call-ID", call_id),
            ("CSeq", f"{number} REGISTER"),
            ("Contact", self.contact),
            ("Expires", "600"),
            ("Max-Forwards", "70"),
        ]
        if challenge:
            headers.append(("Authorization", self._proof(registrar, challenge)))
        return written(f"REGISTER {registrar} SIP/2.0", headers)

    def _proof(self, uri: str, challenge: str) -> str:
        asked = dict(re.findall(r'(\w+)="?([^",]*)"?', challenge))
        who = _md5(f"{self.agent}:{asked['realm']}:{password_of(self.agent)}")
        response = _md5(f"{who}:{asked['nonce']}:00000001:public:auth:{_md5(f'REGISTER:{uri}')}")
        return (
            f'Digest username="{self.agent}", realm="{asked["realm"]}", nonce="{asked["nonce"]}", uri="{uri}", '
            f'response="{response}", opaque="{asked.get("opaque", "")}", algorithm=MD5, qop=auth, nc=00000001, '
            f'cnonce="public"'
        )

    def receive_response(self, message: Message) -> bool:
        if message.method == "REGISTER" and message.status >= 200:
            self._replies.put_nowait(message)
            return True
        return False

    def hear(self, line: Line, message: Message) -> None:
        if message.method == "NOTIFY" and message.get("Event") == "talk":
            answering = asyncio.create_task(line.answer())
            self._answering.add(answering)
            answering.add_done_callback(self._answering.discard)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@asynccontextmanager
async def talk_phone(pbx: Asterisk, agent: str) -> AsyncIterator[TalkPhone]:
    """Such a phone, registered for the agent."""
    device = TalkPhone(pbx, agent)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: device, ("127.0.0.1", device.port))
    try:
        await device.register()
        yield device
    finally:
        await device.close()
