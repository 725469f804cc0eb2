"""AMI: what is a message, what is none, and that nobody's text can write a line of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_django.exceptions import AMIError, WireError
from cti_django.wire.ami import MAX_HEADERS, MAX_LINE, MAX_MESSAGE, AMIReader, action

BANNER = b"Asterisk Call Manager/11.0.0\r\n"


def reader_of(*chunks):
    reader = AMIReader()
    reader.receive_data(BANNER)
    for chunk in chunks:
        reader.receive_data(chunk)
    return reader


def read(*chunks):
    return reader_of(*chunks).messages_received()


# -- what comes in ------------------------------------------------------------------------------------------------


def test_the_banner_is_kept_and_no_message():
    reader = reader_of()
    assert reader.banner == "Asterisk Call Manager/11.0.0"
    assert reader.messages_received() == []


def test_a_message_ends_with_an_empty_line():
    reader = reader_of(b"Event: Hangup\r\nCause: 16\r\n")
    assert reader.messages_received() == []
    reader.receive_data(b"\r\nEvent: Newchannel\r\n\r\n")
    assert reader.messages_received() == [{"Event": "Hangup", "Cause": "16"}, {"Event": "Newchannel"}]
    assert reader.messages_received() == []


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_it_does_not_matter_how_the_network_cuts_the_bytes(size):
    stream = BANNER + "Event: Hangup\r\nName: Zoë: Ünal\r\n\r\nResponse: Success\r\nActionID: 7\r\n\r\n".encode()
    reader = AMIReader()
    for at in range(0, len(stream), size):
        reader.receive_data(stream[at : at + size])
    messages = reader.messages_received()
    assert messages == [{"Event": "Hangup", "Name": "Zoë: Ünal"}, {"Response": "Success", "ActionID": "7"}]


def test_lines_may_end_with_lf_alone():
    assert read(b"Event: Hangup\nCause: 16\n\n") == [{"Event": "Hangup", "Cause": "16"}]


@pytest.mark.parametrize("char", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\x00"])
def test_no_other_character_ends_a_line(char):
    text = (
        f"Event: Newchannel\r\nCallerIDName: Eve{char}Uniqueid: 666.1{char}{char}Event: Hangup\r\nUniqueid: 1.1\r\n\r\n"
    )
    (message,) = read(text.encode())
    assert message["Uniqueid"] == "1.1"
    assert message["Event"] == "Newchannel"
    assert message["CallerIDName"] == f"Eve{char}Uniqueid: 666.1{char}{char}Event: Hangup"


def test_a_cr_before_the_end_of_a_line_makes_no_empty_line():
    (message,) = read(b"Event: Newchannel\r\nCallerIDName: Eve\r\r\n\r\r\nUniqueid: 1.1\r\n\r\n")
    assert message["Uniqueid"] == "1.1"


def test_an_empty_value_is_a_value_and_a_line_without_a_colon_is_nothing():
    assert read(b"AccountCode: \r\nExten:\r\nnonsense\r\n: nobody\r\n\r\n") == [{"AccountCode": "", "Exten": ""}]


def test_the_first_of_a_repeated_header_counts():
    assert read(b"Uniqueid: 1\r\nUniqueid: 2\r\n\r\n") == [{"Uniqueid": "1"}]


def test_output_and_variables_have_all_their_values():
    text = b"Response: Success\r\nOutput: a\r\nOutput:  b: c\r\nVariable: x=1\r\nVariable: y=2\r\n\r\n"
    assert read(text) == [{"Response": "Success", "Output": "a\n b: c", "Variable": "x=1\ny=2"}]


def test_what_is_no_utf_8_does_no_harm():
    assert read(b"CallerIDName: \xff\xfe\r\n\r\n") == [{"CallerIDName": "\ufffd\ufffd"}]


def test_empty_lines_are_no_messages():
    assert read(b"\r\n\r\n\r\nEvent: A\r\n\r\n\r\n\r\nEvent: B\r\n\r\n") == [{"Event": "A"}, {"Event": "B"}]


@pytest.mark.parametrize(
    "first", [b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-OpenSSH\r\n", b"\x16\x03\x01", b"\n", b"Asterisk\r\n", BANNER[:-2] * 20]
)
def test_what_begins_otherwise_is_no_manager(first):
    with pytest.raises(AMIError):
        AMIReader().receive_data(first)


def test_a_banner_may_come_in_pieces():
    reader = AMIReader()
    for byte in BANNER:
        reader.receive_data(bytes([byte]))
    assert reader.banner


# -- limits -------------------------------------------------------------------------------------------------------

AFTER = b"Event: After\r\n\r\n"


@pytest.mark.parametrize(
    "text",
    [
        b"Event: Big\r\nName: " + b"x" * MAX_LINE + b"\r\n\r\n",
        b"".join(b"Name%d: x\r\n" % number for number in range(MAX_HEADERS + 1)) + b"\r\n",
        b"Name: x\r\n" * (MAX_MESSAGE // 7) + b"\r\n",
        b"x" * (MAX_MESSAGE * 3) + b"\r\n\r\n",
    ],
    ids=["line", "headers", "message", "no line at all"],
)
@pytest.mark.parametrize("size", [1_000, 10_000_000])
def test_what_breaks_a_limit_is_skipped_and_told_and_the_rest_goes_on(text, size):
    stream = b"Event: Before\r\n\r\n" + text + AFTER
    reader = reader_of(*(stream[at : at + size] for at in range(0, len(stream), size)))
    assert reader.messages_received() == [{"Event": "Before"}, {"Event": "After"}]
    assert len(reader.faults_received()) == 1
    assert reader.faults_received() == []


def test_what_is_just_within_the_limits_is_read():
    value = b"x" * (MAX_LINE - len(b"Name: "))
    (message,) = read(b"Name: " + value + b"\r\n" + b"".join(b"N%d: x\r\n" % number for number in range(299)) + b"\r\n")
    assert len(message) == MAX_HEADERS
    assert message["Name"] == value.decode()


def test_a_stream_without_an_end_is_not_kept():
    reader = reader_of()
    for _ in range(200):
        reader.receive_data(b"x" * 10_000)
        assert len(reader._buffer) <= MAX_MESSAGE + 10_000
    assert len(reader.faults_received()) == 1


def test_messages_that_nobody_takes_are_dropped_and_that_is_told():
    reader = reader_of()
    for _ in range(100):
        reader.receive_data(b"Event: A\r\n\r\n" * 100)
    assert len(reader.messages_received()) < 1_200
    assert 0 < len(reader.faults_received()) <= 20
    reader.receive_data(AFTER)
    assert reader.messages_received() == [{"Event": "After"}]


# -- what goes out ------------------------------------------------------------------------------------------------


def test_an_action_is_written_line_by_line():
    data = action("Originate", "7", [("Channel", "PJSIP/1001"), ("Variable", "a=1"), ("Variable", "b=2"), ("Data", "")])
    assert data == (
        b"Action: Originate\r\nActionID: 7\r\nChannel: PJSIP/1001\r\nVariable: a=1\r\nVariable: b=2\r\nData: \r\n\r\n"
    )


def test_an_action_may_hold_any_alphabet():
    assert "Zoë Ünal 漢字".encode() in action("Originate", "7", [("CallerID", "Zoë Ünal 漢字")])


@pytest.mark.parametrize(
    "value",
    ["a\r\nAction: Command", "a\nb", "a\rb", "a\x00b", "a\x0bb", "a\x7f", "a\x85b", "a\u2028b", "\ud800", "x" * 1_000],
)
def test_a_value_that_could_end_its_line_is_refused(value):
    with pytest.raises(AMIError):
        action("Originate", "7", [("Exten", value)])
    with pytest.raises(AMIError):
        action("Originate", value)
    with pytest.raises(AMIError):
        action(value, "7")


@pytest.mark.parametrize("name", ["", "A: b", "A:", "A B", "Ä", "A\r\n", "x" * 65, "-"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(AMIError):
        action("Originate", "7", [(name, "x")])


def test_an_action_without_a_name_or_with_too_many_headers_is_refused():
    with pytest.raises(AMIError):
        action("", "7")
    with pytest.raises(AMIError):
        action("Originate", "7", [("Variable", "x")] * 100)


def test_an_ami_error_says_nothing_of_the_value():
    with pytest.raises(WireError) as error:
        action("Login", "7", [("Secret", "swordfish\n")])
    assert "swordfish" not in str(error.value)


TEXTS = st.text(max_size=60) | st.sampled_from(["\r\n", "\n\n", "\r", "a\r\nAction: Logoff", "\x85", "\u2028", " x "])


@given(TEXTS, TEXTS, st.lists(st.tuples(TEXTS | st.just("Variable"), TEXTS), max_size=5))
def test_whatever_is_asked_for_one_message_of_these_headers_is_written_or_none(name, action_id, headers):
    try:
        data = action(name, action_id, headers)
    except AMIError:
        return
    assert data.endswith(b"\r\n\r\n")
    lines = data[:-4].split(b"\r\n")
    assert len(lines) == len(headers) + 2
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert b"\r" not in data.replace(b"\r\n", b"")
    (message,) = read(data)
    assert message["Action"] == name
    assert message["ActionID"] == action_id


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=50), max_size=8), st.data())
def test_values_come_back_as_they_were_however_they_are_cut(values, data):
    stream = BANNER + b"".join(f"Event: E\r\nName: {value}\r\nLast: yes\r\n\r\n".encode() for value in values)
    reader, at = AMIReader(), 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream)))
        reader.receive_data(stream[at : at + size])
        at += size
    assert [message["Name"] for message in reader.messages_received()] == values
    assert reader.faults_received() == []
