"""Who gets in where: every operation for every role, beside a table to read."""

from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from cloud.api.declaration import Operation
from cloud.api.operations import OPERATIONS
from tests.adapters.api.people import calling, denied
from tests.browser.town import TownHall

pytestmark = pytest.mark.asyncio(loop_scope="module")

TABLE = Path(__file__).parent / "rights.txt"
PEOPLE = {
    "officer": "h-001",
    "coordinator": "o-101",
    "cluster_manager": "o-102",
    "privacy_officer": "o-103",
    "municipal_secretary": "o-104",
    "safety_coordinator": "o-105",
    "app_admin": "o-106",
    "dpo": "o-107",
}


def address_of(operation: Operation) -> str:
    """Return an address of the right form, of things that are not there."""
    form = {
        "stuk": "init.mp4",
        "camera": "cam-99",
        "nummer": "999999",
        "versie": "99",
        "voorstel": "0" * 32,
        "medewerker": "o-199",
        "rol": "coordinator",
    }
    path = operation.path
    for field in msgspec.structs.fields(operation.path_type) if operation.path_type else ():
        path = path.replace(f"{{{field.encode_name}}}", form.get(field.encode_name, str(UUID(int=7))))
    return path


def table() -> str:
    """Return who may enter where, drawn from the declarations: `x` may enter, `-` is refused and written down; for a
    program the scope that it must have been given, or one of them.
    """
    head = "".join(f"{role:>20}" for role in PEOPLE) + f"{'program':>20}"
    lines = [f"{'':52}{head}"]
    for each in OPERATIONS:
        marks = ("x" if each.roles is None or role in each.roles else "-" for role in PEOPLE)
        scope = " or ".join(sorted(each.program)) or ("x" if each.public else "-")
        lines.append(f"{each.method:7}{each.path:45}{''.join(f'{mark:>20}' for mark in marks)}{scope:>20}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


async def test_who_may_enter_where_is_what_the_table_says() -> None:
    assert TABLE.read_text(encoding="utf-8") == table()


@pytest.mark.slow
async def test_whoever_may_not_is_refused_with_a_problem_and_written_down_at_every_operation(town: TownHall) -> None:
    expected, before = [], len(await denied(town))
    for role, who in PEOPLE.items():
        async with calling(town, who) as caller:
            for each in OPERATIONS:
                if each.roles is None or role in each.roles:
                    continue
                answer = await caller.ask(each.method, address_of(each), None if each.method == "GET" else {})
                assert (answer.status, answer.headers["Content-Type"]) == (403, "application/problem+json"), each.path
                assert answer.said["status"] == 403
                assert answer.headers["API-Version"]
                expected.append((who, each.name))
    assert expected
    assert (await denied(town))[before:] == expected


async def test_without_a_session_every_operation_but_the_public_one_says_sign_in_first(town: TownHall) -> None:
    async with calling(town, "o-103") as caller:
        caller.http.cookie_jar.clear()
        for each in OPERATIONS:
            if each.public:
                continue
            answer = await caller.ask(each.method, address_of(each))
            assert (answer.status, answer.headers["Content-Type"]) == (401, "application/problem+json"), each.path


@pytest.mark.slow
async def test_no_change_is_taken_from_another_site_or_without_the_sessions_token(town: TownHall) -> None:
    async with calling(town, "o-103") as caller:
        for each in OPERATIONS:
            if each.method == "GET":
                continue
            for headers in ({"Sec_Fetch_Site": "cross-site"}, {"X_CSRF_Token": "another"}):
                answer = await caller.ask(each.method, address_of(each), {}, **headers)
                assert (answer.status, answer.headers["Content-Type"]) == (403, "application/problem+json"), each.path
