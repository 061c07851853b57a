-- What the Kluis remembers. One process, one connection; secure_delete, no WAL, synchronous EXTRA.
--
-- Invariants:
--  1. A recording has a row in `held` or in `destroyed`, never in both; from `destroyed` nothing ever leaves.
--  2. Every `sealed` value is AES-256-GCM under the generation named beside it and bound to the row's own id.
--  3. A request's id stands in `used` before its keys leave the process.
--  4. What stands in `destroyed` stands in the journal, written before it; `memory.applied` counts the journal's
--     entries whose effect is in here. A store that counts fewer than the journal has was restored, or its process
--     died between the two: the rest is applied at the next start.
-- Times are ISO 8601 in UTC with six decimals, so that they sort as text.

CREATE TABLE memory (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE held (
    recording   TEXT PRIMARY KEY,
    generation  INTEGER NOT NULL,
    sealed      BLOB NOT NULL,     -- data key (32 bytes), then the head
    commitment  BLOB NOT NULL CHECK (length(commitment) = 32),
    head_sha256 BLOB NOT NULL CHECK (length(head_sha256) = 32),
    segments    INTEGER,           -- from the camera's signed end record, where it came along
    received_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE destroyed (
    recording  TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,   -- the newest that may have sealed it
    facts      BLOB NOT NULL,      -- the certificate's facts, as JSON
    executed   BLOB NOT NULL,      -- signed certificates
    final      BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE epochs (
    epoch       INTEGER PRIMARY KEY,
    public_key  BLOB NOT NULL,
    key_id      BLOB NOT NULL UNIQUE,
    valid_from  TEXT NOT NULL,
    valid_until TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    sealed      BLOB NOT NULL      -- seed of the X-Wing key, 32 bytes
) STRICT;

CREATE TABLE generations (
    generation    INTEGER PRIMARY KEY,
    made_at       TEXT NOT NULL,
    retired_at    TEXT,
    destroy_after TEXT,
    destroyed_at  TEXT,
    CHECK ((retired_at IS NULL) = (destroy_after IS NULL))
) STRICT;

CREATE TABLE used (
    request TEXT PRIMARY KEY,
    sha256  BLOB NOT NULL,
    used_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE counters (            -- authenticators' own counts: a smaller one later is a cloned key
    credential TEXT PRIMARY KEY,
    count      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE closed_cases (
    case_id TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TRIGGER destroyed_is_for_ever BEFORE DELETE ON destroyed BEGIN SELECT RAISE(ABORT, 'destroyed is for ever'); END;

CREATE TRIGGER nothing_held_is_destroyed BEFORE INSERT ON held
WHEN EXISTS (SELECT 1 FROM destroyed WHERE recording = NEW.recording)
BEGIN SELECT RAISE(ABORT, 'destroyed is for ever'); END;
