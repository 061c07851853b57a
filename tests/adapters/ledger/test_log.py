"""The ledger as parts use it: append, prove, act."""

import asyncio
import errno
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.entries import MAX_ENTRY_BYTES, Opening, read_entry, write_entry
from broker.wire.refusals import Code, Refused
from broker.wire.tlog import check_consistency, check_proof
from cloud.ledger import tiles
from cloud.ledger.log import Entry, Ledger, LedgerBroken, LedgerUnwritable
from cloud.ledger.verify import verify
from tests.adapters.ledger.test_crash import Failing

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = "ledger.example/town"
NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


@pytest_asyncio.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    ledger = Ledger.create(tmp_path / "ledger", origin=ORIGIN, key=KEY)
    yield ledger
    await ledger.close()


async def add(ledger: Ledger, n: int = 0, **more: Any) -> Entry:
    return await ledger.append("hold.placed", subject=f"case-{n}", actor="o-1", at=NOW, facts={"n": n}, **more)


@pytest.mark.rule("H-46")
async def test_an_entry_comes_back_with_a_proof_that_holds(ledger: Ledger) -> None:
    for n in range(5):
        entry = await add(ledger, n)
        checkpoint = check_proof(entry.proof, leaf=entry.raw, origin=ORIGIN, key=KEY.public_key())
        assert (entry.index, checkpoint.size) == (n, n + 1)
    again = await ledger.prove(2)
    ((_, raw),) = await ledger.read(2, 3)
    assert check_proof(again, leaf=raw, origin=ORIGIN, key=KEY.public_key()).size == 5


async def test_many_at_once_share_their_syncs_and_each_gets_its_own_proof(ledger: Ledger) -> None:
    entries = await asyncio.gather(*(add(ledger, n) for n in range(700)))
    assert sorted(entry.index for entry in entries) == list(range(700))
    for entry in entries[::50]:
        check_proof(entry.proof, leaf=entry.raw, origin=ORIGIN, key=KEY.public_key())


async def test_the_ledger_only_grows(ledger: Ledger) -> None:
    await add(ledger, 0)
    before = ledger.checkpoint()
    await asyncio.gather(*(add(ledger, n) for n in range(1, 300)))
    after = ledger.checkpoint()
    check_consistency(
        first=before.size,
        first_root=before.root,
        second=after.size,
        second_root=after.root,
        path=await ledger.prove_growth(before.size),
    )


@pytest.mark.rule("E-35", "T-36")
async def test_what_could_not_be_written_raises_and_has_no_proof(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(ledger)
    with monkeypatch.context() as patched:
        patched.setattr(tiles, "os", Failing("write", 1, OSError(errno.ENOSPC, "full")))
        with pytest.raises(LedgerUnwritable) as unwritable:
            await add(ledger, 1)
    assert unwritable.value.refusal.code is Code.LEDGER_UNWRITABLE
    assert ledger.checkpoint().size == 1
    assert (await add(ledger, 2)).index == 1


async def test_personal_words_enter_as_a_commitment_only(ledger: Ledger, tmp_path: Path) -> None:
    entry = await add(ledger, private="gezien door Jan de Vries")
    assert entry.opening is not None
    assert entry.opening.opens(read_entry(entry.raw))
    assert not Opening(salt=entry.opening.salt, text="gezien door Piet").opens(read_entry(entry.raw))
    assert "Vries" not in repr(entry.opening)
    for path in (tmp_path / "ledger").rglob("*"):
        assert path.is_dir() or b"Vries" not in path.read_bytes()


async def test_the_same_words_twice_do_not_look_the_same(ledger: Ledger) -> None:
    first, second = await add(ledger, private="ja"), await add(ledger, private="ja")
    assert read_entry(first.raw).private != read_entry(second.raw).private


async def test_a_ledger_is_opened_where_it_was_left(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path, origin=ORIGIN, key=KEY)
    await asyncio.gather(*(add(ledger, n) for n in range(300)))
    promised = ledger.checkpoint()
    await ledger.close()
    again = Ledger.open(tmp_path, origin=ORIGIN, key=KEY)
    assert again.checkpoint() == promised
    assert (await add(again, 300)).index == 300
    await again.close()
    assert verify(tmp_path, origin=ORIGIN, key=KEY.public_key()).intact


async def test_one_process_writes(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(LedgerUnwritable):
        Ledger.open(tmp_path / "ledger", origin=ORIGIN, key=KEY)
    with pytest.raises(FileExistsError):
        Ledger.create(tmp_path / "ledger", origin=ORIGIN, key=KEY)


async def test_a_ledger_of_another_key_or_name_is_not_opened(tmp_path: Path) -> None:
    await Ledger.create(tmp_path, origin=ORIGIN, key=KEY).close()
    with pytest.raises(LedgerBroken):
        Ledger.open(tmp_path, origin=ORIGIN, key=Ed25519PrivateKey.generate())
    with pytest.raises(LedgerBroken):
        Ledger.open(tmp_path, origin="ledger.example/other", key=KEY)
    with pytest.raises(LedgerUnwritable):
        Ledger.open(tmp_path / "nowhere", origin=ORIGIN, key=KEY)


async def test_an_entry_taken_back_before_its_batch_is_not_written(ledger: Ledger) -> None:
    waiting = [asyncio.ensure_future(add(ledger, n)) for n in range(50)]
    await asyncio.sleep(0)
    for each in waiting[25:]:
        each.cancel()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    written = [entry for entry in done if isinstance(entry, Entry)]
    assert len(written) >= 25
    assert ledger.checkpoint().size >= len(written)
    assert (await add(ledger, 99)).index == ledger.checkpoint().size - 1


@pytest.mark.parametrize(
    ("kind", "at", "facts"),
    [
        ("Hold placed!", NOW, {}),
        ("hold.placed", NOW.replace(tzinfo=None), {}),
        ("hold.placed", NOW, {"long": "x" * MAX_ENTRY_BYTES}),
    ],
)
def test_an_entry_of_another_form_is_never_written(kind: str, at: datetime, facts: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        write_entry(kind, subject="s", actor="a", at=at, facts=facts)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b'{"v":1}',
        write_entry("hold.placed", subject="s", actor="a", at=NOW, facts={}).replace(b'"v":1', b'"v":2'),
        write_entry("hold.placed", subject="s", actor="a", at=NOW, facts={}).replace(b'"v":1', b'"v": 1'),
        write_entry("hold.placed", subject="s", actor="a", at=NOW, facts={}).replace(b'"v":1', b'"v":1,"x":1'),
    ],
)
def test_an_entry_in_another_spelling_is_refused(raw: bytes) -> None:
    with pytest.raises(Refused):
        read_entry(raw)
