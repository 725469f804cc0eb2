"""Who may use the REST API: passwords, second factors, tokens and keys."""

import hmac
import secrets
from collections.abc import Iterable

from .users import TWO_FACTOR_CODE, User

__all__ = ["Accounts"]

MAX_NONCES = 1000


class Accounts:
    """The users' credentials and what was handed out for them."""

    def __init__(self, users: Iterable[User]) -> None:
        users = list(users)
        self._by_email = {user.email.lower(): user for user in users}
        self._by_key = {user.api_key: user for user in users}
        self._tokens: dict[str, User] = {}
        self._nonces: dict[str, User] = {}
        self._revoked: set[str] = set()  # user ids whose API key counts as expired

    def check_password(self, email: str, password: str) -> User | None:
        """The user with that e-mail address and password."""
        user = self._by_email.get(email.lower())
        wanted = user.password if user else ""
        right = hmac.compare_digest(password.encode(errors="replace"), wanted.encode())
        return user if right else None

    def user_of_email(self, email: str) -> User | None:
        """The user with that e-mail address."""
        return self._by_email.get(email.lower())

    def issue_nonce(self, user: User) -> str:
        """Begin a log-in that wants a second factor."""
        while len(self._nonces) >= MAX_NONCES:
            del self._nonces[next(iter(self._nonces))]
        nonce = secrets.token_hex(16)
        self._nonces[nonce] = user
        return nonce

    def check_code(self, nonce: str, code: str) -> User | None:
        """Finish it. A right code uses the nonce up."""
        if code != TWO_FACTOR_CODE:
            return None
        return self._nonces.pop(nonce, None)

    def issue_token(self, user: User) -> str:
        """A token for the header X-Auth-Token."""
        token = secrets.token_hex(20)
        self._tokens[token] = user
        return token

    def user_of(self, token: str) -> User | None:
        """Whose token or API key that is: ``token``, ``key`` or ``user_id:key``; None if nobody's (any more)."""
        user_id, colon, rest = token.rpartition(":")
        user = self._tokens.get(rest)
        if user is None:
            user = self._by_key.get(rest)
            if user is not None and user.user_id in self._revoked:
                return None
        if user is None or (colon and user.user_id != user_id):
            return None
        return user

    def revoke(self, token: str) -> None:
        """Forget one token."""
        self._tokens.pop(token.rpartition(":")[2], None)

    def expire(self, user_id: str = "") -> None:
        """End a user's tokens, and refuse the API key until ``restore``; "" means everybody's."""
        expired = [token for token, user in self._tokens.items() if user_id in ("", user.user_id)]
        for token in expired:
            del self._tokens[token]
        self._revoked.update(user.user_id for user in self._by_key.values() if user_id in ("", user.user_id))

    def restore(self) -> None:
        """API keys work again."""
        self._revoked.clear()
