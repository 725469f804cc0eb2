"""Any SIP server that follows the standards.

connector.py     the contract's four verbs
options.py       the connector's settings, checked
locate.py        SRV and addresses: where the server is
sockets.py       UDP, TCP, TLS and WebSocket behind one protocol
reach.py         the first machine that answers, and knows us
watch.py         the dialect of servers of any make, for sip_watch; translate.py: its table
registration.py  REGISTER, and shadow.py: the contact that learns who calls
joining.py       documents, shadow contact and placed calls -> one story of each call
leg.py           one phone that we have called; sdp.py: what is said of its media
dialling.py      click-to-call; outcomes.py: what its failures mean
bridge.py        third-party call control
examination.py   what cti_doctor asks
"""

__all__: list[str] = []
