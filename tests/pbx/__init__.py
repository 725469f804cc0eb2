"""A real Asterisk, real SIP phones and a public network, all on 127.0.0.1 and on ports of their own.

install.py         what `make system` does                         chroot.py   where Asterisk is then
asterisk.py        one instance on free ports; etc/ is its configuration
phone.py           a desk phone (baresip)                          talk_phone.py  one that answers when told to
public_network.py  callers and called parties outside
desk.py            an agent: her session, and all that it tells    stage.py    flows, played several at once
fixtures.py        `pbx`: one instance for all tests that do not change it
"""
