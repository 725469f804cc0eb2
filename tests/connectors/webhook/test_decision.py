"""What may be answered to a new call, in each system's words."""

import json
from xml.etree.ElementTree import fromstring

import pytest

from cti_django.connectors.webhook.decision import Redirect, Reject, answer

CALLBACK = 'https://crm:p%26w@crm.example/cti/webhook/main?a=1&b="<2>'


def sipgate(decision=None, **more):
    return fromstring(answer("sipgate", decision, is_new_call=True, **more).body)


def test_sipgate_hears_xml_that_says_where_to_push_what_comes_next():
    response = sipgate(callback_url=CALLBACK)
    assert (response.tag, response.attrib, len(response)) == (
        "Response",
        {"onAnswer": CALLBACK, "onHangup": CALLBACK},
        0,
    )
    assert sipgate().attrib == {}


@pytest.mark.parametrize("reason", ["busy", "rejected"])
def test_sipgate_rejects(reason):
    (reject,) = sipgate(Reject(reason), callback_url=CALLBACK)
    assert (reject.tag, reject.attrib) == ("Reject", {"reason": reason})


def test_sipgate_redirects_to_a_number_without_its_plus_or_to_voicemail():
    assert sipgate(Redirect("+4915799912345")).findtext("Dial/Number") == "4915799912345"
    assert sipgate(Redirect(voicemail=True)).find("Dial/Voicemail") is not None


@pytest.mark.parametrize(
    ("shape", "decision", "said", "is_obeyed"),
    [
        ("zammad", None, {}, True),
        ("zammad", Reject("busy"), {"action": "reject", "reason": "busy"}, True),
        ("zammad", Redirect("+4915799912345"), {}, False),
        ("generic", Reject(), {"action": "reject", "reason": "rejected"}, True),
        ("generic", Redirect("+4915799912345"), {"action": "redirect", "number": "+4915799912345"}, True),
        ("generic", Redirect(voicemail=True), {"action": "voicemail"}, True),
    ],
)
def test_the_others_hear_json(shape, decision, said, is_obeyed):
    told = answer(shape, decision, is_new_call=True)
    assert (json.loads(told.body), told.is_obeyed) == (said, is_obeyed)


@pytest.mark.parametrize("shape", ["sipgate", "zammad", "generic"])
def test_only_a_new_call_can_be_decided(shape):
    told = answer(shape, Reject(), is_new_call=False, callback_url=CALLBACK)
    assert b"eject" not in told.body
    assert b"onAnswer" not in told.body


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Reject("no"),
        Redirect,
        lambda: Redirect("12"),
        lambda: Redirect("<Hangup/>"),
        lambda: Redirect("+44", True),
    ],
)
def test_no_decision_can_be_made_that_no_system_knows(wrong):
    with pytest.raises(ValueError, match="A "):
        wrong()
