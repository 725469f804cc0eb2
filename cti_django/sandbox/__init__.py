"""A small PBX that speaks the VoIPstudio wire protocol over loopback, for demos and tests.

pbx.py            the switch: who rings, talks and holds; on legs.py, dialling.py, users.py; no I/O
sip_server.py     watchers over SIP; on subscriptions.py, notify_body.py; no sockets
rest.py           the REST API; on accounts.py
console.py        the console and its API; page in static/
faults.py         what can go wrong on demand
journal.py        a file of all that happened
server.py         all of it on one port: ``run_sandbox``
"""

__all__: list[str] = []
