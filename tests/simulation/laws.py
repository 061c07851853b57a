"""What must hold at the end of every day, read from the tables and the means alone: no rule of the product is asked."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row, select

from cloud.database.tables import holds, recordings, segments
from tests.adapters.casework.office import Town
from tests.adapters.retention.means import CertifyingKluis, RememberingVault

HERE = ZoneInfo("Europe/Amsterdam")
GONE = ("destroying", "destroyed")


@dataclass
class Laws:
    """Remembers what it saw, so that it can say what changed."""

    town: Town
    kluis: CertifyingKluis
    vault: RememberingVault
    days: int
    terms: dict[str, datetime] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    digests: dict[str, set[str]] = field(default_factory=dict)

    async def check(self) -> None:
        """Raise AssertionError naming the law and the recording."""
        now = self.town.clock()
        async with self.town.database.transaction() as t:
            rows = (await t.execute(select(recordings).where(recordings.c.org == self.town.org))).all()
            placed = (await t.execute(select(holds).where(holds.c.org == self.town.org))).all()
            for recording, digest in await t.execute(select(segments.c.recording, segments.c.digest)):
                self.digests.setdefault(recording, set()).add(digest)
        named: dict[str, list[Row[Any]]] = {}
        of_incident: dict[str, list[Row[Any]]] = {}
        for hold in placed:
            if hold.outcome is None:
                among, key = (named, hold.recording) if hold.recording else (of_incident, hold.incident)
                among.setdefault(key, []).append(hold)
        by_name = {(hold.case_id, hold.recording) for hold in placed if hold.recording}
        for row in rows:
            on_it = named.get(row.id, []) + [
                hold for hold in of_incident.get(row.incident, ()) if (hold.case_id, row.id) not in by_name
            ]
            self._survives_no_day(row, [hold for hold in on_it if _stands(hold, now)], now)
            self._is_kept_or_destroyed(row, self.digests.get(row.id, set()))
            self._first_hold_wins(row, on_it)
            self._term_never_grows(row)

    def _survives_no_day(self, row: Row[Any], standing: list[Row[Any]], now: datetime) -> None:
        if row.state not in GONE and not standing:
            assert row.expires_at > now, f"survived its day without a hold: {row}"

    def _is_kept_or_destroyed(self, row: Row[Any], digests: set[str]) -> None:
        name, state = row.id, row.state
        there = digests & self.vault.held
        if state == "destroyed":
            assert name not in self.kluis.keys, f"destroyed, but its key lives: {row}"
            assert not there, f"destroyed, but its bytes are there: {row}"
            assert row.certificate, f"destroyed without a certificate: {row}"
            self.gone.add(name)
        else:
            assert name not in self.gone, f"came back: {row}"
            if state != "destroying":
                assert name in self.kluis.keys, f"kept, but its key is gone: {row}"
                assert there == digests, f"kept, but not all of it: {row}"

    def _first_hold_wins(self, row: Row[Any], on_it: list[Row[Any]]) -> None:
        if row.state not in GONE:
            return
        taken_at = row.destroying_at
        for hold in on_it:
            if hold.placed_at >= taken_at:
                continue
            ended = [at for at in (hold.released_at, hold.lapses_at) if at is not None]
            assert ended, f"destroyed under a hold that stood: {row} {hold}"
            assert min(ended) <= taken_at, f"destroyed before its hold ended: {row} {hold}"

    def _term_never_grows(self, row: Row[Any]) -> None:
        name, expires = row.id, row.expires_at
        ended = row.ended_at.astimezone(HERE)
        own_day = datetime.combine(ended.date() + timedelta(days=self.days), ended.time(), tzinfo=HERE)
        assert expires <= own_day, f"a term past its day: {row}"
        assert expires <= self.terms.setdefault(name, expires), f"a term that grew: {row}"
        self.terms[name] = expires


def _stands(hold: Row[Any], now: datetime) -> bool:
    lapsed = hold.state == "provisional" and hold.lapses_at is not None and hold.lapses_at <= now
    return hold.state in ("provisional", "active", "release_requested") and not lapsed
