"""`vierogen check` finds what was broken on purpose, names it, and finds nothing where nothing is."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cloud.check import Report, check, main
from cloud.config import ConfigError, TownFolder
from cloud.vault.shelf import Shelf
from tests.adapters.check.conftest import Story, _Clock, kluis_of


def sql(story: Story, *statements: str) -> None:
    with closing(sqlite3.connect(story.folder / "cloud" / "vierogen.sqlite")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def segment_of(story: Story, recording: str, sequence: int) -> Path:
    with closing(sqlite3.connect(story.folder / "cloud" / "vierogen.sqlite")) as connection:
        query = "SELECT digest FROM segments WHERE recording = ? AND sequence = ?"
        [(digest,)] = connection.execute(query, (recording, sequence)).fetchall()
    return Shelf(TownFolder(story.folder).vault).path(bytes.fromhex(digest))


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


async def test_a_town_where_nothing_is_wrong_adds_up(story: Story) -> None:
    report = await check(story.folder)
    assert report.adds_up, list(report.lines())
    assert report.exit_code == 0
    assert [finding for step in report.steps for finding in step.findings] == []
    said = "\n".join(report.lines())
    assert "3 opnamen, 3 activeringen" in said
    assert "2 opnamen, 8 segmenten" in said
    assert "niet nagekeken" in said


async def test_checking_changes_nothing_and_leaves_nothing_behind(story: Story) -> None:
    before = everything(story.folder)
    await check(story.folder)
    assert everything(story.folder) == before


async def test_the_kluis_is_asked_when_it_runs(story: Story) -> None:
    async with kluis_of(TownFolder(story.folder), _Clock(datetime(2027, 6, 1, tzinfo=UTC))):
        report = await check(story.folder)
    assert report.adds_up, list(report.lines())
    assert all(step.done for step in report.steps)
    assert "3 sleutels" in "\n".join(report.lines())


async def test_a_town_that_is_being_written_to_can_be_checked(story: Story) -> None:
    with closing(sqlite3.connect(story.folder / "cloud" / "vierogen.sqlite")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE cameras SET team = 'noord'")
        report = await check(story.folder)
        writer.rollback()
    assert report.adds_up, list(report.lines())


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(raw)


def _erased_bytes_back(story: Story) -> None:
    digest, raw = story.gone[1]
    Shelf(TownFolder(story.folder).vault).put(digest, raw)


def _stray_of_a_kept_recording(story: Story) -> None:
    path = segment_of(story, story.kept, 1)
    other = path.with_name(f"{path.name[:2]}{'0' * 62}")
    other.write_bytes(path.read_bytes())


def _ledger_entry(story: Story) -> None:
    bundles = (story.folder / "cloud" / "ledger" / "tile" / "entries").rglob("000.p/*")
    flip(max(bundles, key=lambda path: int(path.name)), 100)


BREAKS: dict[str, tuple[Callable[[Story], None], str]] = {
    "a-byte-of-the-ledger": (_ledger_entry, "ledger"),
    "a-byte-of-footage": (lambda s: flip(segment_of(s, s.kept, 2), 700), "recording {kept}, segment 2"),
    "a-byte-of-a-header": (lambda s: flip(segment_of(s, s.held, 0), 80), "recording {held}, segment 0"),
    "a-segment-gone": (lambda s: segment_of(s, s.kept, 3).unlink(), "recording {kept}, segment 3"),
    "a-segment-row-gone": (
        lambda s: sql(s, f"DELETE FROM segments WHERE recording = '{s.kept}' AND sequence = 3"),
        "recording {kept}",
    ),
    "erased-bytes-are-back": (_erased_bytes_back, "recording {destroyed}"),
    "a-stray-file": (_stray_of_a_kept_recording, "recording {kept}"),
    "a-hold-that-stood": (
        lambda s: sql(s, f"UPDATE holds SET recording = '{s.destroyed}', placed_at = '2020-01-01 00:00:00.000000'"),
        "recording {destroyed}",
    ),
    "back-from-destroyed": (
        lambda s: sql(
            s,
            "UPDATE recordings SET state = 'retained', destroying_at = NULL, destroyed_at = NULL "
            f"WHERE id = '{s.destroyed}'",
        ),
        "recording {destroyed}",
    ),
    "no-certificate": (
        lambda s: sql(s, f"UPDATE recordings SET certificate = NULL WHERE id = '{s.destroyed}'"),
        "recording {destroyed}",
    ),
    "another-certificate": (
        lambda s: sql(s, f"UPDATE recordings SET certificate = x'00' WHERE id = '{s.destroyed}'"),
        "recording {destroyed}",
    ),
    "destroyed-by-hand-in-the-database": (
        lambda s: sql(
            s,
            "UPDATE recordings SET state = 'destroyed', destroying_at = '2026-01-01 00:00:00.000000', "
            f"destroyed_at = '2026-01-01 00:00:00.000000' WHERE id = '{s.kept}'",
        ),
        "recording {kept}",
    ),
    "a-recording-removed": (
        lambda s: sql(
            s, f"DELETE FROM segments WHERE recording = '{s.kept}'", f"DELETE FROM recordings WHERE id = '{s.kept}'"
        ),
        "recording {kept}",
    ),
    "another-head": (
        lambda s: sql(s, f"UPDATE recordings SET head_sha256 = '{'0' * 64}' WHERE id = '{s.kept}'"),
        "recording {kept}",
    ),
    "an-activation-removed": (
        lambda s: sql(s, f"DELETE FROM activations WHERE recording = '{s.kept}'"),
        "activation {kept}",
    ),
    "an-activation-made-up": (
        lambda s: sql(
            s,
            "INSERT INTO activations SELECT 'made-up', org, camera, official, activated_at, pre_record_s, place, "
            "latitude, longitude, received_at, late, ended_at, acknowledged_at, acknowledged_by, escalated_at, "
            f"ledger_entry FROM activations WHERE recording = '{s.kept}'",
        ),
        "activation made-up",
    ),
    "acknowledged-by-another": (
        lambda s: sql(s, "UPDATE activations SET acknowledged_by = 'o-102' WHERE acknowledged_by IS NOT NULL"),
        "activation {kept}",
    ),
    "acknowledged-in-the-database-only": (
        lambda s: sql(
            s,
            "UPDATE activations SET acknowledged_by = 'o-101', acknowledged_at = received_at "
            f"WHERE recording = '{s.held}'",
        ),
        "activation {held}",
    ),
    "an-event-rewritten": (lambda s: sql(s, "UPDATE events SET sequence = 99 WHERE sequence = 1"), "event "),
    "an-event-unreadable": (lambda s: sql(s, "UPDATE events SET raw = x'00' WHERE sequence = 1"), "event "),
    "an-event-removed": (lambda s: sql(s, "DELETE FROM events WHERE sequence = 1"), "activation {kept}"),
    "a-case-made-up": (
        lambda s: sql(
            s,
            "INSERT INTO cases (id, org, number, kind, state, received_at, registered_at, registered_by, summary, "
            "facts) SELECT 'made-up', org, 'x', kind, state, received_at, registered_at, registered_by, summary, "
            "facts FROM cases LIMIT 1",
        ),
        "case made-up",
    ),
    "a-hold-released-in-the-database-only": (
        lambda s: sql(s, "UPDATE holds SET state = 'released', released_at = '2026-01-01 00:00:00.000000'"),
        "hold ",
    ),
    "a-hold-removed": (lambda s: sql(s, "DELETE FROM holds"), "hold of case "),
    "a-policy-rewritten": (
        lambda s: sql(s, "UPDATE policies SET document = replace(document, 'days = 28', 'days = 99')"),
        "policy version 1",
    ),
    "a-camera-added-by-hand": (
        lambda s: sql(
            s,
            "INSERT INTO cameras (org, id, public_key, key_id, state, enrolled_at) "
            "SELECT org, 'cam-99', x'01', x'02', state, enrolled_at FROM cameras LIMIT 1",
        ),
        "camera cam-99",
    ),
    "a-row-that-points-nowhere": (
        lambda s: sql(s, "DELETE FROM cases"),
        "table ",
    ),
}


@pytest.mark.parametrize(("breaks", "named"), BREAKS.values(), ids=BREAKS.keys())
async def test_what_was_broken_is_found_and_named(story: Story, breaks: Callable[[Story], None], named: str) -> None:
    breaks(story)

    report = await check(story.folder)

    assert report.exit_code == 1, list(report.lines())
    assert report.first is not None
    expected = named.format(kept=story.kept, held=story.held, destroyed=story.destroyed)
    assert str(report.first).startswith(expected), str(report.first)
    assert "KLOPT NIET" in list(report.lines())[-1]


@pytest.mark.rule("T-37")
async def test_a_changed_byte_of_the_ledger_names_the_first_broken_entry(story: Story) -> None:
    _ledger_entry(story)
    report = await check(story.folder)
    assert report.first is not None
    assert "regel 0" in report.first.wat


async def test_a_key_that_is_still_there_after_destruction_is_found(copied: Callable[[], Story]) -> None:
    story, before = copied(), copied()
    sql(
        before,
        "UPDATE recordings SET state = 'destroyed', destroying_at = '2026-01-01 00:00:00.000000', "
        f"destroyed_at = '2026-01-01 00:00:00.000000' WHERE id = '{story.kept}'",
    )
    async with kluis_of(TownFolder(before.folder), _Clock(datetime(2027, 6, 1, tzinfo=UTC))):
        report = await check(before.folder)
    kluis = report.steps[-1]
    assert [finding.about for finding in kluis.findings] == [f"recording {story.kept}"]
    assert not kluis.ok


async def test_a_key_that_is_gone_while_footage_is_kept_is_found(story: Story) -> None:
    sql(
        story,
        f"UPDATE recordings SET state = 'retained', destroying_at = NULL, destroyed_at = NULL "
        f"WHERE id = '{story.destroyed}'",
    )
    async with kluis_of(TownFolder(story.folder), _Clock(datetime(2027, 6, 1, tzinfo=UTC))):
        report = await check(story.folder)
    assert [finding.about for finding in report.steps[-1].findings] == [f"recording {story.destroyed}"]


async def test_segments_on_their_way_in_are_no_fault(story: Story) -> None:
    sql(
        story,
        f"DELETE FROM segments WHERE recording = '{story.destroyed}'",
        "UPDATE recordings SET id = id",
    )
    shelf = Shelf(TownFolder(story.folder).vault)
    digest, raw = story.gone[0]
    stranger = bytearray(raw)
    stranger[48:64] = bytes(16)
    shelf.put(digest, bytes(stranger))

    report = await check(story.folder)

    assert report.adds_up, list(report.lines())
    assert "wachten op de rest" in "\n".join(report.lines())


def test_the_command_says_it_and_its_exit_code(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(story.folder)]) == 0
    assert "KLOPT" in capsys.readouterr().out
    segment_of(story, story.kept, 0).unlink()
    assert main([str(story.folder)]) == 1
    assert f"recording {story.kept}, segment 0" in capsys.readouterr().out.splitlines()[-1]


async def test_no_town_is_said_to_be_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError):
        await check(tmp_path)


def test_the_command_ends_with_two_where_there_is_no_town(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "check:" in capsys.readouterr().err


async def test_a_missing_database_is_named(story: Story) -> None:
    (story.folder / "cloud" / "vierogen.sqlite").unlink()
    report: Report = await check(story.folder)
    assert report.exit_code == 1
    assert report.first is not None
    assert "vierogen.sqlite" in str(report.first)
