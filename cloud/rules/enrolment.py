"""Whether a camera may join, and whether it gets a new certificate. Who may decide it is `cloud.rules.rights`."""

from datetime import timedelta
from typing import Final

from cloud.rules.verdicts import Verdict, allow, deny

CODE_LASTS: Final = timedelta(minutes=30)
"""How long a code that a camera shows can be typed at the desk. Long enough for a box of new cameras."""


def judge_enrolment(
    *, found: bool, shown_for: timedelta, name_is: str | None, key_is_of: str | None, name: str, name_revoked: bool
) -> Verdict:
    """Decide whether the camera that shows this code may join under this name.

    `found`: a camera in a bay shows it. `name_is`: the state of the camera that has this name already; `key_is_of`: the
    name under which this camera's key is known already. `name_revoked`: the name's certificate was revoked once.
    """
    if not found:
        return deny("no camera in a bay shows this code", "geen camera in een dock toont deze code")
    if shown_for > CODE_LASTS:
        return deny("this code is too old; start the camera again", "deze code is verlopen; start de camera opnieuw")
    if key_is_of is not None and key_is_of != name:
        return deny(f"this camera is known already as {key_is_of}", f"deze camera is al bekend als {key_is_of}")
    if key_is_of == name and name_is == "enrolled" and not name_revoked:
        return allow("this camera was confirmed before", "deze camera was al bevestigd")
    if name_is is not None or name_revoked:
        return deny(
            f"{name} was used before; a camera that comes (back) gets a new name",
            f"{name} is al gebruikt; een camera die (terug)komt krijgt een nieuwe naam",
        )
    return allow("a new camera under a new name", "een nieuwe camera met een nieuwe naam")


def judge_renewal(*, state: str | None, revoked: bool, renewed_already: bool) -> Verdict:
    """Decide whether a camera gets a new certificate. `renewed_already`: for another key, and it is not due again."""
    if state is None:
        return deny("no camera of this municipality", "geen camera van deze gemeente")
    if state != "enrolled" or revoked:
        return deny(
            f"this camera is {state if state != 'enrolled' else 'revoked'}", "deze camera is niet meer in gebruik"
        )
    if renewed_already:
        return deny("renewed already, for another key", "al vernieuwd, voor een andere sleutel")
    return allow("an enrolled camera", "een ingeschreven camera")
