"""Who is signed in at which browser. Sessions live in memory: a restart signs everybody out.

Time is measured on the loop's clock: moving a demonstration's clock to day 28 signs nobody out.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

COOKIE: Final = "__Host-vierogen"
"""The prefix makes browsers refuse it without Secure, with a Domain, or on another path (RFC 6265bis 4.1.3.2)."""

MOST_PER_PERSON: Final = 20
"""Open sessions of one person; beyond it the oldest ends."""

How = Literal["list", "key", "break-glass", "municipality"]
"""By what somebody came in: the demonstration's list, an own key, a key in an emergency, the municipality's sign-in."""


@dataclass(slots=True, kw_only=True)
class Session:
    """One person at one browser. `token` is the cookie; `csrf` goes into every form; `id` is for showing.

    `allowed`: the roles that the provider's groups leave in it, None: those of the register. `id_token`: what signs out
    at the provider.
    """

    official: str
    how: How
    token: str = field(repr=False)
    csrf: str = field(repr=False)
    id: str
    begun_s: float
    seen_s: float
    begun_at: datetime
    browser: str
    address: str
    allowed: frozenset[str] | None = None
    id_token: str = field(default="", repr=False)


class Sessions:
    """Every open session, by its cookie."""

    def __init__(self, *, idle_s: float, absolute_s: float) -> None:
        """A session ends `idle_s` after its last sign of life and `absolute_s` after its beginning."""
        self._idle_s, self._absolute_s = idle_s, absolute_s
        self._open: dict[str, Session] = {}

    def begin(
        self,
        official: str,
        *,
        how: How,
        now_s: float,
        at: datetime,
        browser: str = "",
        address: str = "",
        allowed: frozenset[str] | None = None,
        id_token: str = "",
    ) -> Session:
        """Sign `official` in at one browser, with a cookie that was never used before."""
        own = self.of(official, now_s=now_s)
        for oldest in own[MOST_PER_PERSON - 1 :]:
            self.end(oldest.token)
        session = Session(
            official=official,
            how=how,
            token=secrets.token_urlsafe(32),
            csrf=secrets.token_urlsafe(24),
            id=secrets.token_hex(8),
            begun_s=now_s,
            seen_s=now_s,
            begun_at=at,
            browser=browser,
            address=address,
            allowed=allowed,
            id_token=id_token,
        )
        self._open[session.token] = session
        return session

    def find(self, token: str | None, *, now_s: float) -> Session | None:
        """Return the session of this cookie, or None when there is none or its time is over. It counts as a sign of
        life.
        """
        session = self._open.get(token or "")
        if session is None:
            return None
        if self._over(session, now_s):
            self.end(session.token)
            return None
        session.seen_s = now_s
        return session

    def of(self, official: str, *, now_s: float) -> tuple[Session, ...]:
        """Return this person's open sessions, newest first; those whose time is over end here."""
        for session in [each for each in self._open.values() if self._over(each, now_s)]:
            self.end(session.token)
        return tuple(each for each in reversed(self._open.values()) if each.official == official)

    def left_s(self, session: Session, *, now_s: float) -> float:
        """Return how long it lasts at most, whatever its person does; who is warned in time loses nothing."""
        return max(0.0, session.begun_s + self._absolute_s - now_s)

    def end(self, token: str) -> None:
        """Sign out; ending what has ended is fine."""
        self._open.pop(token, None)

    def _over(self, session: Session, now_s: float) -> bool:
        return now_s - session.seen_s > self._idle_s or now_s - session.begun_s > self._absolute_s


def same_token(given: str, expected: str) -> bool:
    """Compare without telling by time how much was right."""
    return hmac.compare_digest(given.encode(), expected.encode())
