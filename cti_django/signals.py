"""The signals that a project may listen to. Receivers run robustly: one that fails or is slow cannot stop a call.

``call_event``
    A call of an agent has reached a new state, or got another side (UPDATED). Arguments: ``agent_id`` (the user's
    primary key), ``event`` (``calls.events.CallEvent``; ``event.call.is_own`` tells her own calls from those that she
    only watches).
``session_event``
    Something happened to an agent's session. Arguments: ``agent_id``, ``event`` (``calls.events.SessionEvent``).
``pre_dial``
    An agent is about to dial. Arguments: ``agent_id``, ``party`` (``calls.numbers.Party``, whom she wants to call).
    A receiver stops the call by returning a text, which the agent is shown, or by raising ``PermissionDenied``.
``contact_matched``
    A call of an agent has been matched. Arguments: ``agent_id``, ``call`` (``calls.events.Call``),
    ``match`` (``contacts.Match``).

The sender is always None.
"""

from django.dispatch import Signal

__all__ = ["call_event", "contact_matched", "pre_dial", "session_event"]

call_event = Signal()
session_event = Signal()
pre_dial = Signal()
contact_matched = Signal()
