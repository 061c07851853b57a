"""Every lifecycle as one table: from this state, this event leads there. What is not in the table does not happen.

The state diagrams of the documentation are drawn from these tables (`mermaid`), so they cannot differ. A viewing room's
own table is `cloud/viewing/rules/lifecycle.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from broker.wire.policy import CaseKind
from cloud.rules.verdicts import Verdict, allow, deny


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """A named table of moves. `first` are the states in which something may come into being."""

    name: str
    naam: str
    first: frozenset[str]
    moves: Mapping[tuple[str, str], str]

    @property
    def states(self) -> frozenset[str]:
        """Every state there is."""
        return self.first | {before for before, _ in self.moves} | set(self.moves.values())

    @property
    def last(self) -> frozenset[str]:
        """States that nothing leads out of."""
        return self.states - {before for before, _ in self.moves}

    def after(self, state: str, event: str) -> str:
        """Return the state that follows; raise IllegalMove when the table has none."""
        if (state, event) not in self.moves:
            raise IllegalMove(self, state, event)
        return self.moves[state, event]

    def judge(self, state: str, event: str) -> Verdict:
        """Say whether the table has this move."""
        if (state, event) in self.moves:
            return allow(
                f"{self.name}: {event} leads from {state} to {self.moves[state, event]}",
                f"{self.naam}: {event} leidt van {state} naar {self.moves[state, event]}",
            )
        can = ", ".join(self.events_from(state)) or "-"
        return deny(
            f"{self.name}: {event} does not follow in state {state}; what follows is: {can}",
            f"{self.naam}: {event} kan niet in stand {state}; wat kan is: {can}",
        )

    def events_from(self, state: str) -> tuple[str, ...]:
        """Return what can happen in this state, in the order of the table."""
        return tuple(event for before, event in self.moves if before == state)


class IllegalMove(ValueError):  # noqa: N818 - reads as a sentence where it is raised
    """The lifecycle knows no such move: nothing was changed."""

    def __init__(self, lifecycle: Lifecycle, state: str, event: str) -> None:
        self.verdict = lifecycle.judge(state, event)
        super().__init__(self.verdict.because)
        self.lifecycle, self.state, self.event = lifecycle, state, event


def mermaid(lifecycle: Lifecycle) -> str:
    """Return the state diagram of a lifecycle, in Mermaid's language, always in the same order."""
    lines = ["stateDiagram-v2"]
    lines += [f"    [*] --> {state}" for state in sorted(lifecycle.first)]
    lines += [f"    {before} --> {after}: {event}" for (before, event), after in lifecycle.moves.items()]
    lines += [f"    {state} --> [*]" for state in sorted(lifecycle.last)]
    return "\n".join(lines) + "\n"


def _table(*moves: tuple[str, str, str]) -> Mapping[tuple[str, str], str]:
    table = {(before, event): after for before, event, after in moves}
    assert len(table) == len(moves), "a lifecycle has one answer to each event"
    return MappingProxyType(table)


RECORDING: Final = Lifecycle(
    name="recording",
    naam="opname",
    first=frozenset({"announced", "receiving"}),
    moves=_table(
        ("announced", "arrive", "receiving"),
        ("announced", "give_up", "lost"),
        ("lost", "arrive", "receiving"),
        ("receiving", "complete", "verifying"),
        ("verifying", "retain", "retained"),
        ("verifying", "hold", "held"),
        ("verifying", "expire", "due"),
        ("verifying", "restrict", "restricted"),
        ("verifying", "quarantine", "quarantined"),
        ("retained", "hold", "held"),
        ("retained", "restrict", "restricted"),
        ("retained", "expire", "due"),
        ("retained", "destroy", "destroying"),
        ("held", "release_in_term", "retained"),
        ("held", "release_past_term", "due"),
        ("held", "restrict", "restricted"),
        ("due", "hold", "held"),
        ("due", "destroy", "destroying"),
        ("restricted", "decide", "retained"),
        ("restricted", "decide_under_hold", "held"),
        ("restricted", "destroy", "destroying"),
        ("quarantined", "admit", "retained"),
        ("quarantined", "admit_under_hold", "held"),
        ("quarantined", "admit_restricted", "restricted"),
        ("quarantined", "leave_apart", "quarantined"),
        ("quarantined", "destroy", "destroying"),
        ("destroying", "finish", "destroyed"),
    ),
)

HOLD: Final = Lifecycle(
    name="hold",
    naam="bewaarplicht",
    first=frozenset({"provisional", "active"}),
    moves=_table(
        ("provisional", "confirm", "active"),
        ("provisional", "lapse", "lapsed"),
        ("provisional", "release", "released"),
        ("active", "request_release", "release_requested"),
        ("active", "release", "released"),
        ("release_requested", "refuse_release", "active"),
        ("release_requested", "release", "released"),
    ),
)

ACCESS_REQUEST: Final = Lifecycle(
    name="access request",
    naam="inzageverzoek",
    first=frozenset({"received"}),
    moves=_table(
        ("received", "check_identity", "identity_check"),
        ("received", "extend", "received"),
        ("received", "withdraw", "withdrawn"),
        ("identity_check", "assess", "assessment"),
        ("identity_check", "extend", "identity_check"),
        ("identity_check", "withdraw", "withdrawn"),
        ("assessment", "decide", "decided"),
        ("assessment", "extend", "assessment"),
        ("assessment", "withdraw", "withdrawn"),
        ("decided", "carry_out", "carried_out"),
        ("decided", "send_refusal", "objection_window"),
        ("carried_out", "send_partial", "objection_window"),
        ("carried_out", "become_final", "final"),
        ("objection_window", "object", "objection"),
        ("objection_window", "become_final", "final"),
        ("objection", "decide_objection", "appeal_window"),
        ("objection", "withdraw", "final"),
        ("appeal_window", "appeal", "appeal"),
        ("appeal_window", "become_final", "final"),
        ("appeal", "judge", "final"),
        ("appeal", "withdraw", "final"),
        ("final", "carry_out_after_objection", "final"),
        ("final", "close", "closed"),
        ("withdrawn", "close", "closed"),
    ),
)

COMPLAINT: Final = Lifecycle(
    name="complaint",
    naam="klacht",
    first=frozenset({"received"}),
    moves=_table(
        ("received", "handle", "handling"),
        ("received", "withdraw", "closed"),
        ("handling", "extend", "handling"),
        ("handling", "withdraw", "closed"),
        ("handling", "close", "closed"),
    ),
)

CRIMINAL: Final = Lifecycle(
    name="criminal case",
    naam="strafrechtelijk dossier",
    first=frozenset({"received"}),
    moves=_table(
        ("received", "handle", "handling"),
        ("received", "consent", "received"),
        ("handling", "consent", "handling"),
        ("handling", "close", "closed"),
        ("received", "close", "closed"),
    ),
)

LEARNING: Final = Lifecycle(
    name="learning request",
    naam="leerverzoek",
    first=frozenset({"requested"}),
    moves=_table(
        ("requested", "approve", "approved"),
        ("requested", "refuse", "refused"),
        ("requested", "withdraw", "closed"),
        ("approved", "close", "closed"),
        ("refused", "close", "closed"),
    ),
)

OTHER: Final = Lifecycle(
    name="other case",
    naam="ander dossier",
    first=frozenset({"received"}),
    moves=_table(("received", "handle", "handling"), ("received", "close", "closed"), ("handling", "close", "closed")),
)

DISCLOSURE: Final = Lifecycle(
    name="disclosure",
    naam="verstrekking",
    first=frozenset({"prepared"}),
    moves=_table(
        ("prepared", "approve", "approved"),
        ("prepared", "withdraw", "withdrawn"),
        ("approved", "deliver", "delivered"),
        ("approved", "withdraw", "withdrawn"),
        ("delivered", "confirm_receipt", "receipt_confirmed"),
    ),
)

SUBSTITUTION: Final = Lifecycle(
    name="substitution",
    naam="vervanging",
    first=frozenset({"planned", "active"}),
    moves=_table(
        ("planned", "start", "active"),
        ("planned", "end_early", "ended"),
        ("active", "end_early", "ended"),
        ("active", "end", "ended"),
    ),
)

USAGE_REPORT: Final = Lifecycle(
    name="usage report",
    naam="gebruiksmelding",
    first=frozenset({"draft"}),
    moves=_table(
        ("draft", "save", "draft"), ("draft", "submit", "submitted"), ("submitted", "supplement", "submitted")
    ),
)

ALL: Final = (
    RECORDING,
    HOLD,
    ACCESS_REQUEST,
    COMPLAINT,
    CRIMINAL,
    LEARNING,
    OTHER,
    DISCLOSURE,
    SUBSTITUTION,
    USAGE_REPORT,
)


def of_case(kind: CaseKind) -> Lifecycle:
    """Return the lifecycle of this kind of case."""
    match kind:
        case CaseKind.ACCESS_REQUEST:
            return ACCESS_REQUEST
        case CaseKind.COMPLAINT:
            return COMPLAINT
        case CaseKind.AANGIFTE | CaseKind.OM_DEMAND | CaseKind.OM_REQUEST:
            return CRIMINAL
        case CaseKind.LEARNING:
            return LEARNING
        case (
            CaseKind.OTHER_LEGAL
            | CaseKind.INTEGRITY_INVESTIGATION
            | CaseKind.INCIDENT_EVALUATION
            | CaseKind.PROCESSING_OBJECTION
        ):
            return OTHER
