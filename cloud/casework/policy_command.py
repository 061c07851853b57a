"""``vierogen policy lint FILE`` and ``vierogen policy explain FILE``: read a policy before it is adopted."""

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from broker.clock import system_clock
from broker.wire.policy import Policy, PolicyError, every_field, read_policy
from cloud.rules.explain import plain_text
from cloud.rules.lint import lint
from cloud.rules.retention import HERE


def main(argv: Sequence[str]) -> int:
    """Run the command; return 0 (nothing to say), 1 (warnings) or 2 (not a policy, or no such file)."""
    arguments = _arguments().parse_args(argv)
    if arguments.what == "fields":
        _write("".join(f"{each.name} = <{each.expected}>  # {each.meaning}\n" for each in every_field()))
        return 0
    try:
        policy = read_policy(arguments.file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as cause:
        _write(f"{arguments.file}: cannot be read: {cause}\n", error=True)
        return 2
    except PolicyError as cause:
        _write("".join(f"{arguments.file}: {problem}\n" for problem in cause.problems), error=True)
        return 2
    match arguments.what:
        case "lint":
            return _lint(policy, arguments.today or system_clock().astimezone(HERE).date())
        case _:
            _write(plain_text(policy, arguments.language))
            return 0


def _lint(policy: Policy, today: date) -> int:
    found = lint(policy, today=today)
    for each in found:
        _write(f"{each.rule} {each.field} ({each.article})\n    {each.zegt}\n    {each.says}\n")
    _write(f"{policy.policy.id} version {policy.version}: {len(found)} to know about; nothing was changed\n")
    return 1 if found else 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vierogen policy", description="Read a municipality's policy file.")
    what = parser.add_subparsers(dest="what", required=True)
    check = what.add_parser("lint", help="what somebody should know about it, with the article; changes nothing")
    check.add_argument("file", type=Path, metavar="FILE")
    check.add_argument("--today", type=date.fromisoformat, help="judge as if today were this day (YYYY-MM-DD)")
    tell = what.add_parser("explain", help="what it says, in plain words")
    tell.add_argument("file", type=Path, metavar="FILE")
    tell.add_argument("--language", choices=("nl", "en"), default="nl", help="Dutch (nl) or English (en)")
    what.add_parser("fields", help="every field a policy has, what it may be, and what it means")
    return parser


def _write(text: str, *, error: bool = False) -> None:
    (sys.stderr if error else sys.stdout).write(text)
