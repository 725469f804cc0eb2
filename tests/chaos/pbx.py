"""Stand-in: the sandbox PBX with a journal, until ``cti_sandbox --journal`` is there."""

import asyncio
import json
import os
import sys
import time

from aiohttp import web

from cti_django.sandbox import server as server_module
from cti_django.sandbox import sip_server, subscriptions
from cti_django.sandbox.server import Sandbox
from cti_django.sandbox.users import Behaviour, Conduct, make_users


def main(port: int, users: int, journal: str) -> None:
    out = open(journal, "a", buffering=1)  # noqa: SIM115

    def note(what, **facts):
        out.write(json.dumps({"at": time.time(), "what": what, **facts}) + "\n")

    people = make_users(users)
    for user in people:
        user.two_factor = False
        user.phone.pick_up = Conduct(Behaviour.ANSWERS, 0.5)
    box = Sandbox(people, port=port)
    box.switch._next_call_id = int(time.time() * 10) % 10**9 * 10
    note("start", pid=os.getpid())

    def issue_token(user):
        box.accounts._tokens[f"token-{user.user_id}"] = user
        return f"token-{user.user_id}"

    box.accounts.issue_token = issue_token
    for user in people:
        issue_token(user)

    def leg_changed(leg):
        if leg.node:
            note(
                "leg",
                call=leg.call.call_id,
                leg=leg.leg_id,
                node=leg.node,
                state=leg.state.value,
                hold=leg.on_hold,
                initiator=leg.initiator,
                number=leg.remote.number,
            )

    box.switch.listeners.append(leg_changed)

    real_init = web.WebSocketResponse.__init__

    def init(self, **options):
        real_init(self, **(options | {"heartbeat": 1.5}))

    web.WebSocketResponse.__init__ = init
    peers = {}
    real_socket = Sandbox._sip_socket
    current = []

    async def sip_socket(self, request):
        current.append(request.transport.get_extra_info("peername")[1])
        return await real_socket(self, request)

    Sandbox._sip_socket = sip_socket
    real_connect = sip_server.SIPServer.connect

    def connect(self, send, close):
        connection = real_connect(self, send, close)
        peers[connection] = current[-1]
        return connection

    sip_server.SIPServer.connect = connect
    real_begin_notify = subscriptions.Subscription.notify

    def notify(self, legs, *, is_full, ended="", with_body=True):
        real_begin_notify(self, legs, is_full=is_full, ended=ended, with_body=with_body)
        if not hasattr(box, "sent"):
            box.sent = {}
        box.sent[self._call_id, self._cseq] = [(leg.leg_id, leg.state.value) for leg in legs]

    subscriptions.Subscription.notify = notify
    real_take = sip_server.SIPConnection._take_response

    def take(self, response):
        legs = getattr(box, "sent", {}).pop((response.call_id, response.cseq.number), None)
        if legs and response.status == 200:
            note("answered", peer=peers[self], user=self.user_id, legs=legs)
        real_take(self, response)

    sip_server.SIPConnection._take_response = take
    real_grant = sip_server.SIPConnection._grant
    known = {}

    def grant(self, request, response, subscription, *, is_new):
        real_grant(self, request, response, subscription, is_new=is_new)
        if is_new:
            known[subscription] = len(known)
            note(
                "subscribed",
                id=f"{os.getpid()}-{known[subscription]}",
                user=self.user_id,
                node=subscription.node,
                peer=peers[self],
            )

    sip_server.SIPConnection._grant = grant
    real_forget = sip_server.SIPConnection._forget

    def forget(self, subscription):
        real_forget(self, subscription)
        if subscription in known:
            note("unsubscribed", id=f"{os.getpid()}-{known[subscription]}", user=self.user_id, node=subscription.node)

    sip_server.SIPConnection._forget = forget

    @web.middleware
    async def journal_commands(request, handler):
        if request.method not in ("GET", "OPTIONS") and "/calls" in request.path and "/console" not in request.path:
            user = box.accounts.user_of(request.headers.get("X-Auth-Token", ""))
            note(
                "command",
                user=user.user_id if user else "",
                method=request.method,
                path=request.path,
                peer=request.transport.get_extra_info("peername")[1],
            )
        return await handler(request)

    real_app = Sandbox._app

    def app(self):
        made = real_app(self)
        made.middlewares.append(journal_commands)
        return made

    Sandbox._app = app
    assert server_module

    async def run():
        await box.start()
        await asyncio.Event().wait()

    asyncio.run(run())


main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
