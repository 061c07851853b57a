"""`vierogen ledger`: verify a ledger's files, or read them. Changes nothing; needs no running part."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from broker.wire.entries import read_entry
from broker.wire.refusals import Refused
from broker.wire.tlog import COSIGNATURE, read_verifier_key
from cloud.ledger.tiles import TILE, read_bundle
from cloud.ledger.verify import verify


def main(argv: Sequence[str]) -> int:
    """Run a subcommand; return 0 when the ledger is intact, 1 when it is not, 2 when it could not be read."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (Refused, OSError, ValueError) as failure:
        sys.stderr.write(f"vierogen ledger: {failure}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vierogen ledger", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("verify", help="recompute everything; name the first broken entry")
    one.add_argument("folder", type=Path)
    one.add_argument("--key", required=True, help="the ledger's verifier key (name+hash+base64), or a file with it")
    one.add_argument("--seen", type=Path, action="append", default=[], help="a checkpoint that somebody kept")
    one.add_argument("--witness", action="append", default=[], help="verifier key of a witness that must have cosigned")
    one.add_argument("--json", action="store_true", help="the outcome as JSON")
    one.set_defaults(run=_verify)
    two = commands.add_parser("show", help="print the entries, one JSON object a line; checks nothing")
    two.add_argument("folder", type=Path)
    two.add_argument("--subject", help="only entries about this recording, case or camera")
    two.add_argument("--kind", help="only entries of this kind, such as viewing.released")
    two.set_defaults(run=_show)
    return parser


def _verify(arguments: argparse.Namespace) -> int:
    origin, key = read_verifier_key(_text_or_file(arguments.key))
    found = verify(
        arguments.folder,
        origin=origin,
        key=key,
        seen=[path.read_bytes() for path in arguments.seen],
        witnesses=dict(read_verifier_key(_text_or_file(each), kind=COSIGNATURE) for each in arguments.witness),
    )
    if arguments.json:
        outcome = {
            "intact": found.intact,
            "size": found.size,
            "root": found.root.hex(),
            "first_broken_entry": found.first.index if found.first else None,
            "problems": [str(problem) for problem in found.problems],
            "notes": list(found.notes),
        }
        sys.stdout.write(json.dumps(outcome, indent=1) + "\n")
        return 0 if found.intact else 1
    if found.first is not None:
        sys.stdout.write(f"NOT INTACT: {found.first}\n")
        for problem in found.problems[:20]:
            sys.stdout.write(f"  {problem}\n")
        if len(found.problems) > 20:
            sys.stdout.write(f"  … and {len(found.problems) - 20} more\n")
        return 1
    sys.stdout.write(f"intact: {found.size} entries of {origin}, root {found.root.hex()}\n")
    for note in found.notes:
        sys.stdout.write(f"  {note}\n")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    size = int((arguments.folder / "checkpoint").read_text().split("\n")[1])
    for number in range(-(-size // TILE)):
        for at, raw in enumerate(read_bundle(arguments.folder, number, min(TILE, size - number * TILE))):
            entry = read_entry(raw)
            if arguments.subject in (None, entry.subject) and arguments.kind in (None, entry.kind):
                sys.stdout.write(f"{number * TILE + at}\t{raw.decode()}\n")
    return 0


def _text_or_file(text: str) -> str:
    return text if "+" in text else Path(text).read_text()
