"""Events as Asterisk writes them, in short: ``E("Newstate", A, state="Ringing")``."""

__all__ = ["CALL", "A", "B", "E", "P", "answered", "ringing"]

CALL = "1795390188.0"

A = {"Channel": "PJSIP/1001-00000001", "Uniqueid": "1795390188.1", "Linkedid": CALL}
B = {"Channel": "PJSIP/1002-00000002", "Uniqueid": "1795390190.2", "Linkedid": CALL}
P = {"Channel": "PJSIP/trunk-00000000", "Uniqueid": CALL, "Linkedid": CALL}

_SHORT = {
    "state": "ChannelStateDesc",
    "own": "CallerIDNum",
    "connected": "ConnectedLineNum",
    "name": "ConnectedLineName",
    "exten": "Exten",
    "status": "DialStatus",
    "bridge": "BridgeUniqueid",
    "cause": "Cause",
}


def E(event, channel=None, dest=None, **headers):  # as short as possible: tests are lists of these
    """One event of `channel` (and, of a dial, the channel that is dialled)."""
    message = {"Event": event, **(channel or {})}
    message.update({f"Dest{key}": value for key, value in (dest or {}).items()})
    message.update({_SHORT.get(key, key): value for key, value in headers.items()})
    return message


def ringing(phone=A, *, caller="+33123456789"):
    """A call from outside rings `phone`."""
    return [
        E("Newchannel", P, state="Ring", own=caller, exten="+442071838750"),
        E("Newchannel", phone, state="Down", own="1001"),
        E("NewConnectedLine", phone, state="Down", connected=caller),
        E("DialBegin", P, phone, state="Ring"),
        E("Newstate", phone, state="Ringing", connected=caller),
    ]


def answered(phone=A, *, caller="+33123456789"):
    """A call from outside is answered at `phone`."""
    return [
        *ringing(phone, caller=caller),
        E("Newstate", phone, state="Up", connected=caller),
        E("DialEnd", P, phone, status="ANSWER"),
        E("BridgeEnter", phone, state="Up", bridge="b1"),
        E("BridgeEnter", P, state="Up", bridge="b1"),
    ]
