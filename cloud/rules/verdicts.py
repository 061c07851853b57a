"""A verdict: allowed or not, and the reason in both languages. Every rule about what people may do gives one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of a rule; `because` is English, `waarom` is Dutch, both one sentence without a name in it."""

    allowed: bool
    because: str
    waarom: str

    def __bool__(self) -> bool:
        """Whether it is allowed."""
        return self.allowed


def allow(because: str, waarom: str) -> Verdict:
    """Return the verdict that allows."""
    return Verdict(allowed=True, because=because, waarom=waarom)


def deny(because: str, waarom: str) -> Verdict:
    """Return the verdict that denies."""
    return Verdict(allowed=False, because=because, waarom=waarom)
