"""VoIPstudio: REST for log-in and call control, SIP over WebSocket for what the calls do.

connector.py     the contract's four verbs: log-in, line, keep-alive, commands
options.py       the connector's settings, checked
api.py           the shell around wire/voipstudio_rest.py
call_control.py  commands as REST requests
dialler.py       click-to-call
subscriber.py    the user agent that this service wants
watch.py         subscriptions and their documents -> notifications
examination.py   what cti_doctor tries
translate.py     the table: dialog -> leg
"""

__all__: list[str] = []
