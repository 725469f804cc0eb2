"""The one gate between the states of a call."""

from cti_django.calls.states import TRANSITIONS, CallState, may_become


def test_every_state_has_its_row_in_the_table():
    assert set(TRANSITIONS) == {None, *CallState}


def test_final_states_lead_nowhere():
    for state in CallState:
        assert state.is_final == (not TRANSITIONS[state])


def test_every_living_state_can_end():
    for state in CallState:
        if not state.is_final:
            assert may_become(state, CallState.HANGUP)


def test_a_call_never_goes_back_to_ringing():
    assert not may_become(CallState.CONNECTED, CallState.RINGING)
    assert not may_become(CallState.ON_HOLD, CallState.RINGING)
    assert may_become(CallState.CONNECTED, CallState.ON_HOLD)
    assert may_become(CallState.ON_HOLD, CallState.CONNECTED)
