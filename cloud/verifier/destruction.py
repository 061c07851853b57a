"""Step 11: what the Kluis signed when it destroyed the key.

The label is that of `broker/wire/certificates.py`, which this file does without. A test keeps the two equal.
"""

import re
from typing import Any, Final

from cryptography.exceptions import InvalidSignature

from broker.wire.bundle import strict_base64
from cloud.verifier.case import Case, Recording
from cloud.verifier.verdicts import Said, holds, not_shown, tampered

_CERTIFICATE_LABEL: Final = b"vier-ogen/destruction/v1\0"


def check_destruction(case: Case) -> Said:
    """The Kluis signed that the key is destroyed, by which rule, and the ledger ordered it before."""
    lines: list[tuple[str, str]] = []
    for recording in case.recordings:
        name = case.bundle.file(recording.part, "destroyed.json")
        with case.reading(name):
            raw = case.bundle.optional(name)
        if raw is not None:
            lines.append(_check_certificate(case, recording, name, raw))
    if not lines:
        return not_shown(
            "no recording here is said to be destroyed", "van geen opname hier is gezegd dat hij vernietigd is"
        )
    return holds("; ".join(a for a, _ in lines), "; ".join(b for _, b in lines))


def _check_certificate(case: Case, recording: Recording, name: str, raw: bytes) -> tuple[str, str]:
    assert case.kluis_key is not None
    said = _signed_certificate(case, name, raw)
    ordered = case.bundle.file(recording.part, "destroying")
    entry = case.entries.get(ordered)
    expected = {"recording": str(recording.part.recording), "org": case.bundle.manifest.org, "v": 1}
    if said.get("held"):
        expected |= {"commitment": recording.head.commitment.hex(), "head_sha256": recording.head.sha256.hex()}
    if entry is not None:
        expected |= {"entry_sha256": entry.leaf_hash.hex()}
        case.expect(f"{ordered}.json", "recording", str(recording.part.recording), entry.subject)
    for field, value in expected.items():
        case.expect(name, field, value, said.get(field))
    order = (
        ("ordered in the ledger before", "eerst bevolen in het logboek")
        if entry
        else (
            "the ledger's order is not here",
            "het bevel uit het logboek is niet bijgevoegd",
        )
    )
    state, rule, at = said.get("state"), said.get("rule"), said.get("executed_at")
    return (
        f"{recording.part.recording}: key destroyed ({state}) at {at} by rule {rule}; {order[0]}",
        f"{recording.part.recording}: sleutel vernietigd ({state}) op {at} volgens regel {rule}; {order[1]}",
    )


def _signed_certificate(case: Case, name: str, raw: bytes) -> dict[str, Any]:
    """Return what the Kluis signed: the certificate's own bytes, as they stand between the two fixed ends."""
    assert case.kluis_key is not None
    form = re.fullmatch(rb'\{"certificate":(\{.*\}),"signature":"([A-Za-z0-9+/=]{88})"\}', raw, re.DOTALL)
    if form is None:
        raise case.malformed(name, "no signed certificate")
    try:
        case.kluis_key.verify(strict_base64(form[2].decode()), _CERTIFICATE_LABEL + form[1])
    except (InvalidSignature, ValueError) as cause:
        raise tampered(
            f"{name} is not signed by the Kluis", f"{name} is niet door de Kluis ondertekend", where=case.whole(name)
        ) from cause
    return case.json(name, form[1])
