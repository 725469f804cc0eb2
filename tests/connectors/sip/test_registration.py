"""How long a registration lasts is the server's to say, within reason."""

import pytest

from cti_django.connectors.sip.registration import RETRY_SECONDS, Registration
from cti_django.wire.sip_message import parse_message
from cti_django.wire.sip_user_agent import UserAgent


@pytest.mark.parametrize(
    ("contacts", "expires", "wait"),
    [
        (["{ours};expires=120"], "60", 90),
        (["<sip:other@192.0.2.7>;expires=7"], "120", 90),
        (["<sip:other@192.0.2.7>;expires=7", "{ours};expires=120"], None, 90),
        (["{ours};expires=315360000"], None, 270),
        (["{ours};expires=soon"], None, 270),
        (["{ours};expires=0"], None, RETRY_SECONDS),
        ([], "0", RETRY_SECONDS),
    ],
)
def test_it_is_refreshed_before_it_is_over_and_not_all_the_time(contacts, expires, wait):
    agent = UserAgent(
        address="sip:1006@pbx.example", username="1006", password="secret", transport="UDP", sent_by="192.0.2.1:5062"
    )
    registration = Registration(agent, 300.0, lambda status, retry: None)
    registration.begin(1000.0)
    (request,) = map(parse_message, agent.data_to_send())
    answer = request.reply(200, to_tag="server")
    for contact in contacts:
        answer.headers.add("Contact", contact.format(ours=request.headers["Contact"]))
    if expires:
        answer.headers.add("Expires", expires)
    agent.receive_data(bytes(answer), 1000.0)
    assert agent.next_deadline() == 1000.0 + wait
