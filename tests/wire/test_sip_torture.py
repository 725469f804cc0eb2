"""Two user agents and a bad network: whatever is lost, repeated or late, both ends agree on how it ended."""

from random import Random

import pytest

from cti_django.wire.sip_dialog import Dialog
from cti_django.wire.sip_digest import make_challenge
from cti_django.wire.sip_message import Headers, SIPRequest, parse_message
from cti_django.wire.sip_subscriber import NotifyReceived, Subscriber, SubscriptionActive, SubscriptionEnded
from cti_django.wire.sip_transaction import T1

from .sip_peers import Call, Network, an_agent

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"
SETTLED = 200.0  # seconds after which every timer of a call has run out
BAD = {"lost": 0.1, "repeated": 0.1}
SEEDS = range(60)


def two_ends(seed, **network):
    network = Network(Random(seed), **(network or BAD))
    alice, bob = an_agent("alice", seed=seed), an_agent("bob", seed=seed)
    network.join(alice, bob)
    return network, alice, bob


def a_call(network, alice, bob, **options):
    caller, callee = Call(alice), Call(bob, **options)
    bob.on_request = callee.ring
    network.later(0.1, lambda: caller.dial(BOB, network.now))
    return caller, callee


def assert_nothing_is_left(*agents):
    for agent in agents:
        assert not agent._sent
        assert not agent._served
        assert agent.next_deadline() is None


@pytest.mark.parametrize("seed", SEEDS)
def test_a_call_is_put_through_and_hung_up(seed):
    network, alice, bob = two_ends(seed)
    caller, callee = a_call(network, alice, bob)
    network.later(5.0, lambda: callee.pick_up(network.now))
    network.run(50.0)
    assert (caller.state, callee.state) == ("up", "up")
    assert callee.acks == 1
    who = (caller, callee)[seed % 2]
    network.later(0.0, lambda: who.hang_up(network.now))
    network.run(SETTLED)
    assert (caller.state, callee.state) == ("down", "down")
    assert_nothing_is_left(alice, bob)


class Doorkeeper(Call):
    """Wants a log-in first."""

    def receive_request(self, request, now):
        if request.method == "INVITE" and self.invite is None and "Authorization" not in request.headers:
            asked = (("WWW-Authenticate", make_challenge("example.com", "n1")),)
            self.agent.respond(request, 401, now, headers=asked)
        else:
            super().receive_request(request, now)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_call_that_wants_a_log_in_first_is_put_through_and_hung_up(seed):
    network, alice, bob = two_ends(seed)
    caller, callee = Call(alice), Doorkeeper(bob)
    bob.on_request = callee.ring
    network.later(0.1, lambda: caller.dial(BOB, network.now))
    network.later(5.0, lambda: callee.pick_up(network.now))
    network.run(50.0)
    assert (caller.state, callee.state) == ("up", "up")
    network.later(0.0, lambda: caller.hang_up(network.now))
    network.run(SETTLED)
    assert (caller.state, callee.state) == ("down", "down")
    assert_nothing_is_left(alice, bob)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_refused_call_is_refused_at_both_ends(seed):
    network, alice, bob = two_ends(seed)
    caller, callee = a_call(network, alice, bob, answers=486)
    network.later(2.0, lambda: callee.pick_up(network.now))
    network.run(SETTLED)
    assert (caller.state, callee.state) == ("refused 486", "refused 486")
    assert_nothing_is_left(alice, bob)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_call_that_is_cancelled_about_when_it_is_answered_is_over_at_both_ends(seed):
    network, alice, bob = two_ends(seed)
    caller, callee = a_call(network, alice, bob)
    network.later(5.0, lambda: callee.pick_up(network.now))
    network.later(4.7 + 0.01 * seed, lambda: caller.give_up(network.now))
    network.run(SETTLED)
    if caller.state == "up":  # the answer had come before it was given up
        assert callee.state == "up"
    else:
        assert caller.state == "refused 487"
        assert callee.state in ("cancelled", "down")
    network.later(0.0, lambda: caller.hang_up(network.now))
    network.run(2 * SETTLED)
    assert callee.state in ("cancelled", "down")
    assert_nothing_is_left(alice, bob)


@pytest.mark.parametrize("seed", range(10))
def test_hanging_up_at_both_ends_at_once_is_hanging_up(seed):
    network, alice, bob = two_ends(seed)
    caller, callee = a_call(network, alice, bob)
    network.later(1.0, lambda: callee.pick_up(network.now))
    network.run(50.0)
    for end in (caller, callee):
        network.later(0.05, lambda end=end: end.hang_up(network.now))
    network.run(SETTLED)
    assert (caller.state, callee.state) == ("down", "down")
    assert_nothing_is_left(alice, bob)


def test_an_ack_that_never_comes_is_an_end():
    network, alice, bob = two_ends(0, lost=0.0)
    caller, callee = a_call(network, alice, bob)
    caller.acknowledge = lambda invite, now: None
    network.later(1.0, lambda: callee.pick_up(network.now))
    network.run(SETTLED)
    assert (caller.state, callee.state) == ("down", "down")
    assert_nothing_is_left(alice, bob)


def test_a_late_ack_still_counts():
    network, alice, bob = two_ends(0, lost=0.0)
    caller, callee = a_call(network, alice, bob)
    acknowledge = caller.acknowledge
    caller.acknowledge = lambda invite, now: network.later(20.0, lambda: acknowledge(invite, network.now))
    network.later(1.0, lambda: callee.pick_up(network.now))
    network.run(SETTLED)
    assert (caller.state, callee.state, callee.acks) == ("up", "up", 1)


def test_a_dead_network_ends_every_call():
    network, alice, bob = two_ends(0, lost=1.0)
    caller, _ = a_call(network, alice, bob)
    network.run(SETTLED)
    assert caller.state == "refused 408"
    assert_nothing_is_left(alice, bob)


class Mover(Call):
    """A call whose either end may ask to change it, and steps back when both ask at once (RFC 3261 14.1)."""

    def __init__(self, agent, wait):
        super().__init__(agent)
        self.wait, self.asked, self.changes, self.glares = wait, None, 0, 0

    def change(self, now):
        if self.state == "up" and self.asked is None:
            self.asked = self.dialog.new_request("INVITE")
            self.agent.send(self.asked, self, now)

    def receive_response(self, request, response, now):
        if self.asked is None or request.cseq != self.asked.cseq or request.method != "INVITE":
            super().receive_response(request, response, now)
        elif 200 <= response.status < 300:
            self.agent.send_ack(self.dialog.new_ack(request.cseq.number), now)
            self.asked, self.changes = None, self.changes + 1
        elif response.status >= 300:
            self.asked, self.glares = None, self.glares + (response.status == 491)
            self.agent.wake(self, now + self.wait)

    def receive_request(self, request, now):
        if request.method == "INVITE" and self.dialog is not None and self.dialog.matches(request):
            self.dialog.receive_request(request)
            self.agent.respond(request, 491 if self.asked is not None else 200, now)
        else:
            super().receive_request(request, now)

    def handle_timeout(self, now):
        self.change(now)


@pytest.mark.parametrize("seed", range(30))
def test_two_changes_at_once_step_back_and_both_come_about(seed):
    network, alice, bob = two_ends(seed)
    caller, callee = Mover(alice, 3.0), Mover(bob, 1.0)
    bob.on_request = callee.ring
    network.later(0.1, lambda: caller.dial(BOB, network.now))
    network.later(1.0, lambda: callee.pick_up(network.now))
    network.run(50.0)
    for end in (caller, callee):
        network.later(0.05, lambda end=end: end.change(network.now))
    network.run(SETTLED)
    assert (caller.changes, callee.changes) == (1, 1)
    assert caller.glares + callee.glares >= (1 if seed else 0)
    assert (caller.state, callee.state) == ("up", "up")
    assert_nothing_is_left(alice, bob)


class Notifier:
    """Accepts a subscription and tells the watcher what it is told to: one thing after the other, unless hasty."""

    def __init__(self, agent, *, is_hasty=False):
        self.agent, self.dialog, self.answers, self.ended = agent, None, [], False
        self.is_hasty, self.unanswered, self.waiting = is_hasty, 0, 0

    def greet(self, request, now):
        return self if request.method == "SUBSCRIBE" else None

    def receive_request(self, request, now):
        if self.dialog is not None and not self.dialog.matches(request):
            self.agent.respond(request, 481, now)
            return
        expires = min(int(request.headers["Expires"]), 60)
        response = self.agent.respond(request, 200, now, headers=(("Expires", str(expires)),))
        if self.dialog is None:
            self.dialog = Dialog.from_request(request, response.to)
        else:
            self.dialog.receive_request(request)
        self.ended = self.ended or not expires
        self.notify(now)

    def notify(self, now):
        if self.unanswered and not self.is_hasty:
            self.waiting += 1
        elif self.dialog is not None:
            self.unanswered += 1
            notify = self.dialog.new_request("NOTIFY")
            notify.headers.add("Event", "dialog")
            notify.headers.add("Subscription-State", "terminated;reason=timeout" if self.ended else "active;expires=60")
            self.agent.send(notify, self, now)

    def receive_response(self, request, response, now):
        self.answers.append(response.status)
        self.unanswered -= 1
        if self.waiting:
            self.waiting -= 1
            self.notify(now)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_subscription_lives_through_refreshes_and_ends_when_it_is_told_to(seed):
    network, alice, bob = two_ends(seed)
    bob.allow += ("SUBSCRIBE",)
    notifier, subscriber = Notifier(bob), Subscriber(alice)
    bob.on_request = notifier.greet
    network.later(0.1, lambda: subscriber.subscribe("bob", network.now))
    for second in range(10, 200, 7):
        network.later(second, lambda: notifier.notify(network.now))
    network.run(300.0)
    events = alice.events_received()
    assert [type(event) for event in events if not isinstance(event, NotifyReceived)] == [SubscriptionActive]
    numbers = [event.seq for event in events if isinstance(event, NotifyReceived)]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == notifier.dialog.local_seq
    assert set(notifier.answers) == {200}
    network.later(0.0, lambda: subscriber.unsubscribe("bob", network.now))
    network.run(600.0)
    assert isinstance(alice.events_received()[-1], SubscriptionEnded)
    assert notifier.ended
    assert_nothing_is_left(alice, bob)


@pytest.mark.parametrize("seed", range(20))
def test_notifys_that_overtake_each_other_are_told_in_order(seed):
    network, alice, bob = two_ends(seed)
    bob.allow += ("SUBSCRIBE",)
    notifier, subscriber = Notifier(bob, is_hasty=True), Subscriber(alice)
    bob.on_request = notifier.greet
    network.later(0.1, lambda: subscriber.subscribe("bob", network.now))
    for count in range(30):
        network.later(10 + 0.02 * count, lambda: notifier.notify(network.now))
    network.run(50.0)
    numbers = [event.seq for event in alice.events_received() if isinstance(event, NotifyReceived)]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == notifier.dialog.local_seq
    assert set(notifier.answers) <= {200, 500}


class Proxy:
    """Two record-routing hops in one: it puts itself into the way of everything between its two ends."""

    def __init__(self, inner, outer):
        self.inner, self.outer, self.seen = inner, outer, []

    def carry(self, data, to, now):
        message = parse_message(data)
        if isinstance(message, SIPRequest):
            for number in (1, 2):
                message.headers.prepend(
                    "Via", f"SIP/2.0/UDP p{number}.example;branch=z9hG4bKp{number}{message.vias[0].branch}"
                )
            if message.method == "INVITE" and not message.to.tag:
                message.headers.prepend("Record-Route", "<sip:p1.example;lr>")
                message.headers.prepend("Record-Route", "<sip:p2.example;lr>")
            self.seen.append((message.method, message.headers.get_all("Route")))
            message.headers.remove("Route")
        else:
            vias = message.headers.get_all("Via")[2:]
            message.headers.set("Via", vias[0])
        to.receive_data(bytes(message), now)


def test_record_routes_through_two_hops_are_followed_both_ways():
    alice, bob = an_agent("alice"), an_agent("bob")
    proxy = Proxy(alice, bob)
    caller, callee = Call(alice), Call(bob)
    bob.on_request = callee.ring

    def settle(now):
        for _ in range(20):
            for here, there in ((alice, bob), (bob, alice)):
                for data in here.data_to_send():
                    proxy.carry(data, there, now)

    caller.dial(BOB, 0.0)
    settle(0.0)
    callee.pick_up(1.0)
    settle(1.0)
    callee.hang_up(2.0)
    settle(2.0)
    assert (caller.state, callee.state) == ("down", "down")
    assert callee.acks == 1
    there = ["<sip:p1.example;lr>", "<sip:p2.example;lr>"]
    assert proxy.seen == [("INVITE", []), ("ACK", there), ("BYE", there[::-1])]


def test_all_timers_of_a_quiet_call_are_the_rfc_s():
    network, alice, bob = two_ends(0, lost=0.0)
    caller, callee = a_call(network, alice, bob)
    network.later(1.0, lambda: callee.pick_up(network.now))
    network.run(5.0)
    assert 1.0 + 64 * T1 <= alice.next_deadline() <= 1.5 + 64 * T1
    assert 1.0 + 64 * T1 <= bob.next_deadline() <= 1.5 + 64 * T1
    assert caller.dialog.remote_target == "sip:bob@bob.example.com:5062"
    assert callee.dialog.remote_target == "sip:alice@alice.example.com:5062"


def test_two_calls_of_one_agent_do_not_meet():
    network, alice, bob = two_ends(3)
    pairs = [(Call(alice), Call(bob)) for _ in range(5)]
    free = [callee for _, callee in pairs]
    bob.on_request = lambda request, now: free.pop(0) if request.method == "INVITE" else None
    for number, (caller, _) in enumerate(pairs):
        network.later(5.0 * number, lambda caller=caller: caller.dial(BOB, network.now))
    network.run(40.0)
    for _, callee in pairs[::2]:
        callee.pick_up(network.now)
    for caller, _ in pairs[1::2]:
        caller.give_up(network.now)
    network.run(40.0 + SETTLED)
    assert [caller.state for caller, _ in pairs] == ["up", "refused 487", "up", "refused 487", "up"]
    assert [callee.state for _, callee in pairs] == ["up", "cancelled", "up", "cancelled", "up"]
    assert_nothing_is_left(alice, bob)


def test_a_stranger_who_guesses_a_call_id_ends_nothing():
    network, alice, bob = two_ends(0, lost=0.0)
    caller, callee = a_call(network, alice, bob)
    network.later(1.0, lambda: callee.pick_up(network.now))
    network.run(50.0)
    headers = Headers([("Via", "SIP/2.0/UDP evil;branch=z9hG4bKevil"), ("From", "<sip:e@evil>;tag=1")])
    for name, value in (("To", f"<{ALICE}>;tag=2"), ("Call-ID", caller.dialog.call_id), ("CSeq", "9 BYE")):
        headers.add(name, value)
    alice.receive_data(bytes(SIPRequest("BYE", ALICE, headers)), network.now)
    network.run(60.0)
    assert (caller.state, callee.state) == ("up", "up")
