"""The people on the sandbox PBX, their telephones, and the numbers outside."""

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["PASSWORD", "TWO_FACTOR_CODE", "Behaviour", "Conduct", "Phone", "User", "demo_users", "make_users"]

PASSWORD = "sandbox"  # noqa: S105 - the documented password of every sandbox user
TWO_FACTOR_CODE = "123456"
FIRST_EXTENSION = 10031


class Behaviour(StrEnum):
    """What a telephone does when it is rung."""

    MANUAL = "manual"  # rings until somebody at the console does something
    ANSWERS = "answers"  # after `seconds`
    DECLINES = "declines"  # after `seconds`
    BUSY = "busy"
    NO_ANSWER = "no_answer"  # rings until the PBX gives up
    UNOBTAINABLE = "unobtainable"  # a number that does not exist; outside numbers only


@dataclass(slots=True)
class Conduct:
    """A behaviour and its delay in seconds."""

    behaviour: Behaviour = Behaviour.MANUAL
    seconds: float = 0.0


@dataclass(slots=True)
class Phone:
    """A user's telephone.

    Args:
        registered: False: no telephone is there, and a click-to-call fails at once.
        devices: how many sets ring together (a desk phone and a mobile are 2): a leg for each.
        conduct: what it does when somebody calls.
        pick_up: what it does with the owner's own click-to-call; None: the same as with any call.
    """

    registered: bool = True
    devices: int = 1
    conduct: Conduct = field(default_factory=Conduct)
    pick_up: Conduct | None = None


@dataclass(slots=True)
class User:
    """One user. In the sandbox the user id is also the extension.

    Args:
        user_id: digits, four or five ("10031").
        two_factor: a log-in with a password needs TWO_FACTOR_CODE as well.
    """

    user_id: str
    name: str
    email: str
    password: str = field(default=PASSWORD, repr=False)
    api_key: str = field(default="", repr=False)
    sip_password: str = field(default="", repr=False)
    two_factor: bool = False
    phone: Phone = field(default_factory=Phone)

    def __post_init__(self) -> None:
        self.api_key = self.api_key or f"key-{self.user_id}"
        self.sip_password = self.sip_password or f"sip-{self.user_id}"


_PEOPLE = ("Alice Agent", "Bob Agent", "Carol Agent", "Dave Agent")


def demo_users() -> list[User]:
    """Alice, Bob, Carol, and Dave, who has two-factor on: extensions 10031 to 10034."""
    return make_users(len(_PEOPLE))


def make_users(count: int) -> list[User]:
    """`count` users with extensions from 10031 on; the first four are those of ``demo_users``."""
    users = []
    for offset in range(count):
        extension = str(FIRST_EXTENSION + offset)
        name = _PEOPLE[offset] if offset < len(_PEOPLE) else f"Agent {extension}"
        login = name.split()[0].lower() if offset < len(_PEOPLE) else f"agent{extension}"
        users.append(User(extension, name, f"{login}@example.com", two_factor=login == "dave"))
    return users
