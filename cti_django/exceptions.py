"""Every exception that ``cti_django`` raises on purpose.

    CTIError
    ├── WireError (also ValueError)      what came from the network cannot be understood
    │   ├── SIPMessageError              not a SIP message, or a hostile one
    │   ├── DigestError                  a challenge that cannot be answered
    │   ├── DialogInfoError              not a dialog-info document, or a hostile one
    │   ├── AMIError                     not Asterisk's manager interface, or what cannot be written to it
    │   ├── RESTError                    an HTTP answer that is not what the provider's API promises
    │   └── WebhookError                 a delivery that a system pushed and that makes no sense
    ├── InvalidNumber (also ValueError)  a text that nobody can dial
    ├── InvalidCommand (also ValueError) a command message that is malformed
    └── ConnectorError                   the telephone system, or the way to it
        ├── ConnectionLost               the line is gone; trying again later may help
        ├── LoginRefused                 these credentials are refused; trying again unchanged cannot help
        ├── SessionExpired               the system has ended this session; a new log-in is needed
        └── CommandRefused               this command, now, was refused; the session lives on
            └── NotCapable               this telephone system cannot do that at all

``str(error)`` is a plain English sentence that may be shown to an agent. ``code`` is stable and is what translations
and programs go by. Neither ever holds a password, a token or a key.
"""

__all__ = [
    "AMIError",
    "CTIError",
    "CommandRefused",
    "ConnectionLost",
    "ConnectorError",
    "DialogInfoError",
    "DigestError",
    "InvalidCommand",
    "InvalidNumber",
    "LoginRefused",
    "NotCapable",
    "RESTError",
    "SIPMessageError",
    "SessionExpired",
    "WebhookError",
    "WireError",
]


class CTIError(Exception):
    """Base of all exceptions of this package.

    Args:
        message: a plain sentence for people.
        code: a stable word for programs; each class has its default.
    """

    code = "error"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class WireError(CTIError, ValueError):
    """What came from the network cannot be understood."""

    code = "wire"


class SIPMessageError(WireError):
    """Not a SIP message, or a hostile one."""


class DigestError(WireError):
    """A digest challenge that cannot be answered (unknown algorithm, no realm, ...)."""


class DialogInfoError(WireError):
    """Not an RFC 4235 dialog-info document, or a hostile one."""


class AMIError(WireError):
    """What answers is not Asterisk's manager interface, or what is to be sent cannot be written in its lines."""


class RESTError(WireError):
    """An HTTP answer that is not what the provider's API promises."""


class WebhookError(WireError):
    """A delivery that a telephone system has pushed and that makes no sense."""


class InvalidNumber(CTIError, ValueError):
    """A text that nobody can dial."""

    code = "invalid_number"


class InvalidCommand(CTIError, ValueError):
    """A command message that is malformed."""

    code = "invalid_command"


class ConnectorError(CTIError):
    """The telephone system, or the way to it."""

    code = "connector"


class ConnectionLost(ConnectorError):
    """The line is gone (or could not be had). Trying again later may help."""

    code = "connection_lost"


class LoginRefused(ConnectorError):
    """The system refuses these credentials. Trying again unchanged cannot help."""

    code = "login_refused"


class SessionExpired(ConnectorError):
    """The system has ended this session. A new log-in is needed."""

    code = "session_expired"


class CommandRefused(ConnectorError):
    """This command, now, was refused. The session lives on.

    Args:
        event_name: "INFO" for an action that makes no sense now, "ERROR" for a failure.
    """

    code = "command_refused"

    def __init__(self, message: str = "", *, code: str | None = None, event_name: str = "ERROR") -> None:
        super().__init__(message, code=code)
        self.event_name = event_name


class NotCapable(CommandRefused):
    """This telephone system cannot do that at all."""

    code = "not_capable"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message, code=code, event_name="INFO")
