"""What an examination says of a server that takes the log-in and then falls silent."""

from cti_django.connectors.sip import examination

from .desk import Desk
from .fake_server import running_server


async def test_a_server_that_says_nothing_more_is_a_finding_and_the_line_is_closed(monkeypatch):
    monkeypatch.setattr(examination, "READY_SECONDS", 0.2)
    async with running_server() as server:
        server.statuses["SUBSCRIBE"] = [100] * 50
        connector = Desk(server.port).connector
        findings = [finding async for finding in connector.examine()]
        assert (findings[-1].step, findings[-1].ok) == ("Watch calls", False)
        assert findings[-1].message == "The server said nothing more."
        assert connector._line is None


async def test_a_log_in_that_is_refused_names_the_realm_that_wanted_it():
    async with running_server() as server:
        server.statuses["OPTIONS"] = [401, 401]
        server.headers[401] = (("WWW-Authenticate", 'Digest realm="another.example", nonce="abc", qop="auth"'),)
        findings = [finding async for finding in Desk(server.port).connector.examine()]
        assert (findings[-1].step, findings[-1].ok) == ("Log in", False)
        assert "“another.example”" in findings[-1].advice
