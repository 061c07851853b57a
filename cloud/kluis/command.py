"""`vierogen kluis`: found a Kluis, put its root back from the envelopes, or practise that without needing it."""

import argparse
import asyncio
import contextlib
import getpass
import json
import signal
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from broker.clock import Clock, open_clock
from broker.wire.approvals import Place
from broker.wire.entries import read_entry
from broker.wire.ids import RecordingId, parse_recording
from broker.wire.policy import PolicyError
from broker.wire.refusals import Refused
from broker.wire.tlog import Proof, Tree, leaf_hash, read_verifier_key, write_proof
from cloud.kluis.custody import Kluis
from cloud.kluis.founding import check_root, found, recover
from cloud.kluis.keys import SHARES_MADE, SHARES_NEEDED, KluisDamaged, join_shares
from cloud.kluis.service import serve
from cloud.ledger.tiles import CHECKPOINT, TILE, LedgerBroken, read_bundle


def main(argv: Sequence[str]) -> int:
    """Run one of the subcommands; return 0, or 1 when it could not be done."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (KluisDamaged, LedgerBroken, Refused, PolicyError, OSError, ValueError, sqlite3.Error) as failure:
        sys.stderr.write(f"vierogen kluis: {failure}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vierogen kluis", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("found", help="make a Kluis and print the words for five envelopes, once")
    one.add_argument("folder", type=Path, help="an empty or new folder, on the Kluis's own machine")
    one.add_argument("--org", required=True, help="the municipality's slug, as in its policy")
    one.add_argument("--policy", type=Path, required=True, help="the policy in force, TOML")
    one.add_argument("--roster", type=Path, required=True, help="officials with roles and keys, JSON list")
    one.add_argument("--ledger", required=True, help="the ledger's verifier key: name+hash+base64")
    one.add_argument("--mode", choices=("standard", "demonstration"), default="standard")
    one.add_argument("--rp-id", help="the desk's host name: the relying party of security keys")
    one.add_argument("--desk-origin", action="append", default=[], help="https://… of the desk; may be repeated")
    one.add_argument("--clock", type=Path, help="demonstration clock")
    one.set_defaults(run=_found)

    two = commands.add_parser("serve", help="answer on a socket until stopped")
    two.add_argument("folder", type=Path)
    two.add_argument("--socket", type=Path, help="default: kluis.sock in the folder")
    two.add_argument("--clock", type=Path, help="demonstration clock")
    two.set_defaults(run=_serve)

    three = commands.add_parser("drill", help="check that envelopes open this Kluis; changes nothing")
    three.add_argument("folder", type=Path)
    three.set_defaults(run=_drill)

    four = commands.add_parser("recover", help="put a lost root.key back from the envelopes; stands in the journal")
    four.add_argument("folder", type=Path)
    four.add_argument("--clock", type=Path, help="demonstration clock")
    four.set_defaults(run=_recover)
    five = commands.add_parser("reapply", help="after a restore: destroy again all that the ledger orders destroyed")
    five.add_argument("folder", type=Path, help="the Kluis; no process may have it open")
    five.add_argument("ledger", type=Path, help="the ledger's folder")
    five.add_argument("--clock", type=Path, help="demonstration clock")
    five.set_defaults(run=_reapply)
    six = commands.add_parser("content-key", help="keep the content key that opens what Axis cameras encrypted")
    six.add_argument("folder", type=Path, help="the Kluis; no process may have it open")
    six.add_argument("private", type=Path, help="PEM with a password, from python -m cloud.intake.axis.content_key")
    six.add_argument("--clock", type=Path, help="demonstration clock")
    six.set_defaults(run=_content_key)
    return parser


def _found(arguments: argparse.Namespace) -> int:
    origin, key = read_verifier_key(arguments.ledger)
    place = Place(rp_id=arguments.rp_id, origins=tuple(arguments.desk_origin)) if arguments.rp_id else None
    clock, _ = open_clock(arguments.clock)
    founded = found(
        arguments.folder,
        org=arguments.org,
        policy_toml=arguments.policy.read_text(),
        roster=json.loads(arguments.roster.read_text()),
        ledger_origin=origin,
        ledger_key=key,
        mode=arguments.mode,
        now=clock(),
        place=place,
    )
    sys.stdout.write(f"Kluis founded in {arguments.folder}; its public key is {founded.signing_key.hex()}\n\n")
    sys.stdout.write(
        f"Write each of the {SHARES_MADE} lines below on paper, put each in its own envelope, and give every envelope\n"
        f"to somebody else. Any {SHARES_NEEDED} together restore the Kluis. They are shown only now.\n\n"
    )
    for number, words in enumerate(founded.shares, start=1):
        sys.stdout.write(f"{number}. {words}\n\n")
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    clock, _ = open_clock(arguments.clock)
    asyncio.run(_until_stopped(arguments.folder, arguments.socket or arguments.folder / "kluis.sock", clock))
    return 0


async def _until_stopped(folder: Path, socket: Path, clock: Clock) -> None:
    serving = asyncio.ensure_future(serve(folder, socket, clock))
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


def _drill(arguments: argparse.Namespace) -> int:
    check_root(arguments.folder, join_shares(_read_envelopes()))
    sys.stdout.write("these envelopes open this Kluis; nothing was changed\n")
    return 0


def _recover(arguments: argparse.Namespace) -> int:
    clock, _ = open_clock(arguments.clock)
    recover(arguments.folder, _read_envelopes(), now=clock())
    sys.stdout.write("root.key is back; the recovery stands in the journal\n")
    return 0


def _reapply(arguments: argparse.Namespace) -> int:
    clock, _ = open_clock(arguments.clock)
    with contextlib.closing(Kluis.open(arguments.folder)) as kluis:
        before = kluis.public().destroyed
        for recording, entry, proof in orders_to_destroy(arguments.ledger):
            kluis.destroy(recording, entry=entry, proof=proof, now=clock())
        after = kluis.public().destroyed
    sys.stdout.write(f"{after} recordings are destroyed, {after - before} of them again just now\n")
    return 0


def _content_key(arguments: argparse.Namespace) -> int:
    clock, _ = open_clock(arguments.clock)
    password = getpass.getpass("password of the content key: ").encode()
    private = serialization.load_pem_private_key(arguments.private.read_bytes(), password or None)
    if not isinstance(private, RSAPrivateKey):
        raise ValueError(f"{arguments.private}: expected an RSA key, got {type(private).__name__}")  # noqa: TRY004 - a file, no type
    with contextlib.closing(Kluis.open(arguments.folder)) as kluis:
        name = kluis.add_content_key(private, clock())
    sys.stdout.write(f"content key {name} is in the Kluis; keep {arguments.private} where a fire does not reach both\n")
    return 0


def orders_to_destroy(ledger: Path) -> Iterator[tuple[RecordingId, bytes, bytes]]:
    """Yield (recording, entry, proof) of every order to destroy in a ledger's files; the Kluis checks each itself."""
    note = (ledger / CHECKPOINT).read_bytes()
    size = int(note.split(b"\n")[1])
    tree, orders = Tree(), []
    for number in range(-(-size // TILE)):
        for raw in read_bundle(ledger, number, min(TILE, size - number * TILE)):
            if b'"kind":"retention.destroying"' in raw:
                orders.append((tree.size, raw))
            tree.append(leaf_hash(raw))
    for index, raw in orders:
        proof = write_proof(Proof(index=index, path=tree.inclusion(index), checkpoint=note))
        yield parse_recording(read_entry(raw).subject), raw, proof


def _read_envelopes() -> list[str]:
    """Read as many lines of words as are needed, from the terminal or a pipe, never from the command line."""
    sys.stdout.write(f"The words of {SHARES_NEEDED} envelopes, one envelope per line:\n")
    return [line for line in (sys.stdin.readline().strip() for _ in range(SHARES_NEEDED)) if line]
