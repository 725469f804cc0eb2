"""Asterisk, by its manager interface (AMI): one connection to a PBX for all agents of the process.

connector.py    the contract's verbs, for one agent
options.py      the connector's settings, checked
manager.py      the shared connection: who opens it, who hears what, lists
login.py        from an address to a line that is logged in
line.py         one socket: actions and their answers, events, heartbeat
switchboard.py  what the PBX has told, and what that is to the agents; pure, as are the six that it stands on:
                channels.py and channel_events.py (who dials whom, who is in which bridge; what each event changes),
                rows.py (the same from lists), translate.py (the table: channel -> leg), dials.py (click-to-calls until
                the agent's phone answers), presence.py (extensions and queues)
call_control.py commands for a call, and whether they came about
actions.py      commands as manager actions, and Asterisk's "no" in plain words
dialplan.py     whether the dialplan knows a number
dialler.py      our click-to-calls, as far as the PBX does not tell what becomes of them
standing.py     queues, pause, do not disturb
rights.py       what a manager may do -> what an agent can do
examination.py  what cti_doctor tries
"""

__all__: list[str] = []
