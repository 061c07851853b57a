"""Power cuts, full disks and kills: what was acknowledged is there, whatever is there is whole."""

import errno
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.ledger import tiles
from cloud.ledger.tiles import LedgerBroken, LedgerUnwritable, TileLog
from cloud.ledger.verify import verify
from tests.adapters.ledger.crash_states import Inode, Recorder, materialise

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = "ledger.example/town"


def entry(n: int) -> bytes:
    return b'{"n":%d}' % n


def reopened(folder: Path, *, acknowledged: int, go_on: bool = True) -> None:
    """Assert that everything acknowledged is there, that all is intact, and that the ledger goes on."""
    log = TileLog.open(folder, origin=ORIGIN, key=KEY)
    try:
        assert log.checkpoint.size >= acknowledged
        assert [raw for _, raw in log.read(0, log.checkpoint.size)] == [entry(n) for n in range(log.checkpoint.size)]
        if go_on:
            log.append([entry(log.checkpoint.size)])
    finally:
        log.close()
    found = verify(folder, origin=ORIGIN, key=KEY.public_key())
    assert found.intact, found.problems


def disks_of(folder: Path, monkeypatch: pytest.MonkeyPatch, *, before: int, batches: tuple[int, ...]) -> Recorder:
    """Append the batches to a ledger of `before` entries; return every disk that a power cut may have left."""
    log = TileLog.create(folder, origin=ORIGIN, key=KEY)
    if before:
        log.append([entry(n) for n in range(before)])
    recorder = Recorder(folder)
    recorder.start()
    recorder.acknowledge(before)
    with monkeypatch.context() as patched:
        recorder.install(patched, tiles)
        for batch in batches:
            log.append([entry(log.checkpoint.size + n) for n in range(batch)])
            recorder.acknowledge(log.checkpoint.size)
    log.close()
    return recorder


@pytest.mark.rule("H-46")
@pytest.mark.parametrize(("before", "batches"), [(0, (1, 2)), (254, (1, 2)), (255, (2,))])
def test_whatever_a_power_cut_leaves_holds_all_that_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, batches: tuple[int, ...]
) -> None:
    recorder = disks_of(tmp_path / "ledger", monkeypatch, before=before, batches=batches)
    assert len(recorder.disks) > 40
    for number, (disk, acknowledged) in enumerate(recorder.disks.items()):
        at = tmp_path / f"disk-{number}"
        materialise(disk, recorded=tmp_path / "ledger", at=at)
        reopened(at, acknowledged=acknowledged, go_on=number % 8 == 0)
        shutil.rmtree(at)


@pytest.mark.parametrize("forgotten", ["folders", "files"])
def test_a_writer_that_forgets_to_sync_would_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    """The control of the test above: it must fail for a writer that does it wrong."""
    with monkeypatch.context() as wrong:
        if forgotten == "folders":
            wrong.setattr(tiles, "sync_folders", lambda _: None)
        else:
            wrong.setattr(Recorder, "sync", _sync_names_only)
        recorder = disks_of(tmp_path / "ledger", monkeypatch, before=0, batches=(1, 2))
    lost = 0
    for number, (disk, acknowledged) in enumerate(recorder.disks.items()):
        at = tmp_path / f"disk-{number}"
        materialise(disk, recorded=tmp_path / "ledger", at=at)
        try:
            reopened(at, acknowledged=acknowledged, go_on=False)
        except (AssertionError, LedgerBroken):
            lost += 1
    assert lost > 10


def _sync_names_only(recorder: Recorder, what: Inode | str) -> None:
    if isinstance(what, str):
        real_sync(recorder, what)


real_sync = Recorder.sync


class Failing:
    """An operating system whose n-th call of one kind fails, or kills the process."""

    def __init__(self, call: str, nth: int, failure: OSError | None) -> None:
        self.call, self.left, self.failure = call, nth, failure

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name != self.call:
            return real

        def counted(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                if self.failure is not None:
                    raise self.failure
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return counted


@pytest.mark.rule("E-35")
@pytest.mark.parametrize("call", ["open", "write", "fsync"])
@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_is_said_and_nothing_acknowledged_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, failure: int
) -> None:
    for nth in range(1, 40):
        folder = tmp_path / f"{call}-{nth}"
        log = TileLog.create(folder, origin=ORIGIN, key=KEY)
        log.append([entry(n) for n in range(255)])
        broken = Failing(call, nth, OSError(failure, os.strerror(failure)))
        with monkeypatch.context() as patched:
            patched.setattr(tiles, "os", broken)
            try:
                log.append([entry(255), entry(256)])
                failed = False
            except LedgerUnwritable:
                failed = True
        promised = log.checkpoint.size
        size = log.append([entry(log.checkpoint.size)]) if not failed else None
        if failed:
            first = log.append([b'{"after":"repair"}'])
            assert first in {255, 257}, "the failed batch is there as a whole or not at all"
        log.close()
        found = verify(folder, origin=ORIGIN, key=KEY.public_key())
        assert found.intact, (nth, found.problems)
        assert found.size > promised
        if not failed:
            assert size == 257
            return
    raise AssertionError("expected to run out of calls to break")


def test_a_ledger_that_fails_twice_in_a_row_still_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = TileLog.create(tmp_path, origin=ORIGIN, key=KEY)
    for nth in (1, 3, 5, 7, 1):
        with monkeypatch.context() as patched:
            patched.setattr(tiles, "os", Failing("fsync", nth, OSError(errno.EIO, "no")))
            with pytest.raises(LedgerUnwritable):
                log.append([entry(0)])
    log.append([entry(0)])
    log.close()
    assert verify(tmp_path, origin=ORIGIN, key=KEY.public_key()).intact


@pytest.mark.parametrize("call", ["open", "write", "fsync", "close"])
def test_a_kill_at_any_call_loses_nothing_acknowledged(tmp_path: Path, call: str) -> None:
    for nth in range(1, 60):
        folder = tmp_path / f"{call}-{nth}"
        TileLog.create(folder, origin=ORIGIN, key=KEY).close()
        says, hears = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                log = TileLog.open(folder, origin=ORIGIN, key=KEY)
                vars(tiles)["os"] = Failing(call, nth, None)
                for _ in range(3):
                    log.append([entry(log.checkpoint.size)])
                    os.write(hears, b".")
            finally:
                os._exit(0)
        os.close(hears)
        acknowledged = len(_all_of(says))
        _, status = os.waitpid(child, 0)
        reopened(folder, acknowledged=acknowledged)
        if not os.WIFSIGNALED(status):
            assert acknowledged == 3
            return
    raise AssertionError("expected the child to run out of calls")


def _all_of(pipe: int) -> bytes:
    said = b""
    while more := os.read(pipe, 100):
        said += more
    os.close(pipe)
    return said


def test_a_torn_bundle_beyond_the_checkpoint_is_written_over(tmp_path: Path) -> None:
    log = TileLog.create(tmp_path, origin=ORIGIN, key=KEY)
    log.append([entry(0), entry(1)])
    log.close()
    for name in ("tile/entries/000.p/3", "tile/0/000.p/3"):
        (tmp_path / name).write_bytes(b"\x00\xff torn")
    (tmp_path / "tile" / "entries" / "000.p" / ".new-0123abcd").write_bytes(b"half")
    reopened(tmp_path, acknowledged=2)
    assert not list(tmp_path.rglob(".new-*"))


def test_missing_folders_are_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "ledger"
    log = TileLog.create(folder, origin=ORIGIN, key=KEY)
    log.append([entry(0)])
    log.close()
    reopened(folder, acknowledged=1)
