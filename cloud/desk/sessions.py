"""Who is signed in at which browser. Sessions live in memory: a restart signs everybody out.

Stillness is measured on the loop's clock: moving a demonstration's clock to day 28 signs nobody out.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final

COOKIE: Final = "__Host-vierogen"
"""The prefix makes browsers refuse it without Secure, with a Domain, or on another path (RFC 6265bis 4.1.3.2)."""

IDLE_S: Final = 36_000.0
"""A session ends after this much stillness: longer than a shift, shorter than a day."""


@dataclass(slots=True, kw_only=True)
class Session:
    """One person at one browser. `token` is the cookie; `csrf` goes into every form."""

    official: str
    token: str = field(repr=False)
    csrf: str = field(repr=False)
    seen_s: float


class Sessions:
    """Every open session, by its cookie."""

    def __init__(self) -> None:
        self._open: dict[str, Session] = {}

    def begin(self, official: str, *, now_s: float) -> Session:
        """Sign `official` in at one browser."""
        session = Session(
            official=official, token=secrets.token_urlsafe(32), csrf=secrets.token_urlsafe(24), seen_s=now_s
        )
        self._open[session.token] = session
        return session

    def find(self, token: str | None, *, now_s: float) -> Session | None:
        """Return the session of this cookie, or None when there is none or it was still for too long."""
        session = self._open.get(token or "")
        if session is None:
            return None
        if now_s - session.seen_s > IDLE_S:
            self.end(session.token)
            return None
        session.seen_s = now_s
        return session

    def end(self, token: str) -> None:
        """Sign out; ending what has ended is fine."""
        self._open.pop(token, None)


def same_token(given: str, expected: str) -> bool:
    """Compare without telling by time how much was right."""
    return hmac.compare_digest(given.encode(), expected.encode())
