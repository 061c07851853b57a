"""When footage must be made unrecognisable first, and when it may be: what the policy says per purpose."""

from collections.abc import Sequence

from broker.wire.policy import Copy, Purpose, Redaction
from cloud.rules.verdicts import Verdict, allow, deny


def judge_use(purpose: Purpose, *, redacting: bool, derivatives: Sequence[bool], leaves: bool) -> Verdict:
    """Say whether recordings may be used so under this purpose. `leaves`: they are handed over.

    Where the policy requires redaction, an original is opened to redact it, and otherwise by nobody.
    """
    if redacting and purpose.redaction is Redaction.NOT_USED:
        return deny("this purpose uses no redaction", "bij dit doel wordt niets onherkenbaar gemaakt")
    if redacting and any(derivatives):
        return deny("this is unrecognisable already", "dit is al onherkenbaar gemaakt")
    if not redacting and purpose.redaction is Redaction.REQUIRED and not all(derivatives):
        what = ("handed over", "verstrekt") if leaves else ("shown", "getoond")
        return deny(
            f"for this purpose only what was made unrecognisable is {what[0]}",
            f"bij dit doel wordt alleen {what[1]} wat onherkenbaar is gemaakt",
        )
    if leaves and purpose.copy is Copy.NO_COPY:
        return deny("this purpose gives no copy", "bij dit doel gaat er geen kopie mee")
    if leaves and purpose.copy is Copy.REDACTED_COPY and not all(derivatives):
        return deny(
            "of this purpose's footage only what was made unrecognisable is given",
            "bij dit doel gaat alleen een kopie mee waarop anderen onherkenbaar zijn",
        )
    return allow("the policy allows it", "het beleid staat het toe")
