"""`vierogen verify BUNDLE`, and the same as `python verifier.pyz BUNDLE`."""

import argparse
import hashlib
import sys
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

from broker.wire.archive import CHUNK_BYTES
from broker.wire.refusals import Refused
from broker.wire.tlog import read_verifier_key
from cloud.verifier.report import as_json, as_text
from cloud.verifier.verdicts import Verdict
from cloud.verifier.verify import Trust, verify

EXIT_MISTAKE: Final = 2
"""The call itself was wrong: no such file, a key that is none."""

_ABOUT: Final = """\
Controleert een bundel zonder netwerk, database of sleutel van de gemeente.
Checks a bundle without a network, a database or a key of the municipality's."""

_EPILOG: Final = "exit status: " + ", ".join(f"{each.exit_status} {each.word}" for each in Verdict) + ", 2 wrong call"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_MISTAKE, f"{self.prog}: {message}\n")


def parser() -> argparse.ArgumentParser:
    """Return the command line of `verify`."""
    found = _Parser(
        prog="vierogen verify",
        description=_ABOUT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("bundle", type=Path, help="de bundel (.zip) / the bundle")
    found.add_argument(
        "--ledger-key", metavar="NAME+HASH+BASE64", type=_ledger_key, help="from the cover letter: the ledger's key"
    )
    found.add_argument("--kluis-key", metavar="BASE64", type=_raw_key, help="from the cover letter: the Kluis's key")
    found.add_argument(
        "--camera-key",
        metavar="BASE64",
        type=_raw_key,
        action="append",
        default=[],
        help="a camera's key, where the ledger's entry of its enrolment is not in the bundle; may be repeated",
    )
    found.add_argument("--language", choices=("nl", "en"), default="nl", help="taal / language (nl)")
    found.add_argument("--json", action="store_true", help="for programs")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Check one bundle, print the report, and return the exit status."""
    asked = parser().parse_args(argv)
    trust = Trust(ledger=asked.ledger_key, kluis=asked.kluis_key, cameras=frozenset(asked.camera_key))
    try:
        with asked.bundle.open("rb") as source:
            sha256 = _digest(source)
            report = verify(source, trust)
    except OSError as cause:
        sys.stderr.write(f"vierogen verify: {asked.bundle}: {cause.strerror}\n")
        return EXIT_MISTAKE
    name = asked.bundle.name
    if asked.json:
        sys.stdout.write(as_json(report, name=name, sha256=sha256))
    else:
        sys.stdout.write(as_text(report, language=asked.language, name=name, sha256=sha256))
    return report.verdict.exit_status


def _digest(source: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _ledger_key(text: str) -> str:
    try:
        read_verifier_key(text)
    except Refused as refused:
        raise argparse.ArgumentTypeError(f"expected {refused.refusal.expected}, got {text}") from refused
    return text.strip()


def _raw_key(text: str) -> bytes:
    try:
        raw = b64decode(text, validate=True)
    except ValueError as cause:
        raise argparse.ArgumentTypeError(f"expected base64, got {text}") from cause
    if len(raw) != 32:
        raise argparse.ArgumentTypeError(f"expected 32 bytes in base64, got {len(raw)}")
    return raw


if __name__ == "__main__":
    sys.exit(main())
