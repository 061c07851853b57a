"""The report as people read it (Nederlands, English) and as programs do (JSON)."""

import json
from typing import Any, Final, Literal

from cloud.verifier.verdicts import Outcome, Report, Step

Language = Literal["nl", "en"]

_DUTCH: Final = {
    Outcome.HOLDS: "klopt",
    Outcome.NOT_SHOWN: "niet getoond",
    Outcome.FAILS: "KLOPT NIET",
    Outcome.NOT_REACHED: "niet bereikt",
}
_MARKS: Final = {Outcome.HOLDS: "+", Outcome.NOT_SHOWN: "?", Outcome.FAILS: "!", Outcome.NOT_REACHED: " "}


def as_text(report: Report, *, language: Language, name: str, sha256: str) -> str:
    """Return the whole report, the verdict first."""
    dutch = language == "nl"
    verdict = report.verdict.woord if dutch else report.verdict.word
    lines = [f"{verdict.upper()}: {report.dutch if dutch else report.english}", "", f"{name}  SHA-256 {sha256}", ""]
    lines += [line for step in report.steps for line in _step(step, dutch=dutch)]
    lines += ["", "Wat niet te bewijzen is:" if dutch else "What cannot be proven:"]
    lines += [f"  - {nederlands if dutch else english}" for english, nederlands in report.unproven]
    return "\n".join(lines) + "\n"


def _step(step: Step, *, dutch: bool) -> list[str]:
    outcome = _DUTCH[step.said.outcome] if dutch else step.said.outcome.value
    lines = [f"{_MARKS[step.said.outcome]} {step.number:2}. {step.vraagt if dutch else step.asks}  {outcome}"]
    if step.said.outcome is not Outcome.NOT_REACHED:
        lines.append(f"      {step.said.dutch if dutch else step.said.english}")
    if step.where is not None:
        lines.append(f"      {step.where.file}: bytes {step.where.first}-{step.where.last}")
    return lines


def as_json(report: Report, *, name: str, sha256: str) -> str:
    """Return the report as one JSON object; `verdict` is one of the English words."""
    said: dict[str, Any] = {
        "bundle": name,
        "sha256": sha256,
        "bytes": report.bundle_bytes,
        "verdict": report.verdict.word,
        "verdict_nl": report.verdict.woord,
        "exit_status": report.verdict.exit_status,
        "because": report.english,
        "waarom": report.dutch,
        "steps": [
            {
                "number": step.number,
                "asks": step.asks,
                "vraagt": step.vraagt,
                "outcome": step.said.outcome.value,
                "english": step.said.english,
                "dutch": step.said.dutch,
                "where": None
                if step.where is None
                else {"file": step.where.file, "first_byte": step.where.first, "last_byte": step.where.last},
            }
            for step in report.steps
        ],
        "cannot_be_proven": [{"english": english, "dutch": dutch} for english, dutch in report.unproven],
    }
    return json.dumps(said, ensure_ascii=False, indent=2) + "\n"
