"""The Kluis itself: takes keys into custody, gives them out to two people, destroys them. Nothing else opens footage.

It believes its own roster, its own policy, the ledger's signature, and nobody's word. What it does stands in its own
journal before it does it: see memory.py, which also says why an old backup brings nothing back.

Synchronous, for one thread; `service.py` puts it behind a socket.
"""

import contextlib
import hashlib
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from broker.wire.approvals import (
    REQUEST_SHA256,
    Place,
    Range,
    Statement,
    ViewingRequest,
    approval_challenge,
    change_challenge,
    read_request,
    request_challenge,
)
from broker.wire.certificates import Certificate
from broker.wire.content_key import content_info, read_key_file
from broker.wire.entries import read_entry, write_entry
from broker.wire.ids import RecordingId, fixed_at, parse_org, parse_recording, tenant_id
from broker.wire.keylist import KeyList, sign_keylist
from broker.wire.policy import Policy, PolicyError, read_policy
from broker.wire.recording import (
    Kind,
    open_data_key,
    open_segment,
    read_end,
    read_head,
    read_segment,
    seal_to,
    segment_keys,
    unwrap_share,
    xwing_from_seed,
)
from broker.wire.refusals import Code, Refused, refuse
from broker.wire.tlog import Checkpoint, leaf_hash
from cloud.kluis.about import About, document_path, load_document, write_document
from cloud.kluis.content_keys import ContentKeys
from cloud.kluis.enrolment import check_again, find_credential
from cloud.kluis.keys import (
    KEY_BYTES,
    KluisDamaged,
    Root,
    open_row,
    seal_row,
)
from cloud.kluis.memory import ACTOR, EPOCH_ZERO, WEEK, Memory, about_epoch, about_recording
from cloud.kluis.messages import (
    Certificates,
    Documents,
    Housekeeping,
    Item,
    KluisPublic,
    Released,
    ReleasedRecording,
)
from cloud.kluis.rules.release import Act, Permit, Trust, check_act, check_two_signed, judge_seats, permit
from cloud.kluis.rules.roster import (
    Official,
    check_change,
    read_roster,
    write_roster,
)
from cloud.kluis.store import Store, read_moment, written
from cloud.ledger.tiles import LedgerUnwritable, TileLog
from cloud.rules.versions import version_at

DESTROYING: Final = ("retention.destroying",)
"""Kinds of ledger entries that order a key destroyed: by the clock, or by people (their rule says which)."""

CASE_CLOSED: Final = ("case.closed",)

_KIND_OF_DOCUMENT: Final[Mapping[Literal["roster", "policy"], str]] = {
    "roster": "roster.changed",
    "policy": "policy.adopted",
}


class Kluis:
    """One municipality's Kluis. Every method that refuses raises Refused.

    Who asks for a key, for destruction or for a change and is refused stands in the journal; intake needs no journal.
    """

    def __init__(self, folder: Path, *, root: Root, about: About, store: Store, journal: TileLog) -> None:
        self._folder, self._root, self._about = folder, root, about
        self._memory = Memory(folder, root=root, about=about, store=store, journal=journal)
        self._content = ContentKeys(folder / "content", root)
        self._adopted: list[tuple[datetime, Policy]] = []
        self._trust = self._read_trust()

    @classmethod
    def open(cls, folder: Path) -> "Kluis":
        """Open the Kluis in this folder as its one process; raise FileNotFoundError, KluisDamaged, LedgerUnwritable.

        Whatever the journal knows and the store does not (it was restored, or its process died) is applied first.
        """
        root = Root((folder / "root.key").read_bytes())
        with contextlib.ExitStack() as undo:
            store = Store.open(folder / "store.sqlite")
            undo.callback(store.close)
            about = msgspec.json.decode(store.recall("about"), type=About)
            if root.signing_key.public_key().public_bytes_raw() != about.signing_key:
                raise KluisDamaged(f"{folder}: root.key is not the root of this store")
            journal = TileLog.open(folder / "journal", origin=about.journal_origin, key=root.journal_key)
            undo.callback(journal.close)
            kluis = cls(folder, root=root, about=about, store=store, journal=journal)
            undo.pop_all()
            return kluis

    @property
    def org(self) -> str:
        """The municipality."""
        return self._about.org

    def close(self) -> None:
        """Let go of the folder."""
        self._memory.close()

    def public(self) -> KluisPublic:
        """Return what anybody may know."""
        counts = self._memory.store.row(
            "SELECT (SELECT count(*) FROM held) AS held, (SELECT count(*) FROM destroyed) AS gone"
        )
        assert counts is not None
        return KluisPublic(
            org=self._about.org,
            mode=self._about.mode.value,
            signing_key=self._about.signing_key,
            journal_origin=self._about.journal_origin,
            journal_key=self._root.journal_key.public_key().public_bytes_raw(),
            policy_version=self._trust.policy.version,
            roster_version=self._trust.roster.version,
            roster_sha256=hashlib.sha256(write_roster(self._trust.roster)).hexdigest(),
            held=counts["held"],
            destroyed=counts["gone"],
            generation=self._memory.generation(),
        )

    def documents(self, now: datetime) -> Documents:
        """Return the roster and the policy in force, signed."""
        names = {"roster": self._trust.roster.version, "policy": self._trust.policy.version}
        found = {kind: document_path(self._folder, kind, number).read_bytes() for kind, number in names.items()}
        return Documents(roster=found["roster"], policy=found["policy"], at=now)

    def keylist(self, now: datetime) -> bytes:
        """Return the signed list of intake keys; makes the coming weeks' keys where they are not there yet."""
        week = (now - EPOCH_ZERO) // WEEK
        weeks = range(week, week + 1 + self._about.settings.upcoming_weeks)
        self._memory.make_epochs(weeks, now)
        first, *upcoming = (self._memory.epoch(number) for number in weeks)
        return sign_keylist(
            KeyList(
                org=self._about.org,
                epoch=first.epoch,
                recipients=first.recipients,
                valid_from=first.valid_from,
                valid_until=first.valid_until,
                upcoming=tuple(upcoming),
                issued_at=now,
            ),
            self._root.signing_key,
        )

    def intake(self, head: bytes, *, camera_public_key: bytes, end: bytes | None, now: datetime) -> None:
        """Take a recording's key into custody; idempotent.

        Raises Refused: WRONG_TENANT, DESTROYED (for ever), NOT_FOUND (sealed to a key that is gone or not ours: it
        docked too late), CONFLICT (another head under this id), or what is wrong with the bytes. Needs no journal:
        intake goes on when that cannot be written.
        """
        camera = _camera_key(camera_public_key)
        read = read_head(head, camera)
        if read.tenant != tenant_id(parse_org(self._about.org)):
            raise refuse(Code.WRONG_TENANT, "recording", expected=self._about.org, got="another municipality's")
        digest, recording = hashlib.sha256(head).digest(), str(read.recording)
        if self._memory.store.row("SELECT 1 FROM destroyed WHERE recording = ?", recording):
            raise refuse(
                Code.DESTROYED, f"recording {recording}", expected="one that is not destroyed", got="destroyed"
            )
        segments = self._segments(read.recording, camera, end)
        known = self._memory.store.row("SELECT head_sha256, segments FROM held WHERE recording = ?", recording)
        if known is not None:
            if bytes(known["head_sha256"]) != digest:
                raise refuse(Code.CONFLICT, f"recording {recording}", expected="the head that is here", got="another")
            if segments is not None and known["segments"] is None:
                with self._memory.store.transaction():
                    self._memory.store.do("UPDATE held SET segments = ? WHERE recording = ?", segments, recording)
            return
        if len(read.shares) != 1:
            raise refuse(Code.NOT_ALLOWED, "head", expected="one share, for the Kluis", got=f"{len(read.shares)}")
        epoch = self._memory.store.row("SELECT * FROM epochs WHERE key_id = ?", read.shares[0].key_id)
        if epoch is None:
            raise refuse(
                Code.NOT_FOUND,
                "intake key",
                expected="a key of a week that is still open",
                got=read.shares[0].key_id.hex(),
            )
        seed = open_row(
            self._memory.generations.key(epoch["generation"]), epoch["sealed"], about=about_epoch(epoch["epoch"])
        )
        data_key = open_data_key(read, (unwrap_share(read, 0, xwing_from_seed(seed)),))
        generation = self._memory.generation()
        with self._memory.store.transaction():
            self._memory.store.do(
                "INSERT INTO held VALUES (?, ?, ?, ?, ?, ?, ?)",
                recording,
                generation,
                seal_row(self._memory.generations.key(generation), data_key + head, about=about_recording(recording)),
                read.commitment,
                digest,
                segments,
                written(now),
            )

    def release(
        self,
        request: bytes,
        *,
        statements: Sequence[Statement],
        entries: Sequence[bytes],
        proofs: Sequence[bytes],
        now: datetime,
    ) -> Released:
        """Return the keys that two people asked for, sealed to their session; raise Refused at the first doubt.

        A request is used once: whoever lost the answer asks again, and signs again.
        """
        try:
            return self._release(request, statements=statements, entries=entries, proofs=proofs, now=now)
        except Refused as refused:
            self._note_refusal("release.refused", hashlib.sha256(request).hexdigest(), refused, now=now)
            raise

    def content_key(
        self, request: bytes, *, journal_index: int, camera_public_key: bytes, segment: bytes, now: datetime
    ) -> bytes:
        """Return the key of a clip that its camera encrypted, sealed to the session of a request that was released.

        `journal_index` is that release's, `segment` holds the clip's key file: within what was released, as its camera
        sealed it. Within the request's own quarter of an hour only; each stands in the journal.
        Raise Refused at the first doubt.
        """
        digest = hashlib.sha256(request).digest()
        try:
            asked = self._released_just_now(request, digest, journal_index, now=now)
            wrapped = self._wrapped_key(asked, segment, camera_public_key)
            key, opened_by = self._content.open(wrapped)
        except Refused as refused:
            self._note_refusal("content.refused", digest.hex(), refused, now=now)
            raise
        facts = {
            REQUEST_SHA256: digest.hex(),
            "wrapped_sha256": hashlib.sha256(wrapped).hexdigest(),
            "content_key": opened_by,
        }
        self._memory.enter("content.opened", subject=asked.id, at=now, facts=facts)
        session = b64decode(asked.session_key, validate=True)
        return seal_to(session, key, info=content_info(digest, wrapped))

    def add_content_key(self, private: RSAPrivateKey, now: datetime) -> str:
        """Keep a content key of the municipality and return its id; that it is here stands in the journal."""
        name = self._content.add(private)
        self.note("content.added", subject=self.org, at=now, facts={"content_key": name})
        return name

    def destroy(self, recording: RecordingId, *, entry: bytes, proof: bytes, now: datetime) -> bytes:
        """Destroy this recording's key for ever and return the *executed* certificate; the same one when repeated.

        `entry` is the ledger's order (retention.destroying, subject the recording), `proof` its inclusion.
        """
        try:
            act = check_act(entry, proof, kinds=DESTROYING, trust=self._trust)
            if act.entry.subject != str(recording):
                raise refuse(Code.NOT_ALLOWED, "ledger entry", expected=f"about {recording}", got=act.entry.subject)
            self._see((act.checkpoint,))
        except Refused as refused:
            self._note_refusal("destroy.refused", str(recording), refused, now=now)
            raise
        done = self._memory.store.row("SELECT executed FROM destroyed WHERE recording = ?", str(recording))
        if done is None:
            self._memory.enter(
                "key.destroying", subject=str(recording), at=now, facts=self._last_facts(act, entry, now)
            )
            done = self._memory.store.row("SELECT executed FROM destroyed WHERE recording = ?", str(recording))
            assert done is not None
        return bytes(done["executed"])

    def certificates(self, recording: RecordingId) -> Certificates:
        """Return the certificates of a destruction; raise Refused (NOT_FOUND)."""
        row = self._memory.store.row("SELECT executed, final FROM destroyed WHERE recording = ?", str(recording))
        if row is None:
            raise refuse(Code.NOT_FOUND, "certificate", expected="a destroyed recording", got=recording)
        return Certificates(executed=bytes(row["executed"]), final=bytes(row["final"]) if row["final"] else None)

    def inventory(self) -> tuple[Item, ...]:
        """Return every recording the Kluis knows, by id."""
        held = self._memory.store.rows("SELECT recording, commitment, generation FROM held")
        gone = self._memory.store.rows("SELECT recording, facts, final FROM destroyed")
        alive = {each for each in {row["generation"] for row in held} if self._memory.generations.exists(each)}
        items = [
            Item(
                recording=row["recording"],
                commitment=bytes(row["commitment"]).hex(),
                state="held" if row["generation"] in alive else "unreadable",
            )
            for row in held
        ] + [
            Item(
                recording=row["recording"],
                commitment=msgspec.json.decode(row["facts"], type=Certificate).commitment,
                state="final" if row["final"] else "destroyed",
            )
            for row in gone
        ]
        return tuple(sorted(items, key=lambda item: item.recording))

    def change(
        self,
        kind: Literal["roster", "policy"],
        document: bytes,
        *,
        statements: Sequence[Statement],
        entry: bytes,
        proof: bytes,
        now: datetime,
    ) -> None:
        """Put a new roster (canonical JSON) or policy (TOML) in force; raise Refused.

        Two officials of the present roster sign change_challenge(document); the ledger holds roster.changed or
        policy.adopted with the fact `sha256` of the document.
        """
        try:
            version = self._check_change(kind, document, statements=statements, entry=entry, proof=proof, now=now)
        except Refused as refused:
            self._note_refusal(f"{kind}.refused", hashlib.sha256(document).hexdigest(), refused, now=now)
            raise
        write_document(self._folder, self._root, kind, version, document)
        facts = {"version": version, "sha256": hashlib.sha256(document).hexdigest()}
        self._memory.enter(_KIND_OF_DOCUMENT[kind], subject=self._about.org, at=now, facts=facts)
        self._trust = self._read_trust()

    def close_case(self, *, entry: bytes, proof: bytes, now: datetime) -> None:
        """Never release for this case again; `entry` is the ledger's case.closed."""
        try:
            act = check_act(entry, proof, kinds=CASE_CLOSED, trust=self._trust)
            self._see((act.checkpoint,))
        except Refused as refused:
            self._note_refusal("case.refused", hashlib.sha256(entry).hexdigest(), refused, now=now)
            raise
        if self._memory.store.row("SELECT 1 FROM closed_cases WHERE case_id = ?", act.entry.subject) is None:
            self._memory.enter("case.closed", subject=act.entry.subject, at=now, facts={})

    def keep_house(self, now: datetime) -> Housekeeping:
        """Destroy what is over: weeks whose window closed, generations whose backups expired; rotate when due."""
        epochs = self._destroy_epochs(now)
        made = self._memory.store.row("SELECT made_at FROM generations WHERE generation = ?", self._memory.generation())
        assert made is not None
        due = now - read_moment(made["made_at"]) >= timedelta(hours=self._about.settings.rotate_hours)
        rotated = self.rotate(now) if due else None
        generations = self._destroy_generations(now)
        return Housekeeping(
            epochs_destroyed=epochs,
            rotated_to=rotated,
            generations_destroyed=generations,
            made_final=self._finish(now),
        )

    def rotate(self, now: datetime) -> int:
        """Rewrite every row under a new generation of the vault key and return its number; the old one is retired."""
        old, new = self._memory.generation(), self._memory.generation() + 1
        self._memory.generations.make(new)
        self._memory.enter("generation.rotated", subject=str(new), at=now, facts={"from": old})
        return new

    def note(self, kind: str, *, subject: str, at: datetime, facts: Mapping[str, Any]) -> int:
        """Write something in the journal that changes nothing in the store; return its index."""
        return self._memory.enter(kind, subject=subject, at=at, facts=facts)

    def journal(self, first: int, last: int) -> tuple[bytes, ...]:
        """Return the journal's entries first..last-1."""
        return tuple(entry for _, entry in self._memory.journal.read(first, last))

    def checkpoint(self) -> Checkpoint:
        """Return the journal's newest checkpoint."""
        return self._memory.journal.checkpoint

    # --- releasing ---------------------------------------------------------------------------------------------

    def _release(
        self,
        request: bytes,
        *,
        statements: Sequence[Statement],
        entries: Sequence[bytes],
        proofs: Sequence[bytes],
        now: datetime,
    ) -> Released:
        allowed = permit(request, statements=statements, entries=entries, proofs=proofs, trust=self._trust, now=now)
        counts = self._count(statements, (request_challenge(request), approval_challenge(request)), allowed.people)
        asked = allowed.request
        if self._memory.store.row("SELECT 1 FROM closed_cases WHERE case_id = ?", asked.case):
            raise refuse(Code.NOT_ALLOWED, "case", expected="an open case", got="one that was closed")
        if self._memory.store.row("SELECT 1 FROM used WHERE request = ?", asked.id):
            raise refuse(Code.CONFLICT, "viewing request", expected="a new request", got="one that was used")
        self._judge_by_their_days(allowed, now)
        sealed = tuple(self._seal(each, asked.session_key, info=allowed.sha256) for each in asked.recordings)
        self._see(act.checkpoint for act in allowed.acts)
        facts = {
            REQUEST_SHA256: allowed.sha256.hex(),
            "people": [each.id for each in allowed.people],
            "purpose": asked.purpose,
            "case": asked.case,
            "recordings": [{"id": each.id, "first": each.first, "last": each.last} for each in asked.recordings],
            "mode": self._about.mode.value,
        }
        index = self._memory.enter(
            "keys.released", subject=asked.id, at=now, facts=facts, also=lambda: self._remember_counts(counts)
        )
        return Released(request_sha256=allowed.sha256, recordings=sealed, journal_index=index)

    def _judge_by_their_days(self, allowed: Permit, now: datetime) -> None:
        """Raise Refused unless the versions of the recordings' own days allow these people too (E-18).

        A recording's day is the earlier of what its camera signed, in its id, and when its key came here; the request's
        own times can only add a version. So nobody outside chooses a version that allows more.
        """
        moments = [allowed.request.from_at]
        for each in allowed.request.recordings:
            row = self._memory.store.row("SELECT received_at FROM held WHERE recording = ?", each.id)
            if row is not None:  # what is not held is refused where it is opened
                moments.append(min(fixed_at(parse_recording(each.id)), read_moment(row["received_at"])))
        adopted = [(since, policy.version) for since, policy in self._adopted]
        versions = {version_at(adopted, moment) for moment in moments}
        for _, policy in self._adopted:
            if policy.version in versions:
                judge_seats(allowed.request, allowed.people, policy, trust=self._trust, now=now)

    def _released_just_now(self, request: bytes, digest: bytes, journal_index: int, *, now: datetime) -> ViewingRequest:
        """Return a request that was released, by the journal's own entry, and is not over yet."""
        asked = read_request(request)
        size = self._memory.journal.checkpoint.size
        found = self.journal(journal_index, journal_index + 1) if 0 <= journal_index < size else ()
        entry = read_entry(found[0]) if found else None
        if (
            entry is None
            or entry.kind != "keys.released"
            or entry.subject != asked.id
            or entry.facts.get(REQUEST_SHA256) != digest.hex()
        ):
            raise refuse(Code.NOT_ALLOWED, "viewing request", expected="one that was released", got="another")
        if now > asked.not_after:
            raise refuse(Code.NOT_ALLOWED, "viewing request", expected=f"before {asked.not_after}", got=now)
        if self._memory.store.row("SELECT 1 FROM closed_cases WHERE case_id = ?", asked.case):
            raise refuse(Code.NOT_ALLOWED, "case", expected="an open case", got="one that was closed")
        return asked

    def _wrapped_key(self, asked: ViewingRequest, segment: bytes, camera_public_key: bytes) -> bytes:
        """Return the wrapped key of the clip whose key file is this segment; raise Refused unless it was asked for."""
        camera = _camera_key(camera_public_key)
        facts = read_segment(segment, camera)
        ranges = {each.id: each for each in asked.recordings}
        within = ranges.get(str(facts.recording))
        if within is None or not within.first <= facts.sequence <= within.last or facts.kind is not Kind.FILE:
            got = f"{facts.kind.name} {facts.sequence} of {facts.recording}"
            raise refuse(Code.NOT_ALLOWED, "key file", expected="a file within what was released", got=got)
        data_key, head = self._open_recording(within)
        read_head(head, camera)
        (key,) = segment_keys(data_key, facts.recording, facts.sequence, facts.sequence)
        return read_key_file(open_segment(segment, key))[0]

    def _seal(self, asked: Range, session_key: str, *, info: bytes) -> ReleasedRecording:
        data_key, head = self._open_recording(asked)
        sealed = seal_to(b64decode(session_key, validate=True), _keys_of(data_key, asked), info=info)
        return ReleasedRecording(recording=asked.id, first=asked.first, last=asked.last, head=head, sealed=sealed)

    def _open_recording(self, asked: Range) -> tuple[bytes, bytes]:
        """Return (data key, head), or raise Refused: DESTROYED, NOT_FOUND, or a range that goes too far."""
        if self._memory.store.row("SELECT 1 FROM destroyed WHERE recording = ?", asked.id):
            raise refuse(Code.DESTROYED, f"recording {asked.id}", expected="one that is not destroyed", got="destroyed")
        row = self._memory.store.row("SELECT * FROM held WHERE recording = ?", asked.id)
        if row is None:
            raise refuse(Code.NOT_FOUND, "recording", expected="one in custody", got=asked.id)
        if row["segments"] is not None and asked.last >= row["segments"]:
            raise refuse(
                Code.NOT_ALLOWED, "range of segments", expected=f"at most {row['segments'] - 1}", got=asked.last
            )
        plain = self._memory.open(row["generation"], row["sealed"], about=about_recording(asked.id))
        if plain is None:
            raise refuse(
                Code.NOT_FOUND, f"recording {asked.id}", expected="a key that opens", got="a generation that is gone"
            )
        return plain[:KEY_BYTES], plain[KEY_BYTES:]

    def _count(
        self, statements: Sequence[Statement], challenges: Sequence[bytes], people: Sequence[Official]
    ) -> dict[str, int]:
        """Let the second verifier look at each assertion; return credential -> its new count."""
        counts: dict[str, int] = {}
        for statement, challenge, official in zip(statements, challenges, people, strict=False):
            if statement.kind == "webauthn" and self._trust.place is not None:
                seen = self._memory.store.row(
                    "SELECT count FROM counters WHERE credential = ?", statement.credential_id
                )
                counts[statement.credential_id] = check_again(
                    statement,
                    credential=find_credential(official.keys(), statement),
                    challenge=challenge,
                    place=self._trust.place,
                    count=seen["count"] if seen else 0,
                )
        return counts

    def _see(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Remember the largest ledger seen; two roots for one size are two ledgers (BAD_SIGNATURE)."""
        for checkpoint in checkpoints:
            try:
                size, _, root = self._memory.store.recall("ledger").partition(b" ")
            except KeyError:
                size, root = b"0", b""
            if int(size) == checkpoint.size and root != checkpoint.root:
                raise refuse(
                    Code.BAD_SIGNATURE,
                    "ledger",
                    expected=f"root {root.hex()} at size {checkpoint.size}",
                    got=f"{checkpoint.root.hex()}: the ledger has two faces",
                )
            if int(size) < checkpoint.size:
                with self._memory.store.transaction():
                    self._memory.store.remember("ledger", b"%d %b" % (checkpoint.size, checkpoint.root))

    # --- destroying --------------------------------------------------------------------------------------------

    def _last_facts(self, act: Act, entry: bytes, now: datetime) -> dict[str, Any]:
        row = self._memory.store.row("SELECT commitment, head_sha256 FROM held WHERE recording = ?", act.entry.subject)
        settings = self._about.settings
        rule = act.entry.facts.get("rule", "unnamed")
        return {
            "held": row is not None,
            "commitment": bytes(row["commitment"]).hex() if row else "",
            "head_sha256": bytes(row["head_sha256"]).hex() if row else "",
            "rule": rule if isinstance(rule, str) else "unnamed",
            "entry_sha256": leaf_hash(entry).hex(),
            "generation": self._memory.generation(),
            "final_after": written(now + timedelta(hours=settings.rotate_hours, days=settings.backup_days)),
        }

    def _destroy_epochs(self, now: datetime) -> tuple[int, ...]:
        window = timedelta(days=self._about.settings.late_docking_days)
        over = [
            row["epoch"]
            for row in self._memory.store.rows("SELECT epoch, valid_until FROM epochs ORDER BY epoch")
            if read_moment(row["valid_until"]) + window <= now
        ]
        for epoch in over:
            self._memory.enter(
                "epoch.destroying", subject=str(epoch), at=now, facts={"generation": self._memory.generation()}
            )
        return tuple(over)

    def _destroy_generations(self, now: datetime) -> tuple[int, ...]:
        over = [
            row["generation"]
            for row in self._memory.store.rows(
                "SELECT generation FROM generations WHERE destroy_after <= ? AND destroyed_at IS NULL", written(now)
            )
        ]
        for generation in over:
            self._memory.enter("generation.destroying", subject=str(generation), at=now, facts={})
        return tuple(over)

    def _finish(self, now: datetime) -> tuple[str, ...]:
        """Certify as final every destruction whose last generation is destroyed."""
        alive = self._memory.store.row("SELECT min(generation) AS least FROM generations WHERE destroyed_at IS NULL")
        assert alive is not None
        ready = [
            row["recording"]
            for row in self._memory.store.rows(
                "SELECT recording FROM destroyed WHERE final IS NULL AND generation < ?", alive["least"]
            )
        ]
        if ready:
            self._memory.journal.append(
                [write_entry("key.final", subject=each, actor=ACTOR, at=now, facts={}) for each in ready]
            )
            self._memory.catch_up()
        return tuple(ready)

    def _remember_counts(self, counts: Mapping[str, int]) -> None:
        for each in counts.items():
            self._memory.store.do(
                "INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET count = excluded.count", *each
            )

    def _note_refusal(self, kind: str, subject: str, refused: Refused, *, now: datetime) -> None:
        """A refusal that cannot be written down is still a refusal."""
        facts = {"code": refused.refusal.code.name, "what": refused.refusal.what}
        with contextlib.suppress(LedgerUnwritable):
            self.note(kind, subject=subject, at=now, facts=facts)

    # --- documents ---------------------------------------------------------------------------------------------

    def _check_change(
        self,
        kind: Literal["roster", "policy"],
        document: bytes,
        *,
        statements: Sequence[Statement],
        entry: bytes,
        proof: bytes,
        now: datetime,
    ) -> int:
        signers = check_two_signed(document, statements, trust=self._trust, now=now)
        self._count(statements, (change_challenge(document),) * 2, signers)
        act = check_act(entry, proof, kinds=(_KIND_OF_DOCUMENT[kind],), trust=self._trust)
        expected = hashlib.sha256(document).hexdigest()
        if act.entry.facts.get("sha256") != expected:
            raise refuse(
                Code.NOT_ALLOWED, "ledger entry", expected=f"sha256 {expected}", got=act.entry.facts.get("sha256")
            )
        if kind == "roster":
            roster = read_roster(document)
            check_change(self._trust.roster, roster, signers)
            version = roster.version
        else:
            version = self._check_policy(document)
        self._see((act.checkpoint,))
        return version

    def _check_policy(self, document: bytes) -> int:
        try:
            policy = read_policy(document.decode())
        except (PolicyError, UnicodeDecodeError) as cause:
            raise refuse(Code.MALFORMED, "policy", expected="a policy file", got=cause) from cause
        if policy.org != self._about.org or policy.version <= self._trust.policy.version:
            raise refuse(
                Code.CONFLICT,
                "policy",
                expected=f"a version of {self._about.org} above {self._trust.policy.version}",
                got=f"version {policy.version} of {policy.org}",
            )
        return policy.version

    def _read_trust(self) -> Trust:
        """Read the newest roster and every policy that the journal says was put in force, each under our signature.

        Every policy: footage stays bound to the version of its day. There are as many as two officials ever signed.
        """
        roster_version, roster_sha256, adopted = 1, None, []
        for _, raw in self._memory.journal.read(0, self._memory.journal.checkpoint.size):
            if b'"kind":"kluis.founded"' in raw:
                entry = read_entry(raw)
                adopted.append((entry.at, int(entry.facts["policy_version"]), None))
            elif b'"kind":"roster.changed"' in raw:
                entry = read_entry(raw)
                roster_version, roster_sha256 = int(entry.facts["version"]), entry.facts["sha256"]
            elif b'"kind":"policy.adopted"' in raw:
                entry = read_entry(raw)
                adopted.append((entry.at, int(entry.facts["version"]), entry.facts["sha256"]))
        roster = load_document(self._folder, self._root, "roster", roster_version, roster_sha256)
        known = {policy.version: policy for _, policy in self._adopted}
        self._adopted = [
            (since, known.get(version) or self._load_policy(version, digest)) for since, version, digest in adopted
        ]
        return Trust(
            org=self._about.org,
            mode=self._about.mode,
            policy=self._adopted[-1][1],
            roster=read_roster(roster),
            ledger_origin=self._about.ledger_origin,
            ledger_key=Ed25519PublicKey.from_public_bytes(self._about.ledger_key),
            place=Place(rp_id=self._about.rp_id, origins=self._about.origins) if self._about.rp_id else None,
        )

    def _load_policy(self, version: int, digest: object) -> Policy:
        return read_policy(load_document(self._folder, self._root, "policy", version, digest).decode())

    @staticmethod
    def _segments(recording: RecordingId, camera: Ed25519PublicKey, end: bytes | None) -> int | None:
        if end is None:
            return None
        read = read_end(end, camera)
        if read.recording != recording:
            raise refuse(Code.CONFLICT, "end record", expected=str(recording), got=read.recording)
        return read.segments


def _camera_key(raw: bytes) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(raw)
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "camera key", expected="32 raw bytes", got=cause) from cause


def _keys_of(data_key: bytes, asked: Range) -> bytes:
    """Return the range's keys, then the key of segment 0, which holds what a player needs first and no footage."""
    recording = asked.recording
    return b"".join(
        (*segment_keys(data_key, recording, asked.first, asked.last), *segment_keys(data_key, recording, 0, 0))
    )
