"""Lifecycles, figures, warnings and the public text."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.wire.policy import CaseKind
from cloud.casework.policy_command import main
from cloud.rules.explain import Language, explain, plain_text
from cloud.rules.lifecycles import ALL, IllegalMove, Lifecycle, mermaid, of_case
from cloud.rules.lint import lint
from cloud.rules.statistics import DIMENSIONS, NotAFigure, figure, suppress, without_person
from tests.rules.rules.towns import FOLDER, changed, heusden, rotterdam

TODAY = date(2026, 6, 1)


@pytest.mark.rule("E-11", "E-38")
@pytest.mark.parametrize("lifecycle", ALL, ids=lambda each: each.name)
def test_what_is_not_in_the_table_does_not_happen(lifecycle: Lifecycle) -> None:
    """Elke stap die niet in de tabel staat, wordt geweigerd en noemt wat wel kan."""
    events = {event for _, event in lifecycle.moves}
    for state, event in product(sorted(lifecycle.states), sorted(events)):
        if (state, event) in lifecycle.moves:
            assert lifecycle.after(state, event) in lifecycle.states
            assert lifecycle.judge(state, event)
        else:
            with pytest.raises(IllegalMove) as caught:
                lifecycle.after(state, event)
            assert not caught.value.verdict


@pytest.mark.parametrize("lifecycle", ALL, ids=lambda each: each.name)
def test_every_state_can_be_reached_and_left_or_is_the_end(lifecycle: Lifecycle) -> None:
    """Geen stand is onbereikbaar, en elk begin kan tot een einde komen."""
    reached = set(lifecycle.first)
    for _ in lifecycle.states:
        reached |= {after for (before, _), after in lifecycle.moves.items() if before in reached}
    assert reached == lifecycle.states
    diagram = mermaid(lifecycle)
    assert diagram.startswith("stateDiagram-v2\n")
    assert all(f"{before} --> {after}: {event}" in diagram for (before, event), after in lifecycle.moves.items())


def test_every_kind_of_case_has_a_lifecycle() -> None:
    """Elk soort dossier heeft een levensloop."""
    assert all(of_case(kind).first for kind in CaseKind)


COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 30), max_size=6)


@pytest.mark.rule("T-43", "E-46", "R-23")
@given(counts=COUNTS, threshold=st.integers(2, 8))
def test_what_is_shown_is_true_and_never_small(counts: dict[str, int], threshold: int) -> None:
    """Wat er staat, klopt en is nooit klein; en waar niets klein is, staat alles."""
    shown = suppress("area", counts, threshold=threshold)
    total = sum(counts.values())
    assert shown.total == (None if 0 < total < threshold else total)
    for name, cell in shown.cells.items():
        assert cell in (None, counts[name])
        assert cell is None or cell == 0 or cell >= threshold
    if not any(0 < count < threshold for count in counts.values()):
        assert shown.cells == counts
        assert list(shown.cells) == sorted(counts)


@pytest.mark.rule("T-43", "E-46", "R-23")
@settings(max_examples=300)
@given(counts=COUNTS, threshold=st.integers(2, 8))
def test_a_small_count_that_is_hidden_could_as_well_be_another(counts: dict[str, int], threshold: int) -> None:
    """Wie een verborgen klein aantal ruilt met een ander dat verborgen is en niet klein, ziet precies hetzelfde."""
    shown = suppress("area", counts, threshold=threshold)
    hidden = [name for name, cell in shown.cells.items() if cell is None]
    for small in (name for name in hidden if counts[name] < threshold):
        large = next(name for name in hidden if counts[name] >= threshold)
        exchanged = {**counts, small: counts[large], large: counts[small]}
        assert suppress("area", exchanged, threshold=threshold) == shown


@pytest.mark.rule("T-43", "E-46", "R-23")
def test_nobody_who_knows_the_rule_and_the_total_can_work_out_a_small_count() -> None:
    """Alle verdelingen van drie aantallen tot en met elf: hoort er maar één bij wat er staat, dan is die nergens klein.

    Het totaal staat ook bij andere cijfers over hetzelfde kwartaal; wie het kent, weet dus niet meer dan hier.
    """
    could_be = defaultdict[tuple[str, int | None], list[tuple[int, ...]]](list)
    for counts in product(range(12), repeat=3):
        shown = suppress("area", dict(zip("abc", counts, strict=True)), threshold=5)
        could_be[str(shown), shown.total].append(counts)
    for alternatives in could_be.values():
        for cell in zip(*alternatives, strict=True):
            assert len(set(cell)) > 1 or cell[0] == 0 or cell[0] >= 5, alternatives


def test_one_area_with_few_hides_the_smallest_of_the_others_too() -> None:
    """Drie keer in Oost: dan staat ook het kleinste andere aantal er niet, en bij twee gebieden geen verdeling."""
    assert suppress("area", {"noord": 9, "oost": 3, "west": 5, "zuid": 5}, threshold=5).cells == {
        "noord": 9,
        "oost": None,
        "west": None,
        "zuid": None,
    }
    two = suppress("area", {"noord": 9, "oost": 3}, threshold=5)
    assert (two.cells, two.total) == ({}, 12)
    once = suppress("area", {"noord": 1}, threshold=5)
    assert (once.cells, once.total) == ({}, None)
    ones = suppress("area", dict.fromkeys("abcde", 1), threshold=5)
    assert (ones.cells, ones.total) == ({}, 5), "five areas and five times: each of them once"


def test_what_is_kept_of_a_report_without_people_counts_the_same_and_says_no_more() -> None:
    """Zijn de mensen van een melding vergeten, dan blijven het kwartaal, op tijd of niet, en de aantallen."""
    due = datetime(2026, 8, 20, 22, tzinfo=UTC)
    answers = {"reason": "own_safety", "warning_given": False, "event": "Jan sloeg", "place_kind": "street"}
    for late, on_time in ((timedelta(), True), (timedelta(seconds=1), False)):
        kept = without_person(answers, submitted_at=due + late, due_at=due)
        assert kept["submitted_at"] == datetime(2026, 6, 30, 22, tzinfo=UTC), "when the quarter began, here"
        assert (kept["submitted_at"] <= kept["due_at"]) is on_time
        assert kept["answers"] == {"reason": "own_safety", "warning_given": False, "place_kind": "street"}


@pytest.mark.rule("T-43", "E-46", "H-59")
def test_figures_cannot_be_asked_per_person() -> None:
    """Er bestaat geen telling per medewerker."""
    for asked in ("official", "officer", "name", "camera"):
        assert asked not in DIMENSIONS
        with pytest.raises(NotAFigure):
            figure(asked, ["x"], threshold=5)
        with pytest.raises(NotAFigure):
            suppress(asked, {"x": 9}, threshold=5)
    table = figure("warning_given", ["yes"] * 9 + ["no"] * 6, threshold=heusden().statistics.threshold)
    assert (table.cells, table.total) == ({"yes": 9, "no": 6}, 15)


def rules_of(*changes: tuple[str, str], town: str = "heusden") -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in lint(changed(town, *changes), today=TODAY):
        assert each.article
        assert each.says
        assert each.zegt
        found.setdefault(each.rule, []).append(each.field)
    return found


@pytest.mark.rule("L-02", "L-07", "L-08", "L-09", "L-12", "H-27", "E-04b")
def test_lint_says_what_is_at_stake_in_heusden() -> None:
    """Bij Heusden: geen kopie, politiegegevens, verzoek zonder vordering, papieren, gevoelige beelden."""
    assert set(rules_of()) == {"L-02", "L-07", "L-08", "L-09", "L-12", "E-04b"}


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("L-01", (("access_answer_months = 1", "access_answer_months = 3"),)),
        ("L-03", (("reason_required = false", "reason_required = true"),)),
        ("L-04", (('requires_case = "none"', 'requires_case = "complaint"'),)),
        ("L-04", (('latest_days = "none"', "latest_days = 14"),)),
        ("L-05", (("objection_weeks = 6", "objection_weeks = 4"),)),
        ("L-06", (("access_request = { on_receipt = true", "access_request = { on_receipt = false"),)),
        ("L-10", (('exclude_involved = "all_but_learner"', 'exclude_involved = "nobody"'),)),
        ("L-11", (("days = 28", "days = 90"),)),
        ("E-19", (('valid_until = "none"', "valid_until = 2026-06-10"),)),
        ("C-23", (('redaction = "if_needed"', 'redaction = "not_used"'),)),
        ("E-36", (("quorum = 2", "quorum = 1"),)),
    ],
)
def test_lint_warns_of_each_tension_with_the_law(rule: str, changes: tuple[tuple[str, str], ...]) -> None:
    """Elke waarschuwing komt precies als het beleid daar aanleiding toe geeft."""
    assert rule not in rules_of()
    assert rule in rules_of(*changes)


@pytest.mark.rule("R-16")
def test_a_pool_of_two_with_a_pair_is_warned_of() -> None:
    """Een groep van twee en toch in tweetal: één zieke en niemand kijkt."""
    assert "C-03" not in rules_of(town="rotterdam")
    pair = [("quorum = 1", "quorum = 2")]
    pair += [('seats = [["authorised_viewer"]]', 'seats = [["authorised_viewer"], ["authorised_viewer"]]')] * 3
    assert "C-03" in rules_of(*pair, town="rotterdam")


OTHERWISE: tuple[tuple[str, str, str], ...] = (
    ("heusden", "access_answer_months = 1", "access_answer_months = 2"),
    ("heusden", "access_extension_months = 2", "access_extension_months = 3"),
    ("heusden", 'latest_days = "none"', "latest_days = 27"),
    ("heusden", 'latest_days = "none"', "latest_days = 28"),
    ("heusden", "objection_weeks = 6", "objection_weeks = 5"),
    ("heusden", "appeal_weeks = 6", "appeal_weeks = 5"),
    ("heusden", "objection_weeks = 6", "objection_weeks = 7"),
    ("heusden", 'access_request = { on_receipt = true, ends_when = ["decision_final", "carried_out"] }', ""),
    ("heusden", 'ends_when = ["decision_final", "carried_out"]', 'ends_when = ["decision_final"]'),
    ("heusden", 'case_kinds = ["om_demand", "om_request"]', 'case_kinds = ["om_demand"]'),
    ("heusden", 'case_kinds = ["om_demand", "om_request"]', 'case_kinds = ["om_request"]'),
    ("heusden", 'bases = ["om_request", "om_demand", "aangifte"]', 'bases = ["om_demand", "aangifte"]'),
    ("heusden", 'dpia_on = "none"', "dpia_on = 2023-06-01"),
    ("heusden", 'dpia_on = "none"', "dpia_on = 2023-05-31"),
    ("heusden", 'processing_register_id = "none"', 'processing_register_id = "VR-17"'),
    ("heusden", 'works_council_on = "none"', "works_council_on = 2025-05-01"),
    ("heusden", "complaint_weeks = 6", "complaint_weeks = 7"),
    ("heusden", "complaint_committee_weeks = 10", "complaint_committee_weeks = 11"),
    ("heusden", "days = 28", "days = 29"),
    ("heusden", "sound = true", "sound = false"),
    ("heusden", '"private_property", "dwelling"]', '"private_property"]'),
    ("heusden", "dpia_labels = []", 'dpia_labels = ["sound", "dwellings"]'),
    ("heusden", "quorum = 2\n\n[hold]", "quorum = 1\n\n[hold]"),
    ("heusden", "early_allowed = true", "early_allowed = false"),
    ("heusden", 'valid_until = "none"', "valid_until = 2026-06-28"),
    ("heusden", 'valid_until = "none"', "valid_until = 2026-06-29"),
    (
        "heusden",
        'via = ["dock"]\n# "Dit gebeurt automatisch."\nmanual_import = false',
        'via = ["dock", "import"]\nmanual_import = true',
    ),
)


def test_every_limit_of_the_law_stands_in_a_table() -> None:
    """Wat een andere keuze aan waarschuwingen kost of scheelt; wie een grens verlegt, ziet het hier."""
    said = []
    for town, was, becomes in OTHERWISE:
        before, after = (set(lint(changed(town, *change), today=TODAY)) for change in ((), ((was, becomes),)))
        said.append(f"{town}: {' '.join(becomes.split()) or 'no hold at an access request'}")
        said += sorted(f"  + {each.rule} {each.field}: {each.zegt} / {each.says}" for each in after - before)
        said += sorted(f"  - {each.rule} {each.field}: {each.zegt} / {each.says}" for each in before - after)
    assert "\n".join(said) + "\n" == (Path(__file__).parent / "tensions.txt").read_text(encoding="utf-8")


def test_complete_paperwork_silences_its_warnings_and_age_brings_one_back() -> None:
    """Zijn de papieren er, dan zwijgt de waarschuwing; na drie jaar komt zij terug."""
    whole = (
        ('dpia_on = "none"', "dpia_on = 2025-06-01"),
        ("dpia_labels = []", 'dpia_labels = ["sound", "dwellings", "minors"]'),
        ('processing_register_id = "none"', 'processing_register_id = "VR-17"'),
        ('works_council_on = "none"', "works_council_on = 2025-05-01"),
    )
    assert not {"L-09", "L-12"} & set(rules_of(*whole))
    old = (('dpia_on = "none"', "dpia_on = 2023-05-01"), *whole[1:])
    assert rules_of(*old)["L-09"] == ["paperwork.dpia_on"]


@pytest.mark.rule("T-45", "R-26", "H-70", "H-71")
@pytest.mark.parametrize("language", ["nl", "en"])
def test_the_public_text_says_what_the_policy_says(language: Language) -> None:
    """Rotterdam: 120 seconden en 2 personen; Heusden: 30 seconden en altijd met zijn tweeën."""
    town, other = plain_text(rotterdam(), language), plain_text(heusden(), language)
    two, pair = {"nl": ("2 personen", "twee mensen samen"), "en": ("2 people", "two people together")}[language]
    assert "120 sec" in town
    assert two in town
    assert pair not in town
    assert "30 sec" in other
    assert "120" not in other
    assert pair in other
    assert "28" in town
    assert "rotterdam.nl/bodycams" in town


@pytest.mark.rule("H-70")
def test_the_public_text_follows_every_change_of_the_policy() -> None:
    """Verandert een getal, dan verandert de tekst."""
    before = plain_text(heusden(), "nl")
    for change in (
        ("days = 28", "days = 14"),
        ("seconds = 30", "seconds = 45"),
        ("seconds = 0", "seconds = 20"),
        ('bound = "fixed"', 'bound = "maximum"'),
        ("sound = true", "sound = false"),
        ("objection_weeks = 6", "objection_weeks = 8"),
        ('recipients = ["police", "om"]', 'recipients = ["om"]'),
        ("count = 1", "count = 2"),
        ("reason_required = false", "reason_required = true"),
        ('on_release = "next_run"\ngrace_days = "none"', 'on_release = "grace_days"\ngrace_days = 9'),
    ):
        assert plain_text(changed("heusden", change), "nl") != before, change
        assert all(section.sentences for section in explain(changed("heusden", change), "en"))


def test_the_words_about_both_towns_are_these() -> None:
    """Wie een zin verandert, ziet hier wat inwoners dan lezen, in beide talen."""
    said = [plain_text(town(), language) for town in (heusden, rotterdam) for language in ("nl", "en")]
    assert "\n".join(said) == (Path(__file__).parent / "explained.txt").read_text(encoding="utf-8")


def test_sentences_for_residents_are_short() -> None:
    """Zinnen voor inwoners zijn kort (B1), behalve waar zij functies opsommen."""
    for policy in (heusden(), rotterdam()):
        for section in explain(policy, "nl")[:2]:
            for line in section.sentences:
                for sentence in line.split(". "):
                    assert len(sentence.split()) <= 30, sentence


def test_the_command_lints_and_explains(capsys: pytest.CaptureFixture[str]) -> None:
    """Het commando legt uit, waarschuwt en noemt elke fout met zijn bestand."""
    path = str(FOLDER / "heusden.toml")
    assert main(["explain", path]) == 0
    assert "30 seconden" in capsys.readouterr().out
    assert main(["lint", path, "--today", "2026-06-01"]) == 1
    out = capsys.readouterr().out
    assert "L-02 purposes.access_request.copy (AVG 15(3), 15(4))" in out
    assert "nothing was changed" in out
    assert main(["fields"]) == 0
    assert "retention.days = <whole number, 1 to 3650>" in capsys.readouterr().out
    assert main(["lint", str(FOLDER / "README.md")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert main(["explain", str(FOLDER / "nowhere.toml")]) == 2
