"""The twelve numbered steps, in the order in which a stranger asks. A later step rests on the earlier ones."""

from collections.abc import Callable
from typing import Final

from cloud.verifier.approval import check_approval
from cloud.verifier.camera import check_cameras, check_order, check_segments
from cloud.verifier.case import Case
from cloud.verifier.contents import check_contents, check_whom_to_believe
from cloud.verifier.destruction import check_destruction
from cloud.verifier.footage import check_footage, check_keys
from cloud.verifier.history import check_hand_over, check_ledger, check_receipt
from cloud.verifier.verdicts import Said

Check = Callable[[Case], Said]

STEPS: Final[tuple[tuple[str, str, Check], ...]] = (
    (
        "Is everything here that is listed, and nothing else?",
        "Is alles er wat genoemd is, en verder niets?",
        check_contents,
    ),
    ("By whose keys is this judged?", "Met wiens sleutels wordt dit beoordeeld?", check_whom_to_believe),
    (
        "Does every entry stand in the ledger, and did it only grow?",
        "Staat elke regel in het logboek, en groeide dat alleen?",
        check_ledger,
    ),
    ("Which camera began the recordings?", "Welke camera begon de opnamen?", check_cameras),
    ("Is every byte signed by that camera?", "Is elke byte door die camera ondertekend?", check_segments),
    ("Are order and number complete?", "Kloppen volgorde en aantal?", check_order),
    ("Did it come in like this?", "Is het zo binnengekomen?", check_receipt),
    ("Who approved what, before the release?", "Wie keurde wat goed, vóór de vrijgave?", check_approval),
    ("Do the released keys fit?", "Passen de vrijgegeven sleutels?", check_keys),
    ("Is the film exactly the decryption?", "Is de film precies de ontsleuteling?", check_footage),
    ("Was the key destroyed, by which rule?", "Is de sleutel vernietigd, volgens welke regel?", check_destruction),
    ("Was exactly this bundle handed over?", "Is precies deze bundel verstrekt?", check_hand_over),
)
"""Question in English, question in Dutch, and the step itself."""
