"""Systems that push: what they post is parsed here, journalled above, and given to ``Connector.receive``.

connector.py   one agent's share of what an endpoint hears; click-to-call by a request of the project's own making
options.py     the connector's settings, and those of its endpoints
proof.py       whether a request is genuine: HMAC, Basic, token
bodies.py      form or JSON -> fields
shapes.py      a pure table for each spoken shape: fields -> Report
calls.py       what the reports of an endpoint's calls add up to, in any order -> legs
decision.py    what may be answered to a new call: Reject, Redirect, in each shape's own words
outgoing.py    a configured request whose placeholders are filled in
"""

__all__: list[str] = []
