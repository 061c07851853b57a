"""What the Kluis remembers: a journal that says what happened, and a store of rows that follows it.

The journal comes first, always. The store is brought after it in one transaction; where that did not happen (the
process died, the store was put back from a backup) it happens at the next start, before anything is answered. What the
journal must not hold, the keys themselves, exists in the store alone.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from broker.wire.approvals import REQUEST_SHA256
from broker.wire.certificates import Certificate, sign_certificate
from broker.wire.entries import LedgerEntry, read_entry, write_entry
from broker.wire.ids import parse_recording
from broker.wire.keylist import Epoch
from broker.wire.recording import Recipient, XWingKeyPair, xwing_from_seed
from cloud.kluis.about import About
from cloud.kluis.keys import KEY_BYTES, Generations, KluisDamaged, Root, open_row, seal_row
from cloud.kluis.store import Store, read_moment, written
from cloud.ledger.tiles import TileLog

EPOCH_ZERO: Final = datetime(1970, 1, 5, tzinfo=UTC)
"""A Monday: week 0 of the intake keys starts here."""

WEEK: Final = timedelta(days=7)

ACTOR: Final = "svc-kluis"


class Memory:
    """Journal and store of one Kluis, the second as far as the first. Use from one thread at a time."""

    def __init__(self, folder: Path, *, root: Root, about: About, store: Store, journal: TileLog) -> None:
        self._folder, self._root = folder, root
        self.about, self.store, self.journal = about, store, journal
        self.generations = Generations(folder / "generations", root)
        self.catch_up()

    def close(self) -> None:
        """Let go of both."""
        self.store.close()
        self.journal.close()

    def generation(self) -> int:
        """Return the number of the vault key's newest generation."""
        row = self.store.row("SELECT max(generation) AS newest FROM generations")
        assert row is not None
        return int(row["newest"])

    def open(self, generation: int, sealed: bytes, *, about: bytes) -> bytes | None:
        """Return what the row holds, or None when its generation is gone (an old store was put back)."""
        if not self.generations.exists(generation):
            return None
        return open_row(self.generations.key(generation), sealed, about=about)

    def _retire(self, old: int, new: int, at: datetime) -> None:
        """Seal all that can still be opened under the new generation; the old one lives as long as its backups."""
        until = at + timedelta(days=self.about.settings.backup_days)
        self.store.do(
            "UPDATE generations SET retired_at = ?, destroy_after = ? WHERE generation = ? AND retired_at IS NULL",
            written(at),
            written(until),
            old,
        )
        self.store.do("INSERT OR IGNORE INTO generations VALUES (?, ?, NULL, NULL, NULL)", new, written(at))
        for row in self.store.rows("SELECT recording, generation, sealed FROM held WHERE generation < ?", new):
            sealed = self._reseal(row["generation"], row["sealed"], new, about=about_recording(row["recording"]))
            if sealed is not None:
                self.store.do(
                    "UPDATE held SET generation = ?, sealed = ? WHERE recording = ?", new, sealed, row["recording"]
                )
        for row in self.store.rows("SELECT epoch, generation, sealed FROM epochs WHERE generation < ?", new):
            sealed = self._reseal(row["generation"], row["sealed"], new, about=about_epoch(row["epoch"]))
            if sealed is None:
                self.store.do("DELETE FROM epochs WHERE epoch = ?", row["epoch"])
            else:
                self.store.do("UPDATE epochs SET generation = ?, sealed = ? WHERE epoch = ?", new, sealed, row["epoch"])

    def _reseal(self, old: int, sealed: bytes, new: int, *, about: bytes) -> bytes | None:
        plain = self.open(old, sealed, about=about)
        return None if plain is None else seal_row(self.generations.key(new), plain, about=about)

    def enter(
        self,
        kind: str,
        *,
        subject: str,
        at: datetime,
        facts: Mapping[str, Any],
        also: Callable[[], None] | None = None,
    ) -> int:
        """Journal first, then its effect in the store (and `also` what the journal must not hold); return its index."""
        index = self.journal.append([write_entry(kind, subject=subject, actor=ACTOR, at=at, facts=facts)])
        self.catch_up(also)
        return index

    def catch_up(self, also: Callable[[], None] | None = None) -> None:
        """Apply, in one transaction, what the journal knows and the store does not."""
        applied, known = int(self.store.recall("applied")), self.journal.checkpoint.size
        if applied > known:
            raise KluisDamaged(
                f"{self._folder}: the journal has {known} entries, the store counts {applied}: the journal was put "
                "back from a backup; put back the newest one"
            )
        with self.store.transaction():
            for _, raw in self.journal.read(applied, known):
                self._apply(read_entry(raw))
            if also is not None:
                also()
            self.store.remember("applied", b"%d" % known)

    def _apply(self, entry: LedgerEntry) -> None:
        """Do to the store what this entry of the journal says; doing it twice does nothing more."""
        match entry.kind:
            case "key.destroying":
                self._apply_destruction(entry)
            case "key.final":
                self._apply_final(entry)
            case "keys.released":
                digest = bytes.fromhex(str(entry.facts[REQUEST_SHA256]))
                self.store.do("INSERT OR IGNORE INTO used VALUES (?, ?, ?)", entry.subject, digest, written(entry.at))
            case "case.closed":
                self.store.do("INSERT OR IGNORE INTO closed_cases VALUES (?)", entry.subject)
            case "epoch.destroying":
                self.store.do("DELETE FROM epochs WHERE epoch = ?", int(entry.subject))
            case "epoch.made":
                # Its key was never handed out unless the store took it: what is not there is made anew.
                pass
            case "generation.rotated":
                self._retire(int(entry.facts["from"]), int(entry.subject), entry.at)
            case "generation.destroying":
                self.generations.destroy(int(entry.subject))
                self.store.do(
                    "UPDATE generations SET destroyed_at = ? WHERE generation = ?",
                    written(entry.at),
                    int(entry.subject),
                )
            case _:
                pass  # says what happened, changes nothing here

    def _apply_destruction(self, entry: LedgerEntry) -> None:
        facts = entry.facts
        certificate = Certificate(
            org=self.about.org,
            recording=parse_recording(entry.subject),
            state="executed",
            held=facts["held"],
            commitment=facts["commitment"],
            head_sha256=facts["head_sha256"],
            rule=facts["rule"],
            entry_sha256=facts["entry_sha256"],
            executed_at=entry.at,
            generation=facts["generation"],
            final_after=read_moment(facts["final_after"]),
        )
        self.store.do("DELETE FROM held WHERE recording = ?", entry.subject)
        self.store.do(
            "INSERT OR IGNORE INTO destroyed VALUES (?, ?, ?, ?, NULL)",
            entry.subject,
            certificate.generation,
            msgspec.json.encode(certificate),
            sign_certificate(certificate, self._root.signing_key),
        )

    def _apply_final(self, entry: LedgerEntry) -> None:
        row = self.store.row("SELECT facts FROM destroyed WHERE recording = ?", entry.subject)
        assert row is not None, "key.destroying stands before key.final"
        executed = msgspec.json.decode(row["facts"], type=Certificate)
        final = msgspec.structs.replace(executed, state="final", final_at=entry.at)
        self.store.do(
            "UPDATE destroyed SET final = ? WHERE recording = ? AND final IS NULL",
            sign_certificate(final, self._root.signing_key),
            entry.subject,
        )

    def make_epochs(self, numbers: Sequence[int], now: datetime) -> None:
        """Make the keys of the weeks that have none yet, with one entry in the journal for each."""
        have = {row["epoch"] for row in self.store.rows("SELECT epoch FROM epochs")}
        made = {number: xwing_from_seed(secrets.token_bytes(KEY_BYTES)) for number in numbers if number not in have}
        if not made:
            return
        self.journal.append(
            [
                write_entry("epoch.made", subject=str(number), actor=ACTOR, at=now, facts={"key_id": pair.key_id.hex()})
                for number, pair in made.items()
            ]
        )
        self.catch_up(lambda: self._keep_epochs(made))

    def _keep_epochs(self, made: Mapping[int, XWingKeyPair]) -> None:
        generation = self.generation()
        for number, pair in made.items():
            start = EPOCH_ZERO + number * WEEK
            self.store.do(
                "INSERT INTO epochs VALUES (?, ?, ?, ?, ?, ?, ?)",
                number,
                pair.public_key,
                pair.key_id,
                written(start),
                written(start + WEEK),
                generation,
                seal_row(self.generations.key(generation), pair.seed, about=about_epoch(number)),
            )

    def epoch(self, number: int) -> Epoch:
        """Return this week's public keys; they are made."""
        row = self.store.row("SELECT * FROM epochs WHERE epoch = ?", number)
        assert row is not None, "made just before"
        return Epoch(
            epoch=number,
            recipients=(Recipient(key_id=bytes(row["key_id"]), public_key=bytes(row["public_key"])),),
            valid_from=read_moment(row["valid_from"]),
            valid_until=read_moment(row["valid_until"]),
        )


def about_recording(recording: str) -> bytes:
    """Return what a held row is bound to."""
    return b"vier-ogen/held/v1\0" + parse_recording(recording).bytes


def about_epoch(epoch: int) -> bytes:
    """Return what an intake key's row is bound to."""
    return b"vier-ogen/epoch/v1\0" + epoch.to_bytes(4, "big")
