"""Books that agree, and each way in which they can differ."""

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.wire.entries import LedgerEntry
from cloud.rules.adding_up import (
    Books,
    Finding,
    HoldFacts,
    PressFacts,
    RecordingFacts,
    RoomFacts,
    gravest_first,
    judge_books,
)

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def entry(kind: str, subject: str, /, *, actor: str = "o-1", **facts: Any) -> LedgerEntry:
    return LedgerEntry(v=1, kind=kind, at=NOON, subject=subject, actor=actor, facts=facts)


DESTROYED = RecordingFacts(
    id="r-1",
    state="destroyed",
    incident="i-1",
    head_sha256="h",
    has_receipt=True,
    declared=False,
    destroying_at=NOON,
    certificate_sha256="c",
)
HOLD = HoldFacts(
    id="hold-1",
    case="case-1",
    recording="r-1",
    incident=None,
    state="active",
    outcome=None,
    placed_at=NOON - timedelta(days=1),
    lapses_at=None,
    released_at=None,
)
ENTRIES = (
    entry("recording.received", "r-1", head_sha256="h"),
    entry("retention.destroying", "r-1"),
    entry("retention.destroyed", "r-1", certificate_sha256="c"),
    entry("case.registered", "case-1"),
    entry("hold.placed", "case-1", recordings=["r-1"]),
    entry("hold.released", "case-1", hold="hold-1"),
)
AGREED = Books(
    recordings={"r-1": DESTROYED},
    cases=frozenset({"case-1"}),
    holds=(replace(HOLD, state="released", released_at=NOON - timedelta(hours=1)),),
    entries=ENTRIES,
)


def test_books_that_agree_give_no_findings() -> None:
    assert judge_books(AGREED) == ()
    assert judge_books(Books()) == ()


HOUR = timedelta(hours=1)


@pytest.mark.rule("T-08")
@pytest.mark.parametrize(
    ("hold", "wrong"),
    [
        (HOLD, True),
        (replace(HOLD, state="released", released_at=NOON + HOUR), True),
        (replace(HOLD, state="released", released_at=NOON - HOUR), False),
        (replace(HOLD, placed_at=NOON), False),
        (replace(HOLD, outcome="already_destroyed"), False),
        (replace(HOLD, state="provisional", lapses_at=NOON - HOUR), False),
        (replace(HOLD, state="provisional", lapses_at=NOON + HOUR), True),
        (replace(HOLD, recording=None, incident="i-1"), True),
        (replace(HOLD, recording=None, incident="i-2"), False),
        (replace(HOLD, recording="r-2"), False),
        (replace(HOLD, recording="r-2", incident="i-1"), False),
        (replace(HOLD, state="released", released_at=NOON), False),
        (replace(HOLD, state="released"), False),
        (replace(HOLD, state="lapsed"), False),
        (replace(HOLD, state="provisional", lapses_at=NOON), False),
        (replace(HOLD, state="provisional"), True),
        (replace(HOLD, state="active", lapses_at=NOON - HOUR), True),  # confirmed: it lapses no more
    ],
)
def test_nothing_is_destroyed_under_a_hold_that_came_first(hold: HoldFacts, wrong: bool) -> None:
    found = [finding for finding in judge_books(replace(AGREED, holds=(hold,))) if finding.about == "recording r-1"]
    assert bool(found) is wrong


def test_a_hold_on_no_incident_is_not_on_what_belongs_to_none() -> None:
    alone = replace(AGREED, recordings={"r-1": replace(DESTROYED, incident=None)})
    assert judge_books(replace(alone, holds=(*AGREED.holds, replace(HOLD, id="hold-2", recording=None)))) == ()


def test_a_hold_by_name_in_the_same_case_takes_the_incidents_place() -> None:
    of_incident = replace(HOLD, id="hold-2", recording=None, incident="i-1")
    by_name = replace(HOLD, state="released", released_at=NOON - HOUR)
    assert judge_books(replace(AGREED, holds=(by_name, of_incident))) == ()


def test_an_arrival_without_an_entry_is_grave_once_the_camera_has_its_receipt() -> None:
    for receipt in (True, False):
        row = replace(DESTROYED, state="retained", destroying_at=None, certificate_sha256=None, has_receipt=receipt)
        [finding] = judge_books(Books(recordings={"r-1": row}))
        assert finding.grave is receipt


def test_a_last_act_that_only_the_ledger_knows_was_cut_off_and_is_no_fault() -> None:
    [finding] = judge_books(Books(entries=(entry("case.registered", "case-9"),)))
    assert not finding.grave
    [gone] = judge_books(
        Books(entries=(entry("case.registered", "case-9"), entry("case.moved", "case-9", step="decide")))
    )
    assert gone.grave


PRESS = PressFacts(
    recording="r-1", camera="cam-01", ledger_entry=0, acknowledged_at=NOON, acknowledged_by="o-1", events=1
)
PRESSED = (entry("activation.received", "r-1", actor="cam-01"), entry("activation.acknowledged", "r-1"))


@pytest.mark.parametrize(
    ("press", "entries", "grave"),
    [
        (PRESS, PRESSED, None),
        (replace(PRESS, acknowledged_by=None), PRESSED, None),  # erased with the footage, as the policy says
        (replace(PRESS, ledger_entry=None, acknowledged_at=None, acknowledged_by=None), (), False),
        (replace(PRESS, ledger_entry=1), PRESSED, True),
        (replace(PRESS, ledger_entry=7), PRESSED, True),
        (replace(PRESS, events=0), PRESSED, None),  # forgotten with the footage: history is kept no longer
        (replace(PRESS, events=2), PRESSED, None),  # told again after an unclean end, counted once
        (replace(PRESS, acknowledged_by="o-2"), PRESSED, True),
        (PRESS, PRESSED[:1], True),
        (replace(PRESS, acknowledged_by=None), PRESSED[:1], True),
        (replace(PRESS, ledger_entry=-1), PRESSED[::-1], True),
        (PRESS, (*PRESSED, PRESSED[0]), True),
    ],
)
def test_a_press_was_said_and_is_one_row_and_one_entry(
    press: PressFacts, entries: tuple[LedgerEntry, ...], grave: bool | None
) -> None:
    found = judge_books(Books(presses={"r-1": press}, entries=entries))
    assert [finding.grave for finding in found] == ([] if grave is None else [grave])


def test_a_press_whose_footage_is_kept_keeps_its_event_too() -> None:
    kept = replace(DESTROYED, state="retained", destroying_at=None, certificate_sha256=None)
    entries = (*PRESSED, entry("recording.received", "r-1", head_sha256="h"))
    told_of_nothing = {"r-1": replace(PRESS, events=0)}
    gone = replace(AGREED, presses=told_of_nothing, entries=(*PRESSED, *ENTRIES))
    assert judge_books(gone) == (), "forgotten with the footage"
    [finding] = judge_books(Books(recordings={"r-1": kept}, presses=told_of_nothing, entries=entries))
    assert finding.grave
    assert "no event" in finding.what


ROOM = RoomFacts(id="room-1", requester="o-1", second="o-2", approved=True, opened=True)
SEEN = tuple(
    entry(kind, "r-1", room="room-1") for kind in ("viewing.requested", "viewing.approved", "viewing.released")
)


@pytest.mark.rule("H-46")
def test_each_step_of_a_viewing_is_in_the_ledger() -> None:
    assert judge_books(Books(rooms={"room-1": ROOM}, entries=SEEN)) == ()
    for missing in range(3):
        left = tuple(each for place, each in enumerate(SEEN) if place != missing)
        [finding] = judge_books(Books(rooms={"room-1": ROOM}, entries=left))
        assert SEEN[missing].kind in finding.what
    [gone] = judge_books(Books(entries=SEEN))
    assert gone.grave


def test_one_who_may_look_alone_needs_no_approval() -> None:
    alone = replace(ROOM, second="o-1")
    assert judge_books(Books(rooms={"room-1": alone}, entries=(SEEN[0], SEEN[2]))) == ()


def footage(name: str, state: str, **facts: Any) -> RecordingFacts:
    """A recording in this state, of which everything is as it should be."""
    gone = state in ("destroying", "destroyed")
    plain = {"incident": None, "head_sha256": f"h-{name}", "has_receipt": True, "declared": False}
    ends = {"destroying_at": NOON if gone else None, "certificate_sha256": "c" if state == "destroyed" else None}
    return RecordingFacts(**{"id": name, "state": state, **plain, **ends, **facts})


STATES = ("retained", "held", "due", "quarantined", "restricted", "destroying", "destroyed")
A_TOWN = Books(
    recordings={
        **{f"r-{state}": footage(f"r-{state}", state) for state in STATES},
        "r-declared": footage("r-declared", "retained", declared=True),
        "r-expected": footage("r-expected", "expected"),
    },
    presses={"r-retained": replace(PRESS, recording="r-retained", ledger_entry=9)},
    cases=frozenset({"case-1", "case-2"}),
    holds=(
        replace(HOLD, recording="r-held", case="case-1"),
        replace(HOLD, id="hold-2", recording=None, incident="i-9", case="case-1"),
        replace(HOLD, id="hold-3", recording="r-due", case="case-2", state="released", released_at=NOON),
        replace(HOLD, id="hold-4", recording="r-due", case="case-2", state="lapsed"),
    ),
    rooms={"room-1": ROOM, "room-2": replace(ROOM, id="room-2", approved=False, opened=False)},
    policies={1: "p1", 2: "p2"},
    cameras=frozenset({"cam-01", "cam-02"}),
    reports=frozenset({"report-1"}),
    entries=(
        *(
            entry(f"recording.{how}", f"r-{state}", head_sha256=f"h-r-{state}")
            for state, how in zip(
                STATES,
                ("received", "received", "received", "quarantined", "restricted", *["received"] * 2),
                strict=True,
            )
        ),
        entry("recording.quarantined", "r-declared", head_sha256="h-r-declared"),
        entry("recording.admitted", "r-declared"),
        entry("activation.received", "r-retained", actor="cam-01"),
        entry("activation.acknowledged", "r-retained"),
        entry("retention.destroying", "r-destroying"),
        entry("retention.destroying", "r-destroyed"),
        entry("retention.destroyed", "r-destroyed", certificate_sha256="c"),
        entry("case.registered", "case-1"),
        entry("case.registered", "case-2"),
        entry("hold.placed", "case-1", recordings=["r-held"], incidents=["i-9"]),
        entry("hold.placed", "case-2", recordings=["r-due"]),
        entry("hold.released", "case-2", hold="hold-3"),
        entry("hold.lapsed", "case-2", hold="hold-4"),
        *(entry(kind, "r-held", room="room-1") for kind in ("viewing.requested", "viewing.approved")),
        entry("viewing.released", "r-held", room="room-1"),
        entry("viewing.requested", "r-held", room="room-2"),
        entry("policy.adopted", "policy", version=1, sha256="p1"),
        entry("policy.adopted", "policy", version=2, sha256="p2"),
        entry("camera.enrolled", "cam-01"),
        entry("camera.enrolled", "cam-02"),
        entry("camera.revoked", "cam-02"),
        entry("report.submitted", "report-1"),
    ),
)


def ways_to_tamper() -> Iterator[tuple[str, Books]]:
    """Each single thing somebody could take away, add or change, on either side."""
    nothing = entry("denial", "-")  # keeps the numbers of the other entries
    for place, each in enumerate(A_TOWN.entries):
        left = (*A_TOWN.entries[:place], nothing, *A_TOWN.entries[place + 1 :])
        yield f"without the entry {each.kind} of {each.subject}", replace(A_TOWN, entries=left)
    for name in ("recordings", "presses", "rooms", "policies"):
        for key in getattr(A_TOWN, name):
            rows = {other: row for other, row in getattr(A_TOWN, name).items() if other != key}
            changed: Any = {name: rows}
            yield f"without {key} of the {name}", replace(A_TOWN, **changed)
    for name in ("cases", "cameras", "reports"):
        for key in sorted(getattr(A_TOWN, name)):
            yield f"without {key} of the {name}", replace(A_TOWN, **{name: getattr(A_TOWN, name) - {key}})
        yield f"with another of the {name}", replace(A_TOWN, **{name: getattr(A_TOWN, name) | {"x-2", "x-1"}})
    for hold in A_TOWN.holds:
        yield f"without {hold.id}", replace(A_TOWN, holds=[each for each in A_TOWN.holds if each is not hold])
    yield "without the holds of case-1", replace(A_TOWN, holds=A_TOWN.holds[2:])
    for row in A_TOWN.recordings.values():
        for state in ("retained", "destroyed", "quarantined"):
            if state != row.state:
                rows = {**A_TOWN.recordings, row.id: replace(row, state=state)}
                yield f"{row.id} said to be {state}", replace(A_TOWN, recordings=rows)
    other: Any
    for what, name, other in (
        ("another head", "r-held", {"head_sha256": "other"}),
        ("another certificate", "r-destroyed", {"certificate_sha256": "other"}),
        ("no certificate", "r-destroyed", {"certificate_sha256": None}),
        ("people's word", "r-held", {"declared": True}),
    ):
        rows = {**A_TOWN.recordings, name: replace(A_TOWN.recordings[name], **other)}
        yield f"{name} with {what}", replace(A_TOWN, recordings=rows)
    yield "another policy", replace(A_TOWN, policies={1: "p1", 2: "p1", 3: "p3"})
    press = A_TOWN.presses["r-retained"]
    for other in ({"events": 0}, {"ledger_entry": -1}, {"ledger_entry": None}, {"acknowledged_by": "o-9"}):
        yield f"the press with {other}", replace(A_TOWN, presses={"r-retained": replace(press, **other)})
    for more in (
        entry("activation.received", "r-x"),
        entry("activation.received", "r-retained"),
        entry("retention.destroying", "r-x"),
        entry("retention.destroyed", "r-held", certificate_sha256="c"),
        entry("camera.enrolled", "cam-x"),
        entry("hold.placed", "case-3", recordings=["r-held"]),
        entry("viewing.watched", "r-held", room="room-x"),
        entry("viewing.requested", "r-held", room="room-x"),
    ):
        yield f"with {more.kind} of {more.subject}", replace(A_TOWN, entries=(*A_TOWN.entries, more))
    for kind in ("case.moved", "case.confirmed", "hold.released", "hold.lapsed", "hold.release-asked"):
        ends = (entry("case.registered", "case-x"), entry(kind, "case-x"))
        yield f"with a case that saw {kind}", replace(A_TOWN, entries=(*A_TOWN.entries, *ends))
    for other in ({"recordings": ["r-held"]}, {"incidents": ["i-9"]}, {}):
        placed = (entry("case.registered", "case-4"), entry("hold.placed", "case-4", **other))
        more_cases = A_TOWN.cases | {"case-4"}
        yield (
            f"with a case that holds {other or 'nothing'}",
            replace(A_TOWN, cases=more_cases, entries=(*A_TOWN.entries, *placed)),
        )


def test_a_town_whose_books_agree_has_one_of_everything() -> None:
    assert judge_books(A_TOWN) == ()
    assert all(getattr(A_TOWN, each.name) for each in fields(Books))


@pytest.mark.rule("T-09")
def test_whoever_changes_one_thing_on_one_side_reads_this() -> None:
    """Elke enkele wijziging en wat dan gezegd wordt (`!` is ernstig): wie een regel verandert, ziet wat dat doet."""
    said = []
    for change, books in ways_to_tamper():
        said.append(change)
        said += [f"  {'!' if each.grave else '.'} {each}" for each in judge_books(books)]
    assert "\n".join(said) + "\n" == (Path(__file__).parent / "findings.txt").read_text(encoding="utf-8")


def test_every_finding_is_said_in_both_languages() -> None:
    wrong = Books(recordings={"r-1": DESTROYED}, presses={"r-1": PRESS}, cases=frozenset({"x"}), holds=(HOLD,))
    found = judge_books(wrong)
    assert len(found) > 4
    for finding in found:
        assert finding.what != finding.wat
        assert finding.wat in str(finding)


def test_grave_findings_come_first() -> None:
    light = Finding(about="a", what="b", wat="c", grave=False)
    grave = replace(light, grave=True)
    assert gravest_first([light, grave]) == (grave, light)


def test_footage_that_was_let_in_on_peoples_word_has_their_word_in_the_ledger() -> None:
    """Wie de stand in de database verandert om iets te kunnen zien, valt door de mand."""
    admitted = replace(DESTROYED, state="retained", declared=True, destroying_at=None, certificate_sha256=None)
    arrived = entry("recording.quarantined", "r-1", head_sha256="h")
    books = Books(recordings={"r-1": admitted}, entries=(arrived, entry("recording.admitted", "r-1")))
    assert judge_books(books) == ()
    (found,) = judge_books(replace(books, entries=(arrived,)))
    assert (found.grave, "people's word" in found.what) == (True, True)
    derived = entry("recording.received", "r-1", head_sha256="h", deviations=["origin_declared"])
    assert judge_books(replace(books, entries=(derived,))) == ()


def test_an_old_backup_puts_it_apart_again_and_that_is_said_and_harmless() -> None:
    apart = replace(DESTROYED, state="quarantined", destroying_at=None, certificate_sha256=None)
    entries = (entry("recording.quarantined", "r-1", head_sha256="h"), entry("recording.admitted", "r-1"))
    (found,) = judge_books(Books(recordings={"r-1": apart}, entries=entries))
    assert (found.grave, "apart again" in found.what) == (False, True)
