"""A policy file says everything, and nothing twice."""

from datetime import date

import pytest

from broker.wire.policy import (
    Act,
    ActivationReason,
    Bound,
    CaseKind,
    Copy,
    EndsWhen,
    PlaceKind,
    PolicyError,
    Scope,
    Via,
    camera_settings,
    every_field,
    read_policy,
)
from tests.rules.rules.towns import changed, changed_text, document, heumen, heusden, noordwijk, rotterdam

TOWNS = ("heusden", "rotterdam")


@pytest.mark.rule("H-17", "H-18", "H-20", "C-01")
def test_heusden_keeps_the_thirty_seconds_before_the_press() -> None:
    """Heusden bewaart dertig seconden vooropname, Rotterdam twee minuten."""
    assert camera_settings(heusden(), 7).pre_record_s == 30
    assert camera_settings(heusden(), 7).version == 7


@pytest.mark.rule("R-14", "R-22")
def test_rotterdam_keeps_the_two_minutes_before_the_press() -> None:
    """Beide zinnen van Rotterdam over vooropname lezen uit één getal."""
    assert camera_settings(rotterdam()).pre_record_s == 120


@pytest.mark.rule("R-09", "R-24", "H-38")
def test_both_towns_keep_twenty_eight_days_but_mean_something_else_by_it() -> None:
    """Rotterdam: ten hoogste, alle gegevens. Heusden: precies, de beelden."""
    assert (rotterdam().retention.days, heusden().retention.days) == (28, 28)
    assert (rotterdam().retention.bound, heusden().retention.bound) == (Bound.MAXIMUM, Bound.FIXED)
    assert rotterdam().retention.scope is Scope.FOOTAGE_AND_METADATA
    assert heusden().retention.scope is Scope.FOOTAGE


@pytest.mark.rule("R-16", "H-43", "H-47")
def test_two_is_a_pool_in_one_town_and_a_pair_in_the_other() -> None:
    """'Twee' is in Rotterdam een groep van twee, in Heusden twee tegelijk."""
    assert (rotterdam().viewing.pool.max_size, rotterdam().viewing.quorum) == (2, 1)
    assert (heusden().viewing.pool.max_size, heusden().viewing.quorum) == (None, 2)
    assert len(heusden().viewing.roles) == 5


@pytest.mark.rule("R-18", "H-06", "H-59")
def test_reasons_to_view_are_a_closed_list_without_appraisal() -> None:
    """Kijken mag om drie redenen in Rotterdam, om vier in Heusden; nooit voor een personeelsgesprek."""
    assert set(rotterdam().purposes) == {"om_demand", "complaint", "access_request"}
    kinds = {kind for purpose in heusden().purposes.values() for kind in purpose.case_kinds}
    assert kinds == {
        CaseKind.OM_DEMAND,
        CaseKind.OM_REQUEST,
        CaseKind.AANGIFTE,
        CaseKind.COMPLAINT,
        CaseKind.ACCESS_REQUEST,
        CaseKind.LEARNING,
    }
    assert not any("appraisal" in name for name in heusden().purposes)


@pytest.mark.rule("H-40", "H-41", "H-42", "H-39", "R-11")
def test_each_kind_of_case_has_its_own_end_of_the_hold() -> None:
    """Inzage, klacht, aangifte en vordering houden beelden vast tot verschillende momenten."""
    ends = {kind: set(reason.ends_when) for kind, reason in heusden().hold.reasons.items()}
    assert ends[CaseKind.ACCESS_REQUEST] == {EndsWhen.DECISION_FINAL, EndsWhen.CARRIED_OUT}
    assert ends[CaseKind.COMPLAINT] == {EndsWhen.CASE_CLOSED}
    assert ends[CaseKind.AANGIFTE] == ends[CaseKind.OM_DEMAND] == {EndsWhen.OM_CONSENT}
    assert CaseKind.LEARNING not in ends
    assert CaseKind.OTHER_LEGAL in rotterdam().hold.reasons


@pytest.mark.rule("H-57", "H-64")
def test_no_copy_for_access_and_learning() -> None:
    """Bij inzage en leren bestaat geen kopie."""
    assert heusden().purposes["access_request"].copy is Copy.NO_COPY
    assert heusden().purposes["learning"].copy is Copy.NO_COPY


@pytest.mark.rule("R-03", "H-23")
def test_the_exception_to_the_warning_exists_in_heusden_only() -> None:
    """Rotterdam waarschuwt altijd, Heusden tenzij het niet kan."""
    assert heusden().announcement.exception_allowed
    assert not rotterdam().announcement.exception_allowed


@pytest.mark.rule("R-01", "R-17", "H-12", "H-19")
def test_reasons_to_press_are_the_protocols_own() -> None:
    """De redenen om aan te zetten komen uit het protocol."""
    assert set(rotterdam().activation.reasons) == {
        ActivationReason.THREATENING_ESCALATION,
        ActivationReason.ESCALATION,
    }
    assert set(heusden().activation.reasons) == {ActivationReason.OWN_SAFETY, ActivationReason.SAFETY_OF_OTHERS}


@pytest.mark.rule("H-13", "H-14", "H-15")
def test_heusden_allows_four_kinds_of_place() -> None:
    """Openbaar, voor publiek toegankelijk, privéterrein en woningen."""
    assert set(heusden().locations.allowed) == set(PlaceKind)
    assert set(rotterdam().locations.allowed) == {PlaceKind.PUBLIC_SPACE}


@pytest.mark.rule("H-31", "H-33", "H-34")
def test_back_office_rights_of_heusden_are_two_separate_sets() -> None:
    """De coördinator mag alleen camera's, de andere twee alleen beelden."""
    rights = heusden().back_office
    assert set(rights) == {"coordinator", "cluster_manager", "privacy_officer"}
    assert set(rights["coordinator"]) == {Act.DEVICE_ADD, Act.DEVICE_REMOVE}
    assert set(rights["privacy_officer"]) == {Act.ARCHIVE, Act.TRANSFER, Act.DESTROY}


@pytest.mark.rule("H-35", "R-07")
def test_footage_comes_in_by_the_dock_alone() -> None:
    """Beelden komen alleen binnen via een dockingstation."""
    for policy in (heusden(), rotterdam()):
        assert policy.ingest.via == (Via.DOCK,)
        assert not policy.ingest.manual_import


@pytest.mark.rule("R-15", "R-23", "R-25", "R-26")
def test_the_pilot_of_rotterdam_is_data() -> None:
    """Vijftig camera's, een jaar proef, na zes maanden andere wijken."""
    policy = rotterdam()
    assert policy.fleet.expected == 50
    assert policy.policy.evaluation
    assert policy.policy.evaluation_months == 12
    assert [(step.areas, step.after_months) for step in policy.rollout.steps] == [
        (("Zuid",), 0),
        (("Noord", "Centrum"), 6),
    ]
    assert policy.policy.public_info_url == "https://rotterdam.nl/bodycams"


@pytest.mark.rule("H-01", "H-67", "H-70")
def test_a_policy_names_its_decision() -> None:
    """Titel, orgaan, datum, versie en bron staan erin."""
    about = heusden().policy
    assert (about.adopted_on, about.version, about.authority) == (date(2023, 5, 16), 1, "college van Heusden")
    assert about.privacy_statement_url
    assert about.public_info_url


@pytest.mark.parametrize("town", TOWNS)
def test_every_line_can_be_taken_out_and_is_then_asked_for(town: str) -> None:
    """Elke regel die ontbreekt, wordt met naam en toelichting gevraagd: niets heeft een waarde in de code."""
    lines = document(town).splitlines()
    asked = 0
    for at, line in enumerate(lines):
        name = line.split("=")[0].strip()
        if "=" not in line or line.startswith("#") or not name.isidentifier() or line.rstrip().endswith("["):
            continue
        if name in _OF_CHOICE[town]:
            continue  # roles and kinds of case are a municipality's own to add
        with pytest.raises(PolicyError) as caught:
            read_policy("\n".join(lines[:at] + lines[at + 1 :]))
        assert any(
            f"{name} is missing" in problem or f".{name} is missing" in problem for problem in caught.value.problems
        )
        asked += 1
    assert asked > 100


_OF_CHOICE = {
    "heusden": {
        "officer", "app_admin", "dpo", "auditor", "coordinator", "cluster_manager", "privacy_officer",
        "municipal_secretary", "safety_coordinator", "access_request", "complaint", "aangifte", "om_demand",
        "om_request",
    },
    "rotterdam": {
        "officer", "authorised_viewer", "coordinator", "privacy_officer", "app_admin", "dpo", "auditor",
        "om_demand", "complaint", "access_request", "other_legal",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("days = 28", "dayz = 28"), "retention.dayz is not a field of a policy; did you mean retention.days?"),
        (("days = 28", "days = 0"), "retention.days: expected 1 to 3650, got 0"),
        (("days = 28", 'days = "28"'), "retention.days: expected whole number, 1 to 3650, got '28'"),
        (("days = 28", "days = true"), "retention.days: expected whole number"),
        (('["own_safety"', '["own_safty"'), "did you mean 'own_safety'?"),
        (('then = "cluster_manager"', 'then = "cluster_manger"'), "is not a role of this policy"),
        (
            ('seats = [["requesting_officer"], ["coordinator"]]', 'seats = [["coordinator"]]'),
            "viewing.quorum (2), got 1",
        ),
        (("forbidden = []", 'forbidden = ["dwelling"]'), "stands under both allowed and forbidden"),
        (('grace_days = "none"', "grace_days = 3"), 'hold.grace_days is set exactly when on_release = "grace_days"'),
        (('org = "heusden"', 'org = "He"'), "policy.org: municipality: expected 3 to 40"),
        (("schema = 1", "schema = 2"), "schema: expected 1, got 2"),
        (('valid_until = "none"', "valid_until = 2020-01-01"), "policy.valid_until: expected 2023-05-16 or later"),
        (("[pre_record]\n", "[pre_record\n"), "cannot be read"),
        (("manual_import = false", "manual_import = true"), "belong together"),
    ],
)
def test_a_mistake_is_named_with_what_to_write_instead(change: tuple[str, str], says: str) -> None:
    """Een fout noemt de regel en wat er had moeten staan."""
    with pytest.raises(PolicyError) as caught:
        read_policy(changed_text("heusden", change))
    assert any(says in problem for problem in caught.value.problems), caught.value.problems


def test_a_missing_line_is_quoted_as_it_must_be_added() -> None:
    """Bij een ontbrekende sleutel staat de regel die erbij moet."""
    with pytest.raises(PolicyError) as caught:
        read_policy(changed_text("heusden", ("days = 28", "")))
    (problem,) = caught.value.problems
    assert problem == (
        "retention.days is missing; add under [retention] the line: "
        "days = <whole number, 1 to 3650>  # days that footage is kept"
    )


def test_all_mistakes_are_named_at_once() -> None:
    """Alle fouten in één keer, niet één per keer."""
    with pytest.raises(PolicyError) as caught:
        read_policy(changed_text("heusden", ("days = 28", "days = 0"), ("seconds = 30", "seconds = -1")))
    assert len(caught.value.problems) == 2


@pytest.mark.rule("P-02", "P-03", "P-04")
def test_other_towns_are_data_too() -> None:
    """Veertien dagen, een minuut vooropname, doorlopen na het uitzetten: geen regel code."""
    assert (noordwijk().retention.days, camera_settings(noordwijk()).pre_record_s) == (14, 60)
    assert camera_settings(heumen()).post_record_s == 120
    assert changed("heusden", ('copy = "evidence_package"', 'copy = "redacted_copy"')).org == "heusden"


def test_every_field_has_a_meaning_and_a_unit() -> None:
    """Elk veld zegt wat het betekent en wat het mag zijn."""
    fields = every_field()
    assert len(fields) > 100
    assert all(each.meaning and each.expected for each in fields)
    assert any(each.name == "hold.reasons.<name>.ends_when" for each in fields)


@pytest.mark.parametrize("town", TOWNS)
def test_every_table_quotes_its_sentence_or_says_that_there_is_none(town: str) -> None:
    """In elke tabel staat een citaat, of dat het een interpretatie is, of dat de tekst zwijgt."""
    for block in document(town).split("\n[")[1:]:
        remarks = [line for line in block.splitlines() if line.startswith("#")]
        marks = ('# "', "Interpretatie", "iet genoemd", "noemt", "Niet in")
        assert any(mark in line for line in remarks for mark in marks), block
