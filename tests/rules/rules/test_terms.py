"""Until when something must be answered, and from when nothing can be done about it any more."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import combinations

import pytest

from broker.wire.policy import CaseKind, EndsWhen
from cloud.rules.holds import SAYS, judge_release
from cloud.rules.terms import (
    Decided,
    access_answer,
    add_months,
    complaint_answer,
    easter_sunday,
    end_of,
    final_from,
    is_final,
    last_day_to_appeal,
    last_day_to_object,
    may_extend,
    next_working_day,
    public_holidays,
)
from tests.rules.rules.towns import changed, heusden

SENT = date(2026, 6, 3)  # a Wednesday
REFUSED = Decided(granted=False, sent_on=SENT)


@pytest.mark.rule("E-07", "H-69", "L-05")
def test_six_weeks_from_the_day_after_sending() -> None:
    """Bezwaar kan tot en met zes weken na de dag van verzending; daarna staat het besluit vast."""
    last = last_day_to_object(heusden(), SENT)
    assert last == date(2026, 7, 15)
    assert not is_final(heusden(), REFUSED, last)
    assert is_final(heusden(), REFUSED, last + timedelta(days=1))
    assert final_from(heusden(), REFUSED) == date(2026, 7, 16)


@pytest.mark.rule("E-07")
def test_a_decision_that_was_not_sent_is_never_final() -> None:
    """De klok loopt vanaf het versturen, niet vanaf het besluiten."""
    assert not is_final(heusden(), Decided(granted=False, sent_on=None), date(2030, 1, 1))
    assert final_from(heusden(), Decided(granted=False, sent_on=None)) is None


@pytest.mark.rule("T-04", "E-07")
def test_an_objection_starts_the_clock_anew_when_its_decision_is_sent() -> None:
    """Bezwaar in week vijf, beslist in week twaalf: pas zes weken daarna staat het vast."""
    objected = replace(REFUSED, objected_on=SENT + timedelta(weeks=5))
    assert not is_final(heusden(), objected, SENT + timedelta(weeks=52))
    assert final_from(heusden(), objected) is None
    decided = replace(objected, objection_sent_on=SENT + timedelta(weeks=12))
    last = SENT + timedelta(weeks=18)
    assert not is_final(heusden(), decided, last)
    assert is_final(heusden(), decided, last + timedelta(days=1))


@pytest.mark.rule("E-07")
def test_an_appeal_ends_with_the_judgment() -> None:
    """Beroep: pas met de uitspraak."""
    appealed = replace(REFUSED, objected_on=SENT, objection_sent_on=SENT, appealed_on=SENT)
    assert not is_final(heusden(), appealed, date(2030, 1, 1))
    judged = replace(appealed, judged_final_on=date(2027, 1, 4))
    assert is_final(heusden(), judged, date(2027, 1, 4))
    assert not is_final(heusden(), judged, date(2027, 1, 3))


@pytest.mark.rule("E-26")
def test_a_withdrawn_request_is_over() -> None:
    """Ingetrokken is afgelopen."""
    assert is_final(heusden(), Decided(granted=False, sent_on=None, withdrawn=True), SENT)


def test_a_granted_request_is_final_when_sent() -> None:
    """Waar alles is toegekend, valt geen bezwaar te maken."""
    assert is_final(heusden(), Decided(granted=True, sent_on=SENT), SENT)


@pytest.mark.rule("L-01")
def test_an_access_request_is_answered_within_a_month_of_receipt() -> None:
    """Een maand na ontvangst, waarschuwen na drie weken, eenmaal verlengen met twee maanden."""
    received = datetime(2026, 1, 31, 9, tzinfo=UTC)
    term = access_answer(heusden(), received)
    assert (term.answer_by, term.warn_on) == (date(2026, 3, 2), date(2026, 2, 21))  # 28 February is a Saturday
    assert access_answer(heusden(), received, extended=True).answer_by == date(2026, 4, 30)
    assert may_extend(heusden(), received, datetime(2026, 3, 2, 12, tzinfo=UTC), extended=False)
    assert not may_extend(heusden(), received, datetime(2026, 3, 3, 12, tzinfo=UTC), extended=False)
    assert not may_extend(heusden(), received, received, extended=True)


@pytest.mark.rule("L-10")
def test_a_complaint_takes_six_weeks_and_may_take_four_more() -> None:
    """Een klacht: zes weken, vier verlenging."""
    received = datetime(2026, 6, 3, 9, tzinfo=UTC)
    assert complaint_answer(heusden(), received) == date(2026, 7, 15)
    assert complaint_answer(heusden(), received, extended=True) == date(2026, 8, 12)


def test_a_term_never_ends_on_a_day_off() -> None:
    """Een termijn eindigt niet op zaterdag, zondag of een feestdag (Algemene termijnenwet)."""
    assert next_working_day(date(2026, 12, 25)) == date(2026, 12, 28)  # Friday, and a weekend behind it
    assert next_working_day(date(2026, 4, 3)) == date(2026, 4, 7)  # Good Friday to after Easter Monday
    assert next_working_day(date(2025, 4, 26)) == date(2025, 4, 28)  # King's Day on a Saturday: the 27th is a Sunday
    assert date(2026, 5, 14) in public_holidays(2026)  # Ascension Day
    assert [easter_sunday(year) for year in (2024, 2025, 2026, 2027)] == [
        date(2024, 3, 31),
        date(2025, 4, 20),
        date(2026, 4, 5),
        date(2027, 3, 28),
    ]


def test_months_end_where_the_month_ends() -> None:
    """Een maand na 31 januari is de laatste dag van februari."""
    assert add_months(date(2026, 1, 31), 1) == date(2026, 2, 28)
    assert add_months(date(2028, 1, 31), 1) == date(2028, 2, 29)
    assert add_months(date(2026, 12, 15), 2) == date(2027, 2, 15)


def test_a_day_ends_at_midnight_in_the_netherlands() -> None:
    """Een dag eindigt om middernacht Nederlandse tijd."""
    assert end_of(date(2026, 6, 3)) == datetime(2026, 6, 3, 22, tzinfo=UTC)


ALL = frozenset(EndsWhen)


@pytest.mark.rule("H-40", "H-41", "H-42", "T-05", "E-39")
@pytest.mark.parametrize("kind", sorted(heusden().hold.reasons))
def test_a_hold_ends_only_when_all_of_it_has_happened(kind: CaseKind) -> None:
    """Elke bewaarplicht eindigt pas als alles is gebeurd wat het beleid noemt, en noemt wat er ontbreekt."""
    needed = heusden().hold.reasons[kind].ends_when
    for happened in range(len(ALL) + 1):
        for met in map(frozenset, combinations(sorted(ALL), happened)):
            verdict = judge_release(heusden(), kind=kind, met=met)
            missing = [each for each in needed if each not in met]
            assert verdict.allowed is not bool(missing)
            if missing:
                assert verdict.because == "the hold stays until: " + ", ".join(SAYS[each][0] for each in missing)
                assert verdict.waarom == "de bewaarplicht blijft tot: " + ", ".join(SAYS[each][1] for each in missing)


@pytest.mark.rule("H-42", "E-39")
def test_no_time_ends_the_hold_of_the_public_prosecution() -> None:
    """Zonder akkoord van het OM blijft het, hoe lang ook."""
    assert not judge_release(heusden(), kind=CaseKind.AANGIFTE, met=ALL - {EndsWhen.OM_CONSENT})


LATER = SENT + timedelta(weeks=5)
PATHS = {
    "refused": (REFUSED, date(2026, 7, 16)),
    "granted": (Decided(granted=True, sent_on=SENT), SENT),
    "never sent": (Decided(granted=True, sent_on=None), None),
    "objected to": (replace(REFUSED, objected_on=LATER), None),
    "objection decided": (replace(REFUSED, objected_on=LATER, objection_sent_on=date(2026, 8, 26)), date(2026, 10, 8)),
    "appealed": (
        replace(REFUSED, objected_on=LATER, objection_sent_on=date(2026, 8, 26), appealed_on=date(2026, 9, 30)),
        None,
    ),
    "judged": (
        replace(
            REFUSED, objected_on=LATER, objection_sent_on=date(2026, 8, 26), appealed_on=date(2026, 9, 30),
            judged_final_on=date(2026, 12, 1),
        ),
        date(2026, 12, 1),
    ),
    "granted in part, then objected to": (Decided(granted=True, sent_on=SENT, objected_on=LATER), None),
}  # fmt: skip


@pytest.mark.rule("E-07", "T-03", "T-04")
@pytest.mark.parametrize(("decided", "first_day"), PATHS.values(), ids=PATHS)
def test_the_day_that_is_shown_is_the_first_on_which_it_is_final(decided: Decided, first_day: date | None) -> None:
    """De dag die het dossier noemt, is de eerste waarop het besluit vaststaat: geen dag eerder of later."""
    assert final_from(heusden(), decided) == first_day
    if first_day is None:
        assert not is_final(heusden(), decided, date(2100, 1, 1))
    else:
        assert is_final(heusden(), decided, first_day)
        assert not is_final(heusden(), decided, first_day - timedelta(days=1)) or decided.granted


@pytest.mark.rule("E-26")
def test_what_was_withdrawn_is_final_at_once() -> None:
    """Ingetrokken is afgelopen, ook als er niets verstuurd werd."""
    assert is_final(heusden(), Decided(granted=False, sent_on=None, withdrawn=True), SENT)
    assert is_final(heusden(), Decided(granted=False, sent_on=SENT, objected_on=SENT, withdrawn=True), SENT)


@pytest.mark.rule("L-10")
def test_a_complaint_before_a_committee_takes_ten_weeks_and_an_extension_four_more() -> None:
    """Zes weken, tien met een commissie, en eenmaal vier erbij."""
    received = datetime(2026, 6, 1, 10, tzinfo=UTC)
    committee = changed("heusden", ("by_committee = false", "by_committee = true"))
    weeks = [
        (complaint_answer(policy, received, extended=extended) - received.date()).days / 7
        for policy in (heusden(), committee)
        for extended in (False, True)
    ]
    assert weeks == [6, 10, 10, 14]


def test_public_holidays_are_those_of_the_law_also_when_kings_day_is_a_sunday() -> None:
    """Pasen, Hemelvaart en Pinksteren volgen de maan; valt Koningsdag op zondag, dan is het zaterdag."""
    easters = {2019: (4, 21), 2024: (3, 31), 2025: (4, 20), 2026: (4, 5), 2027: (3, 28), 2038: (4, 25), 2049: (4, 18)}
    assert {year: (easter_sunday(year).month, easter_sunday(year).day) for year in easters} == easters
    days = "1-1 26-3 29-3 27-4 5-5 6-5 17-5 25-12 26-12"
    assert [f"{each.day}-{each.month}" for each in sorted(public_holidays(2027))] == days.split()
    assert next_working_day(date(2027, 5, 7)) == date(2027, 5, 7), "a Friday is a working day, also after Ascension"
    assert next_working_day(date(2027, 5, 15)) == date(2027, 5, 18), "a weekend, and Whit Monday"
    assert date(2025, 4, 26) in public_holidays(2025)
    assert date(2025, 4, 27) not in public_holidays(2025), "a Sunday: kept a day earlier"
    assert date(2026, 4, 27) in public_holidays(2026)
    assert date(2026, 4, 26) not in public_holidays(2026)
    assert last_day_to_appeal(heusden(), date(2026, 11, 13)) == date(2026, 12, 28), "Christmas Day, then a weekend"
