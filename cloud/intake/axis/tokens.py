"""Signing in as Swift's TempAuth does: a name and a key for a token, which opaque strings are for fifteen minutes."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final

LIVES_S: Final = 900.0
"""As long as in Axis's own example; on 401 a client signs in again and repeats what it was doing."""

MOST: Final = 10_000
"""Tokens at the same time; beyond it the oldest is forgotten, and its holder signs in again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who may deliver: the name in the connection file, and the SHA-256 of its key, which is 32 random bytes."""

    user: str
    key_sha256: str = field(repr=False)

    @classmethod
    def new(cls, user: str) -> tuple["Account", str]:
        """Return (account to keep here, key for the connection file); the key is shown nowhere else."""
        key = secrets.token_urlsafe(32)
        return cls(user=user, key_sha256=hashlib.sha256(key.encode()).hexdigest()), key


class Tokens:
    """Gives tokens, and knows whose they are. Times are the caller's monotonic seconds."""

    def __init__(self, accounts: tuple[Account, ...]) -> None:
        self._accounts = accounts
        self._given: dict[str, tuple[str, float]] = {}

    def sign_in(self, user: str, key: str, *, now_s: float) -> str | None:
        """Return a fresh token, or None. Takes as long for an unknown name as for a wrong key."""
        offered, found = hashlib.sha256(key.encode()).hexdigest(), None
        for account in self._accounts:
            same = hmac.compare_digest(account.user.encode(), user.encode())
            if hmac.compare_digest(account.key_sha256, offered) and same:
                found = account.user
        if found is None:
            return None
        self._given = {token: kept for token, kept in self._given.items() if kept[1] > now_s}
        while len(self._given) >= MOST:
            del self._given[next(iter(self._given))]
        token = secrets.token_urlsafe(32)
        self._given[token] = (found, now_s + LIVES_S)
        return token

    def whose(self, token: str, *, now_s: float) -> str | None:
        """Return the user this token was given to, while it lives."""
        user, until = self._given.get(token, ("", 0.0))
        return user if until > now_s else None
