"""Dialog-info documents: what is read, what is refused, and which document is news."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_django.exceptions import DialogInfoError
from cti_django.wire.dialog_info import (
    MAX_DIALOGS,
    MAX_DOCUMENT,
    MAX_PARAMS,
    MAX_TEXT,
    DialogInfo,
    DialogInfoTracker,
    Freshness,
    Participant,
    parse_dialog_info,
)

NS = 'xmlns="urn:ietf:params:xml:ns:dialog-info"'
OBSERVED = b"""<?xml version="1.0"?>
<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="1" state="partial" entity="sip:482910@sip.example">
  <dialog id="7310025-1" direction="initiator">
    <state>early</state>
    <local><identity display="Alice Agent">sip:10031@sip.example</identity>
      <target uri="sip:10031@sip.example">
        <param pname="+sip.rendering" pval="yes"/>
        <param pname="timestamp.start" pval="1700000000"/>
        <param pname="context" pval="LOCAL"/></target></local>
    <remote><identity display="442079460018">sip:442079460018@sip.example</identity>
      <target uri="sip:442079460018@sip.example"/></remote>
  </dialog></dialog-info>"""


def document(dialogs="", version="1", state="full", root="dialog-info", namespace=NS) -> bytes:
    return f'<{root} {namespace} version="{version}" state="{state}" entity="sip:1@x">{dialogs}</{root}>'.encode()


def only_dialog(dialogs: str):
    (dialog,) = parse_dialog_info(document(dialogs)).dialogs
    return dialog


def test_the_observed_document_is_read_whole():
    info = parse_dialog_info(OBSERVED)
    assert (info.version, info.is_full, info.entity) == (1, False, "sip:482910@sip.example")
    (dialog,) = info.dialogs
    assert (dialog.dialog_id, dialog.direction, dialog.state) == ("7310025-1", "initiator", "early")
    assert dialog.local == Participant(
        identity="sip:10031@sip.example",
        display="Alice Agent",
        target="sip:10031@sip.example",
        params={"+sip.rendering": "yes", "timestamp.start": "1700000000", "context": "LOCAL"},
    )
    assert dialog.remote == Participant(
        identity="sip:442079460018@sip.example", display="442079460018", target="sip:442079460018@sip.example"
    )


@pytest.mark.parametrize(
    ("spelt", "direction"),
    [
        ('direction="receiver"', "recipient"),
        ('direction="Recipient"', "recipient"),
        ('direction="INITIATOR"', "initiator"),
        ('direction="sideways"', None),
        ("", None),
    ],
)
def test_directions_are_read_in_every_spelling(spelt, direction):
    assert only_dialog(f'<dialog id="1" {spelt}><state>early</state></dialog>').direction == direction


def test_states_are_read_in_any_case_with_event_and_code():
    dialog = only_dialog('<dialog id="1"><state event="Rejected" code="486"> Terminated\n</state></dialog>')
    assert (dialog.state, dialog.event, dialog.code) == ("terminated", "rejected", 486)


@pytest.mark.parametrize("code", ["", "48", "4866", "-86", "４８６"])
def test_a_code_that_is_no_sip_status_is_none(code):
    assert only_dialog(f'<dialog id="1"><state code="{code}">early</state></dialog>').code is None


def test_prefixes_foreign_elements_and_another_order_make_no_difference():
    body = b"""<d:dialog-info xmlns:d="urn:ietf:params:xml:ns:dialog-info" xmlns:x="urn:x" version="3"
        state="FULL" entity="e">
      <x:dialog id="foreign"><d:state>early</d:state></x:dialog>
      <d:dialog id="1" direction="recipient"><x:local/><d:future><d:state>no</d:state></d:future>
        <d:remote><d:target uri="tel:+442079460018"/><x:identity>no</x:identity></d:remote>
        <d:local><d:identity>sips:10031@x</d:identity></d:local><d:state>confirmed</d:state></d:dialog></d:dialog-info>"""
    (dialog,) = parse_dialog_info(body).dialogs
    assert (dialog.state, dialog.remote.target, dialog.remote.identity) == ("confirmed", "tel:+442079460018", "")
    assert dialog.local == Participant(identity="sips:10031@x")


def test_a_document_without_a_namespace_is_read():
    assert parse_dialog_info(document('<dialog id="1"/>', namespace="")).dialogs[0].dialog_id == "1"


def test_what_is_missing_is_empty():
    dialog = only_dialog('<dialog id="1"/>')
    assert (dialog.state, dialog.event, dialog.code) == ("", "", None)
    assert dialog.local == dialog.remote == Participant()


def test_a_dialog_without_an_id_is_passed_over():
    assert parse_dialog_info(document('<dialog><state>early</state></dialog><dialog id=" "/>')).dialogs == ()


def test_one_dialogs_facts_do_not_leak_into_the_next():
    first, second = parse_dialog_info(
        document(
            '<dialog id="1"><state code="486">early</state><local><identity display="A">a</identity>'
            '<target uri="t"><param pname="p" pval="v"/></target></local></dialog><dialog id="2"/>'
        )
    ).dialogs
    assert first.local.params == {"p": "v"}
    assert (second.state, second.code, second.local) == ("", None, Participant())


def test_hostile_text_stays_text_and_is_capped():
    name = "&lt;img src=x onerror=alert(1)&gt;&#x202e;&#10;&#x85;" + "x" * 1000
    display = only_dialog(
        f'<dialog id="1"><remote><identity display="{name}">u</identity></remote></dialog>'
    ).remote.display
    assert display.startswith("<img src=x onerror=alert(1)>xxx")
    assert len(display) == MAX_TEXT


def test_params_are_capped():
    params = "".join(f'<param pname="p{n}" pval="v"/>' for n in range(500))
    dialog = only_dialog(f'<dialog id="1"><local><target uri="t">{params}</target></local></dialog>')
    assert len(dialog.local.params) == MAX_PARAMS


def test_as_many_dialogs_as_allowed_are_read_and_no_more():
    dialogs = [f'<dialog id="{n}"/>' for n in range(MAX_DIALOGS)]
    assert len(parse_dialog_info(document("".join(dialogs))).dialogs) == MAX_DIALOGS
    with pytest.raises(DialogInfoError, match="too many"):
        parse_dialog_info(document("".join([*dialogs, '<dialog id="more"/>'])))


BILLION_LAUGHS = (
    b"<!DOCTYPE d [<!ENTITY l0 'ha'>"
    + b"".join(b"<!ENTITY l%d '%s'>" % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))
    + b"]><dialog-info version='1' state='full'>&l9;</dialog-info>"
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"no XML",
        b"\x00",
        b"<dialog-info",
        OBSERVED[:-20],
        OBSERVED + b"<more/>",
        b"<presence xmlns='urn:ietf:params:xml:ns:pidf'/>",
        b"<dialog-info xmlns='urn:x' version='1' state='full'/>",
        document(version=""),
        document(version="-1"),
        document(version="1.5"),
        document(version="1" * 30),
        document(state="whole"),
        b"<dialog-info version='1'/>",
        BILLION_LAUGHS,
        b"<!DOCTYPE d SYSTEM 'http://127.0.0.1/d.dtd'><dialog-info version='1' state='full'/>",
        b"<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/hosts'>]><dialog-info version='1' state='full'>&e;</dialog-info>",
        b"<!DOCTYPE d [<!ENTITY % p SYSTEM 'http://127.0.0.1/'> %p;]><dialog-info version='1' state='full'/>",
        b"<dialog-info version='1' state='full'>&undefined;</dialog-info>",
        b"<a>" * 10_000,
        document("<x>" * 100 + "</x>" * 100),
        b" " * (MAX_DOCUMENT + 1),
        document("x" * MAX_DOCUMENT),
        b"<?xml version='1.0' encoding='no-such-encoding'?><dialog-info version='1' state='full'/>",
        b"<?xml version='1.0' encoding='utf-7'?><dialog-info version='1' state='full'/>",
        b"<?xml version='1.0' encoding='euc-jp'?><dialog-info version='1' state='full'/>",
        b"<?xml version='1.0' encoding='idna'?><dialog-info version='1' state='full'/>",
        b"\xff\xfe<\x00a",
        b"<dialog-info version='1' state='full'>\xff</dialog-info>",
        b"<x:dialog-info version='1' state='full'/>",
    ],
)
def test_whatever_else_comes_in_only_a_dialog_info_error_comes_out(body):
    began = time.perf_counter()
    with pytest.raises(DialogInfoError) as error:
        parse_dialog_info(body)
    assert time.perf_counter() - began < 1.0
    assert str(error.value).startswith("The telephone system sent")


def test_utf_16_is_read_too():
    text = '<?xml version="1.0" encoding="utf-16"?><dialog-info version="1" state="full"><dialog id="é"/></dialog-info>'
    assert parse_dialog_info(text.encode("utf-16")).dialogs[0].dialog_id == "é"


@given(st.data())
def test_mutated_documents_raise_nothing_else(data):
    body = bytearray(OBSERVED)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=8))
    try:
        info = parse_dialog_info(bytes(body))
    except DialogInfoError:
        return
    assert isinstance(info, DialogInfo)


# -- versions -------------------------------------------------------------------------------------------------------


def info(version, state="partial", dialogs=""):
    return parse_dialog_info(document(dialogs, version=str(version), state=state))


def judged(*documents, tracker=None):
    tracker = tracker or DialogInfoTracker()
    return [tracker.judge(document).value for document in documents]


def test_versions_that_rise_by_one_are_news():
    assert judged(info(0, "full"), info(1), info(2)) == ["news"] * 3


def test_a_repeated_partial_document_is_a_duplicate():
    assert judged(info(5, "full"), info(6), info(6), info(7)) == ["news", "news", "duplicate", "news"]


def test_a_partial_document_that_does_not_count_on_is_out_of_step_until_a_full_state_settles_it():
    tracker = DialogInfoTracker()
    other = '<dialog id="1"><state>early</state></dialog>'
    documents = [info(6, "full"), info(6), info(7), info(7, "partial", other), info(0)]
    assert judged(*documents, tracker=tracker) == ["news", "out of step", "news", "out of step", "out of step"]
    tracker.expect_full()
    assert judged(info(1, "full"), info(2), tracker=tracker) == ["news", "news"]


def test_a_gap_is_told_and_its_document_counts():
    assert judged(info(0, "full"), info(3), info(3), info(4)) == ["news", "gap", "duplicate", "news"]


def test_a_partial_document_in_the_beginning_is_a_gap():
    assert judged(info(4), info(5), info(6, "full")) == ["gap", "news", "news"]


def test_after_an_empty_beginning_the_first_document_is_no_gap():
    tracker = DialogInfoTracker()
    tracker.start_empty()
    assert judged(info(1), info(2), info(4), tracker=tracker) == ["news", "news", "gap"]


def test_a_full_state_makes_up_for_any_gap():
    assert judged(info(0, "full"), info(7, "full"), info(8)) == ["news"] * 3


def test_an_old_full_state_is_out_of_step_unless_it_was_asked_for():
    tracker = DialogInfoTracker()
    assert judged(info(7, "full"), info(0, "full"), info(8), tracker=tracker) == ["news", "out of step", "news"]
    tracker.expect_full()
    assert judged(info(0, "full"), info(1), tracker=tracker) == ["news", "news"]


def test_a_server_that_never_counts_is_understood_by_its_content():
    ringing, talking = (
        '<dialog id="1"><state>early</state></dialog>',
        '<dialog id="1"><state>confirmed</state></dialog>',
    )
    documents = [info(0, "full", dialogs) for dialogs in ("", ringing, ringing, talking, "")]
    assert judged(*documents) == ["news", "news", "duplicate", "news", "news"]


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=30))
def test_a_partial_document_is_never_used_twice(documents):
    tracker = DialogInfoTracker()
    used: set[int] = set()
    for version, is_full in documents:
        freshness = tracker.judge(info(version, "full" if is_full else "partial"))
        if freshness in (Freshness.NEWS, Freshness.GAP):
            if is_full:
                used.clear()
            else:
                assert version not in used
                used.add(version)
