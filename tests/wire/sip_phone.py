"""A subscriber with the server's end of its socket, and what a server says: shared by the tests of both its modules."""

import random

from cti_django.wire.sip_digest import make_challenge
from cti_django.wire.sip_message import Headers, SIPRequest, parse_message
from cti_django.wire.sip_subscriber import Subscriber
from cti_django.wire.sip_user_agent import UserAgent

__all__ = ["XML", "Phone", "accept", "challenge", "notify", "refuse"]

XML = b"<dialog-info/>"


class Phone:
    """One subscriber; its clock goes only where it is told to."""

    def __init__(self, **options):
        self.now = 1000.0
        transport = options.pop("transport", "WSS")
        self.agent = UserAgent(
            address="sip:482910@sip.example",
            username="482910",
            password="secret",
            transport=transport,
            sent_by="192.0.2.1:5062" if transport == "UDP" else "pc.invalid",
            user_agent="",
            allow=("NOTIFY", "OPTIONS"),
            accept="application/dialog-info+xml",
            logs_in_ahead=options.pop("logs_in_ahead", False),
            random=random.Random(1).randbytes,
        )
        self.subscriber = Subscriber(self.agent, **options)

    def sent(self):
        return [parse_message(data) for data in self.subscriber.data_to_send()]

    def sent_one(self):
        (message,) = self.sent()
        return message

    def events(self):
        return self.subscriber.events_received()

    def subscribe(self, node="482910"):
        self.subscriber.subscribe(node, self.now)
        return self.sent_one()

    def receive(self, message):
        self.subscriber.receive_data(message if isinstance(message, str | bytes) else bytes(message), self.now)

    def subscribed(self, node="482910", *, expires="300", contact="<sip:482910@host:5066>", extra=()):
        """Subscribe, and have it accepted."""
        request = self.subscribe(node)
        self.receive(accept(request, expires=expires, contact=contact, extra=extra))
        return request

    def wait_for_deadline(self):
        self.now = self.subscriber.next_deadline()
        self.subscriber.handle_timeout(self.now)


def accept(request, *, expires="300", contact="<sip:482910@host:5066>", tag="srv", extra=(), status=200):
    response = request.reply(status, to_tag=tag)
    if expires is not None:
        response.headers.add("Expires", expires)
    if contact:
        response.headers.add("Contact", contact)
    for name, value in extra:
        response.headers.add(name, value)
    return response


def refuse(request, status, *extra):
    response = request.reply(status, to_tag="srv")
    for name, value in extra:
        response.headers.add(name, value)
    return response


def challenge(request, nonce="n1", *, status=401, realm="sip.example", stale=False, **options):
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    return refuse(request, status, (name, make_challenge(realm, nonce, stale=stale, **options)))


def notify(
    subscribe,
    *,
    cseq=1,
    state="active;expires=290",
    tag="srv",
    event="dialog",
    body=XML,
    contact="<sip:482910@host:5066>",
    extra=(),
    method="NOTIFY",
):
    headers = Headers([("Via", f"SIP/2.0/WSS host;branch=z9hG4bKs{cseq}{tag}")])
    headers.add("From", f"<sip:482910@sip.example>;tag={tag}")
    headers.add("To", f"<sip:482910@sip.example>;tag={subscribe.from_.tag}")
    headers.add("Call-ID", subscribe.call_id)
    headers.add("CSeq", f"{cseq} {method}")
    if contact:
        headers.add("Contact", contact)
    if event:
        headers.add("Event", event)
    if state:
        headers.add("Subscription-State", state)
    if body:
        headers.add("Content-Type", "application/dialog-info+xml; charset=utf-8")
    for name, value in extra:
        headers.add(name, value)
    return SIPRequest(method, "sip:482910@pc.invalid;transport=ws", headers, body)
