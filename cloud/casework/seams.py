"""What casework asks of the other parts of the cloud: no more than this."""

from typing import Any, Protocol

from broker.wire.entries import Opening
from broker.wire.tlog import Checkpoint
from cloud.ledger.once import Appends


class Entry(Protocol):
    """One entry of the ledger, with its proof."""

    @property
    def index(self) -> int:
        """Its place, from 0."""

    @property
    def raw(self) -> bytes:
        """The leaf: canonical JSON."""

    @property
    def proof(self) -> bytes:
        """That it stands in the log."""

    @property
    def opening(self) -> Opening | None:
        """What opens the commitment to the private text."""


class Ledger(Appends[Entry], Protocol):
    """The log of every act."""

    def checkpoint(self) -> Checkpoint:
        """Return how many entries there are."""

    async def read(self, first: int, last: int) -> tuple[tuple[int, bytes], ...]:
        """Return (index, bytes) of entries first..last-1, as far as there are."""


class Hub(Protocol):
    """Where browsers hear that something changed."""

    def publish(self, org: str, kind: str, data: dict[str, Any]) -> int:
        """Say it; return its number. Identifiers only."""


class ClosesCases(Protocol):
    """The Kluis, as far as the end of cases goes."""

    async def public(self) -> object:
        """Answer at all; raise Refused (UNAVAILABLE)."""

    async def close_case(self, *, entry: bytes, proof: bytes) -> None:
        """Never release for this case again; `entry` is the ledger's case.closed. Raises Refused."""


class Roster(Protocol):
    """The Kluis's own list of officials, which must follow the register."""

    async def carry_over(self, *, by: str) -> tuple[str, ...]:
        """Bring it in line with the register; return whose account changed. Raises Refused."""
