"""The switch on its own, with a clock that the tests turn."""

import heapq
import itertools
from collections.abc import Callable

import pytest

from cti_django.sandbox.legs import Cause, Leg
from cti_django.sandbox.pbx import Refused, Switch, Timings
from cti_django.sandbox.users import Behaviour, Conduct, demo_users


class _Handle:
    def __init__(self, act: Callable[[], None]) -> None:
        self.act: Callable[[], None] | None = act

    def cancel(self) -> None:
        self.act = None


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self._queue: list[tuple[float, int, _Handle]] = []
        self._order = itertools.count()

    def schedule(self, delay: float, act: Callable[[], None]) -> _Handle:
        handle = _Handle(act)
        heapq.heappush(self._queue, (self.now + delay, next(self._order), handle))
        return handle

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self._queue and self._queue[0][0] <= until:
            self.now, _, handle = heapq.heappop(self._queue)
            if handle.act:
                handle.act()
        self.now = until


class Watcher(list[tuple[str, str, str]]):
    """What watchers of each node are told: (node, leg id, state, with "+hold" behind it)."""

    def __call__(self, leg: Leg) -> None:
        if leg.node:
            self.append((leg.node, leg.leg_id, leg.state.value + ("+hold" if leg.on_hold else "")))

    def at(self, node: str) -> list[str]:
        return [state for seen, _, state in self if seen == node]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def switch(clock: Clock) -> Switch:
    return Switch(
        demo_users(), schedule=clock.schedule, now=lambda: clock.now, nodes={"queue-17": "Sales"}, timings=Timings()
    )


@pytest.fixture
def seen(switch: Switch) -> Watcher:
    watcher = Watcher()
    switch.listeners.append(watcher)
    return watcher


def test_an_inbound_call_rings_is_answered_held_resumed_and_ends(switch: Switch, seen: Watcher) -> None:
    call = switch.ring("10031", "+442079460018", "Dana")
    assert call.call_id == "7310025"
    assert (call.state, call.legs[1].remote.number, call.legs[1].remote.display) == ("RINGING", "442079460018", "Dana")
    switch.answer(call.call_id)
    switch.hold(call.call_id)
    assert call.state == "ON_HOLD"
    switch.hold(call.call_id)
    switch.resume(call.call_id)
    switch.hang_up(call.call_id)
    assert seen.at("10031") == ["early", "confirmed", "confirmed+hold", "confirmed", "terminated"]
    assert call.cause is Cause.COMPLETED
    assert switch.calls == {}
    assert switch.legs_at("10031") == []


def test_call_ids_rise_by_one(switch: Switch) -> None:
    assert [switch.ring("10031", "1").call_id for _ in range(3)] == ["7310025", "7310026", "7310027"]


@pytest.mark.parametrize("number", ["", "withheld", "Anonymous", " PRIVATE "])
def test_a_withheld_caller_is_anonymous_even_with_a_name(switch: Switch, number: str) -> None:
    party = switch.ring("10031", number, "Dana").legs[1].remote
    assert (party.number, party.display) == ("anonymous", "Anonymous")


def test_control_characters_in_a_caller_are_dropped_and_length_is_capped(switch: Switch) -> None:
    party = switch.ring("10031", "+44\r\n20\x00", "D\x07ana\ud800" + "x" * 1000).legs[1].remote
    assert party.number == "4420"
    assert party.name.startswith("Danax")
    assert len(party.name) == 200


def test_a_click_to_call_rings_the_own_phone_unseen_then_the_other_side(
    switch: Switch, seen: Watcher, clock: Clock
) -> None:
    call = switch.click_to_call("10031", "442079460018")
    assert call.state == "INITIAL"
    assert seen == []
    assert switch.legs_at("10031") == []
    assert [c.call_id for c in switch.calls_of("10031")] == ["7310025"]
    switch.answer(call.call_id)
    assert seen == [("10031", "7310025-1", "early")]
    clock.advance(2)
    assert call.state == "CONNECTED"
    switch.hang_up(call.call_id, "10031")
    assert seen.at("10031") == ["early", "confirmed", "terminated"]


def test_the_console_can_answer_both_sides_of_a_click_to_call(switch: Switch) -> None:
    switch.outside_default = Conduct()
    call = switch.click_to_call("10031", "442079460018")
    with pytest.raises(Refused):
        switch.answer(call.call_id, "remote")
    switch.answer(call.call_id, "agent")
    switch.answer(call.call_id, "remote")
    assert call.state == "CONNECTED"


def test_a_click_to_call_without_a_phone_fails_at_once(switch: Switch) -> None:
    switch.set_phone("10031", registered=False)
    with pytest.raises(Refused) as refused:
        switch.click_to_call("10031", "442079460018")
    assert refused.value.code == "no_phone"
    assert switch.calls == {}


@pytest.mark.parametrize(
    ("conduct", "cause"),
    [
        (Conduct(Behaviour.DECLINES, 3), Cause.DECLINED),
        (Conduct(Behaviour.BUSY), Cause.BUSY),
        (Conduct(Behaviour.NO_ANSWER), Cause.NO_ANSWER),
        (Conduct(), Cause.NO_ANSWER),
    ],
)
def test_a_click_to_call_that_the_own_phone_does_not_take_is_never_seen(
    switch: Switch, seen: Watcher, clock: Clock, conduct: Conduct, cause: Cause
) -> None:
    switch.set_phone("10031", conduct=conduct)
    call = switch.click_to_call("10031", "442079460018")
    clock.advance(60)
    assert (call.ended, call.cause, seen) == (True, cause, [])


@pytest.mark.parametrize("number", ["10031", "10999", "123", "+442079460018", "0207946", "12345678901234567", "a", ""])
def test_what_nobody_can_call_is_refused(switch: Switch, number: str) -> None:
    with pytest.raises(Refused) as refused:
        switch.click_to_call("10031", number)
    assert (refused.value.code, refused.value.field) == ("invalid", "to")


@pytest.mark.parametrize(
    ("behaviour", "cause"), [(Behaviour.BUSY, Cause.BUSY), (Behaviour.UNOBTAINABLE, Cause.UNOBTAINABLE)]
)
def test_a_number_outside_can_be_busy_or_unobtainable(
    switch: Switch, seen: Watcher, clock: Clock, behaviour: Behaviour, cause: Cause
) -> None:
    switch.outside["442079460099"] = Conduct(behaviour)
    call = switch.click_to_call("10031", "442079460099")
    switch.answer(call.call_id)
    clock.advance(1)
    assert seen.at("10031") == ["early", "terminated"]
    assert call.cause is cause


def test_ringing_ends_after_the_ring_time(switch: Switch, seen: Watcher, clock: Clock) -> None:
    call = switch.ring("10031", "1")
    clock.advance(59.9)
    assert not call.ended
    clock.advance(0.2)
    assert call.cause is Cause.NO_ANSWER
    assert seen.at("10031") == ["early", "terminated"]


def test_an_answered_call_outlives_the_ring_time(switch: Switch, clock: Clock) -> None:
    call = switch.ring("10031", "1")
    switch.answer(call.call_id)
    clock.advance(3600)
    assert call.state == "CONNECTED"


@pytest.mark.parametrize("registered", [True, False])
def test_a_busy_or_missing_phone_never_rings(switch: Switch, seen: Watcher, registered: bool) -> None:
    switch.set_phone("10031", registered=registered, conduct=Conduct(Behaviour.BUSY))
    call = switch.ring("10031", "1")
    assert call.cause is (Cause.BUSY if registered else Cause.NOT_REGISTERED)
    assert seen == []


def test_a_call_between_extensions_is_seen_by_both(switch: Switch, seen: Watcher) -> None:
    call = switch.click_to_call("10031", "10032")
    switch.answer(call.call_id)
    switch.answer(call.call_id)
    assert seen == [
        ("10031", "7310025-1", "early"),
        ("10032", "7310025-2", "early"),
        ("10031", "7310025-1", "confirmed"),
        ("10032", "7310025-2", "confirmed"),
    ]
    assert call.legs[1].remote.display == "Alice Agent"
    switch.hang_up(call.call_id, "10032")
    assert seen.at("10031")[-1] == "terminated"


def test_the_caller_hears_when_a_colleague_is_busy(switch: Switch, seen: Watcher, clock: Clock) -> None:
    switch.set_phone("10032", conduct=Conduct(Behaviour.BUSY))
    call = switch.click_to_call("10031", "10032")
    switch.answer(call.call_id)
    clock.advance(1)
    assert seen == [("10031", "7310025-1", "early"), ("10031", "7310025-1", "terminated")]
    assert call.cause is Cause.BUSY


def test_a_group_rings_together_and_one_answer_ends_the_others(switch: Switch, seen: Watcher) -> None:
    call = switch.ring("10031,10032,10033", "1", via="queue-17")
    switch.decline(call.call_id, "10033")
    assert call.state == "RINGING"
    switch.answer(call.call_id, "10032")
    assert seen.at("10031") == ["early", "terminated"]
    assert seen.at("10032") == ["early", "confirmed"]
    assert seen.at("queue-17") == ["early", "confirmed"]
    assert [leg.cause for leg in call.legs if leg.node == "10031"] == [Cause.ANSWERED_ELSEWHERE]


def test_an_extension_that_is_named_twice_rings_once(switch: Switch, seen: Watcher) -> None:
    switch.ring("10031, 10031,10031", "1")
    assert seen.at("10031") == ["early"]


def test_two_sets_on_one_extension_are_two_legs(switch: Switch, seen: Watcher) -> None:
    switch.users["10031"].phone.devices = 2
    call = switch.ring("10031", "1")
    switch.answer(call.call_id)
    assert [state[1:] for state in seen] == [
        ("7310025-1", "early"),
        ("7310025-2", "early"),
        ("7310025-1", "confirmed"),
        ("7310025-2", "terminated"),
    ]


def test_an_agent_who_hangs_up_a_ringing_call_refuses_it_for_herself_only(switch: Switch) -> None:
    call = switch.ring("10031,10032", "1")
    switch.hang_up(call.call_id, "10031")
    assert not call.ended
    switch.hang_up(call.call_id, "10032")
    assert call.cause is Cause.DECLINED


def test_a_caller_who_gives_up_cancels(switch: Switch) -> None:
    call = switch.ring("10031", "1")
    switch.hang_up(call.call_id)
    assert call.cause is Cause.CANCELLED


def test_a_blind_transfer_shows_the_original_caller_to_the_target(switch: Switch, seen: Watcher) -> None:
    call = switch.ring("10031", "+442079460018", "Dana")
    switch.answer(call.call_id)
    switch.transfer(call.call_id, "10031", "10032")
    assert seen[-2:] == [("10031", "7310025-1", "terminated"), ("10032", "7310025-2", "early")]
    assert call.legs[-1].remote.display == "Dana"
    switch.answer(call.call_id)
    assert seen[-1] == ("10032", "7310025-2", "confirmed")
    assert (call.state, call.referred_by) == ("CONNECTED", "10031")


def test_a_transferred_call_can_be_transferred_again_while_it_rings(switch: Switch) -> None:
    switch.outside_default = Conduct()
    call = switch.click_to_call("10031", "442079460018")
    switch.answer(call.call_id)
    switch.answer(call.call_id)
    switch.transfer(call.call_id, "10031", "10032")
    switch.transfer(call.call_id, "10032", "10033")
    switch.answer(call.call_id)
    assert [leg.party.number for leg in call.live()] == ["442079460018", "10033"]


def test_a_transfer_to_a_number_outside_keeps_the_caller(switch: Switch, clock: Clock) -> None:
    call = switch.ring("10031", "+442079460018")
    switch.answer(call.call_id)
    switch.transfer(call.call_id, "10031", "442079460077")
    clock.advance(2)
    assert [leg.party.number for leg in call.live()] == ["442079460018", "442079460077"]


def test_a_transfer_of_a_call_between_extensions_tells_the_one_who_stays(switch: Switch, seen: Watcher) -> None:
    call = switch.click_to_call("10031", "10032")
    switch.answer(call.call_id)
    switch.answer(call.call_id)
    switch.transfer(call.call_id, "10032", "10033")
    assert switch.legs_at("10031")[0].remote.number == "10033"
    assert seen[-3:] == [
        ("10032", "7310025-2", "terminated"),
        ("10031", "7310025-1", "confirmed"),
        ("10033", "7310025-3", "early"),
    ]


def test_what_makes_no_sense_now_is_refused(switch: Switch) -> None:
    call = switch.click_to_call("10031", "442079460018")
    for attempt in (
        lambda: switch.hold(call.call_id),
        lambda: switch.transfer(call.call_id, "10031", "10032"),
        lambda: switch.transfer(call.call_id, "10033", "10032"),
        lambda: switch.answer(call.call_id, "10033"),
        lambda: switch.answer("1"),
        lambda: switch.ring("10999"),
        lambda: switch.ring("10031", via="queue-99"),
    ):
        with pytest.raises(Refused):
            attempt()
    assert call.state == "INITIAL"


def test_phones_act_by_themselves(switch: Switch, clock: Clock) -> None:
    switch.set_phone("10031", conduct=Conduct(Behaviour.ANSWERS, 4))
    call = switch.ring("10031", "1")
    clock.advance(3.9)
    assert call.state == "RINGING"
    clock.advance(0.2)
    assert call.state == "CONNECTED"


def test_a_phone_can_pick_up_click_to_calls_only(switch: Switch, clock: Clock) -> None:
    switch.users["10031"].phone.pick_up = Conduct(Behaviour.ANSWERS, 1)
    outbound, inbound = switch.click_to_call("10031", "442079460018"), switch.ring("10031", "1")
    clock.advance(1)
    assert (outbound.state, inbound.state) == ("RINGING", "RINGING")
    clock.advance(2)
    assert (outbound.state, inbound.state) == ("CONNECTED", "RINGING")


def test_ended_calls_are_kept_but_not_for_ever(switch: Switch) -> None:
    for _ in range(60):
        switch.hang_up(switch.ring("10031", "1").call_id)
    assert len(switch.ended) == 50
    assert switch.calls_of("10031") == []
