"""Whether a camera may join, and whether it gets a new certificate: every row of the two tables."""

from datetime import timedelta
from typing import Any

import pytest

from cloud.rules.enrolment import CODE_LASTS, judge_enrolment, judge_renewal

NEW: dict[str, Any] = {
    "found": True, "shown_for": timedelta(minutes=1), "name_is": None, "key_is_of": None, "name": "cam-07",
    "name_revoked": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "may", "because"),
    [
        ({}, True, "a new camera under a new name"),
        ({"found": False}, False, "no camera in a bay shows this code"),
        ({"shown_for": CODE_LASTS}, True, "a new camera under a new name"),
        ({"shown_for": CODE_LASTS + timedelta(seconds=1)}, False, "this code is too old"),
        ({"key_is_of": "cam-03"}, False, "known already as cam-03"),
        ({"key_is_of": "cam-03", "name_is": "enrolled"}, False, "known already as cam-03"),
        ({"key_is_of": "cam-07", "name_is": "enrolled"}, True, "confirmed before"),
        ({"key_is_of": "cam-07", "name_is": "enrolled", "name_revoked": True}, False, "used before"),
        ({"key_is_of": "cam-07", "name_is": "removed"}, False, "used before"),
        ({"key_is_of": "cam-07", "name_is": "lost"}, False, "used before"),
        ({"name_is": "enrolled"}, False, "used before"),
        ({"name_is": "removed"}, False, "used before"),
        ({"name_revoked": True}, False, "used before"),
    ],
)
def test_a_camera_joins_once_under_a_name_that_was_never_used(changes: dict[str, Any], may: bool, because: str) -> None:
    """Eén camera, één sleutel, één naam; een naam die er was, komt niet terug, en een code verloopt."""
    verdict = judge_enrolment(**NEW | changes)
    assert verdict.allowed is may
    assert because in verdict.because


@pytest.mark.parametrize(
    ("state", "revoked", "renewed_already", "may", "because"),
    [
        ("enrolled", False, False, True, "an enrolled camera"),
        ("enrolled", False, True, False, "renewed already, for another key"),
        ("enrolled", True, False, False, "this camera is revoked"),
        ("removed", False, False, False, "this camera is removed"),
        ("lost", False, False, False, "this camera is lost"),
        ("outside", False, False, False, "this camera is outside"),
        (None, False, False, False, "no camera of this municipality"),
    ],
)
def test_only_an_enrolled_camera_gets_a_new_certificate_and_only_for_one_key(
    state: str | None, revoked: bool, renewed_already: bool, may: bool, because: str
) -> None:
    """Alleen een ingeschreven camera, niet ingetrokken, en eenmaal per termijn."""
    verdict = judge_renewal(state=state, revoked=revoked, renewed_already=renewed_already)
    assert (verdict.allowed, verdict.because) == (may, because)
