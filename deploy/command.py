"""`vierogen`: the one command. Each subcommand lives with the part it belongs to; here is only the list."""

import sys
from collections.abc import Callable, Sequence
from typing import Final

Main = Callable[[Sequence[str]], int]


def _demo(argv: Sequence[str]) -> int:
    from deploy.demo.command import demo

    return demo(argv)


def _demo_reset(argv: Sequence[str]) -> int:
    from deploy.demo.command import reset

    return reset(argv)


def _press(argv: Sequence[str]) -> int:
    from deploy.demo.command import press

    return press(argv)


def _clock(argv: Sequence[str]) -> int:
    from deploy.demo.command import clock

    return clock(argv)


def _check(argv: Sequence[str]) -> int:
    from deploy.demo.command import check

    return check(argv)


def _ledger(argv: Sequence[str]) -> int:
    from cloud.ledger.command import main

    return main(argv)


def _kluis(argv: Sequence[str]) -> int:
    from cloud.kluis.command import main

    return main(argv)


def _policy(argv: Sequence[str]) -> int:
    from cloud.casework.policy_command import main

    return main(argv)


def _invite(argv: Sequence[str]) -> int:
    from cloud.desk.invite_command import main

    return main(argv)


def _roster(argv: Sequence[str]) -> int:
    from cloud.desk.roster_command import main

    return main(argv)


def _verify(argv: Sequence[str]) -> int:
    from cloud.verifier.command import main

    return main(argv)


COMMANDS: Final[dict[str, tuple[Main, str]]] = {
    "demo": (_demo, "start a whole town on this machine"),
    "demo-reset": (_demo_reset, "throw the demonstration's data away"),
    "press": (_press, "press a camera's button in the demonstration (also: --off, --dock, --undock)"),
    "clock": (_clock, "show the demonstration's clock, or move it: --days 28"),
    "check": (_check, "re-derive from what lies on disk that everything adds up; changes nothing"),
    "ledger": (_ledger, "verify a ledger"),
    "kluis": (_kluis, "found a Kluis; recover its keys"),
    "invite": (_invite, "let an official register a security key"),
    "roster": (_roster, "write the list of officials and keys with which a Kluis is founded"),
    "policy": (_policy, "lint or explain a policy file"),
    "verify": (_verify, "check an evidence bundle, offline"),
}


def main() -> int:
    """Run one subcommand; exit code 2 when there is no such one."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: vierogen COMMAND …   (vierogen COMMAND --help says more)\n")
        for name, (_, says) in COMMANDS.items():
            print(f"  {name:<12} {says}")
        return 0 if arguments else 2
    found = COMMANDS.get(arguments[0])
    if found is None:
        print(f"vierogen: expected one of {', '.join(COMMANDS)}; got {arguments[0]!r}", file=sys.stderr)
        return 2
    return found[0](arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
