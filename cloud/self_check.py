"""Looks after the looking after: what a town's cloud can say of itself, gathered; judged in `cloud.rules.self_check`.

In the background it recomputes the whole ledger each night and writes a few bytes each five minutes. What it found lies
in one small file, which is also the write that is tried: after a restart the page knows when the last night was.
"""

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Final, NoReturn, Protocol

import msgspec
from sqlalchemy import func, select

from broker.clock import Clock, system_clock
from broker.durable import replace
from broker.identities import Identity
from broker.wire.entries import read_entry
from broker.wire.ids import Org
from broker.wire.refusals import Refused
from broker.wire.tlog import Tree, leaf_hash
from cloud.casework.policies import Policies
from cloud.database.engine import Database
from cloud.database.tables import alert_calls, alert_channels, holds, recordings
from cloud.fleet.register import Fleet
from cloud.kluis.messages import KluisPublic
from cloud.ledger.log import Ledger
from cloud.rules import self_check as rules
from cloud.rules.self_check import Finding
from cloud.rules.terms import day_of

LOG: Final = logging.getLogger(__name__)

LOOK_S: Final = 300.0
"""Wall time between two writes, and between two looks whether it is night again."""

TRIED_OFTEN: Final = 3
"""After so many attempts a warning that did not get out is not bad luck."""

EACH: Final = timedelta(hours=24)
AT_ONCE: Final = 1024
"""Entries read in one go while recomputing: others get their turn in between."""


class Kluis(Protocol):
    """What is asked of the Kluis."""

    async def public(self) -> KluisPublic:
        """Return its versions; raise Refused (UNAVAILABLE)."""


class Recomputed(msgspec.Struct, frozen=True, kw_only=True):
    """The last night's work. `root` in hexadecimal."""

    at: datetime
    size: int
    root: str
    intact: bool


async def _no_provider() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Whom this town's cloud relies on, beside what is its own. Each is asked when somebody looks.

    `provider`: the name of the municipality's sign-in and whether it answers, None without one. `eyes`: who looks at
    the ledger from outside, by their names in the rules.
    """

    identities: Callable[[], Awaitable[Mapping[str, Identity]]]
    provider: Callable[[], Awaitable[tuple[str, bool] | None]] = _no_provider
    eyes: Callable[[], Mapping[str, rules.Eye]] = dict


class SelfCheck:
    """One municipality's. `run` it in the background; `findings` when somebody asks."""

    def __init__(
        self,
        *,
        org: Org,
        database: Database,
        ledger: Ledger,
        kluis: Kluis,
        fleet: Fleet,
        policies: Policies,
        clock: Clock,
        outside: Outside,
        folder: Path,
        vault: Path,
        reserve_bytes: int,
        strays: Callable[[], tuple[int, datetime | None]] = lambda: (0, None),
    ) -> None:
        """`folder` is the cloud's own; the file it keeps there, and the vault's disk, are what is looked at.

        `strays`: how many segments are in no recording, and since when the oldest of them is here by this machine.
        """
        self._org, self._database, self._ledger, self._kluis = org, database, ledger, kluis
        self._fleet, self._policies, self._clock, self._outside = fleet, policies, clock, outside
        self._file, self._vault, self._reserve = folder / "self-check.json", vault, reserve_bytes
        self._strays = strays
        self._recomputed: Recomputed | None = None
        self._written_s: float | None = None
        self._written_at: float | None = None

    async def run(self) -> NoReturn:
        """Recompute each night, write each five minutes; whatever fails is shown, and tried again."""
        await self.remember()
        while True:
            if self._recomputed is None or not timedelta(0) <= self._clock() - self._recomputed.at < EACH:
                await self.recompute()
            await self.write()
            await asyncio.sleep(LOOK_S)

    async def remember(self) -> None:
        """Read what the last process left."""
        try:
            self._recomputed = msgspec.json.decode(await asyncio.to_thread(self._file.read_bytes), type=Recomputed)
        except (FileNotFoundError, msgspec.DecodeError):
            self._recomputed = None  # never yet; the first round makes it

    async def recompute(self) -> Recomputed | None:
        """Recompute the ledger from its entries, and see that it only grew since the last time; return what was found.

        None: it could not be read; the last verdict stands, and grows old.
        """
        try:
            found = await self._recompute()
        except (Refused, OSError, ValueError) as cause:
            LOG.error("self-check[%s]: the ledger cannot be read: %s", self._org, cause)  # noqa: TRY400
            return None
        if not found.intact:
            LOG.error("self-check[%s]: the ledger is not what was signed", self._org)
        self._recomputed = found
        return found

    async def _recompute(self) -> Recomputed:
        promised, before, tree, agrees = self._ledger.checkpoint(), self._recomputed, Tree(), True
        for first in range(0, promised.size, AT_ONCE):
            entries = await self._ledger.read(first, min(first + AT_ONCE, promised.size))
            await asyncio.to_thread(_grow, tree, [raw for _, raw in entries])
        if before is not None and before.intact and 0 < before.size <= tree.size:
            agrees = tree.root(before.size).hex() == before.root
        return Recomputed(
            at=self._clock(),
            size=promised.size,
            root=tree.root().hex(),
            intact=agrees and tree.size == promised.size and tree.root() == promised.root,
        )

    async def write(self) -> None:
        """Write what is known, synced, and remember how long that took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await asyncio.to_thread(replace, self._file, msgspec.json.encode(self._recomputed))
        except OSError as cause:
            LOG.error("self-check[%s]: nothing can be written: %s", self._org, cause)  # noqa: TRY400
            self._written_s = None
            return
        self._written_at = loop.time()
        self._written_s = self._written_at - began

    async def findings(self, *, screens: int) -> tuple[Finding, ...]:
        """Look at everything now, in the order of the page. `screens`: pages of the desk that are open."""
        if self._written_at is None:
            await self.write()
        now = self._clock()
        policy = await self._policies.current(self._org)
        try:
            kluis: KluisPublic | None = await self._kluis.public()
        except Refused:
            kluis = None
        about = policy.policy
        provider = await self._outside.provider()
        strays, oldest = self._strays()
        return (
            self._ledger_finding(now),
            await self._destruction(now),
            rules.judge_strays(count=strays, oldest=oldest, now=system_clock()),
            rules.judge_kluis(answers=kluis is not None),
            rules.judge_policy(
                in_force=about.version,
                kluis=kluis.policy_version if kluis else None,
                valid_until=about.valid_until,
                today=day_of(now),
            ),
            await self._storage(),
            rules.judge_broker(hearing=self._fleet.is_listening(self._org), services=self._fleet.services(self._org)),
            rules.judge_alerting(screens=screens, channels=await self._channels()),
            rules.judge_certificates(await self._certificates()),
            await self._clock_finding(now),
            rules.judge_identity(provider=provider[0] if provider else None, answers=provider[1] if provider else True),
            rules.judge_witness(self._outside.eyes(), now=system_clock()),
        )

    def _ledger_finding(self, now: datetime) -> Finding:
        last = self._recomputed
        return rules.judge_ledger(
            size=self._ledger.checkpoint().size,
            verified_at=last.at if last else None,
            verified_size=last.size if last else 0,
            intact=last.intact if last else False,
            now=now,
        )

    async def _destruction(self, now: datetime) -> Finding:
        held = select(holds.c.recording).where(
            holds.c.org == self._org, holds.c.state.not_in(("released", "lapsed")), holds.c.recording.is_not(None)
        )
        late = (
            recordings.c.org == self._org,
            recordings.c.state.in_(("retained", "due", "restricted", "quarantined", "destroying")),
            recordings.c.expires_at <= now,
            recordings.c.id.not_in(held),
        )
        async with self._database.transaction() as t:
            last = (
                await t.execute(select(func.max(recordings.c.destroyed_at)).where(recordings.c.org == self._org))
            ).scalar_one_or_none()
            count, oldest = (
                await t.execute(select(func.count(), func.min(recordings.c.expires_at)).where(*late))
            ).one()
        return rules.judge_destruction(last_at=last, late=count, oldest=oldest, now=now)

    async def _channels(self) -> dict[str, bool]:
        """Return each way by which somebody asked to be warned, and whether what is said over it gets out."""
        ours = (alert_channels.c.org == self._org) & alert_channels.c.confirmed_at.is_not(None)
        failing = (
            select(alert_channels.c.route)
            .join(alert_calls, alert_calls.c.channel == alert_channels.c.id)
            .where(ours, alert_calls.c.delivered_at.is_(None), alert_calls.c.attempts >= TRIED_OFTEN)
        )
        async with self._database.transaction() as t:
            routes = set((await t.execute(select(alert_channels.c.route).where(ours))).scalars())
            broken = set((await t.execute(failing)).scalars())
        return {route: route not in broken for route in routes}

    async def _storage(self) -> Finding:
        usage = await asyncio.to_thread(shutil.disk_usage, self._vault)
        ago = None if self._written_at is None else asyncio.get_running_loop().time() - self._written_at
        return rules.judge_storage(
            free_bytes=usage.free,
            total_bytes=usage.total,
            reserve_bytes=self._reserve,
            written_s=self._written_s,
            written_ago=None if ago is None else timedelta(seconds=ago),
        )

    async def _certificates(self) -> dict[str, int]:
        """Certificates live by the machine's own calendar, never by a demonstration clock."""
        known = await self._outside.identities()
        today = system_clock()
        return {name: (each.not_after - today).days for name, each in known.items() if each.revoked_at is None}

    async def _clock_finding(self, now: datetime) -> Finding:
        size = self._ledger.checkpoint().size
        newest = await self._ledger.read(size - 1, size) if size else ()
        behind = max(((read_entry(raw).at - now).total_seconds() for _, raw in newest), default=0.0)
        ahead = [card.clock_offset_ms / 1000 for card in self._fleet.cards(self._org) if card.last_seen_at is not None]
        return rules.judge_clock(
            behind_ledger_s=max(0.0, behind), cameras=len(ahead), cameras_ahead_s=median(ahead) if ahead else 0.0
        )


def _grow(tree: Tree, entries: list[bytes]) -> None:
    for raw in entries:
        tree.append(leaf_hash(raw))
