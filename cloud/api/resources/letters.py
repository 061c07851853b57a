"""Letters of a case, filled in and ready to read. Nothing is sent by this: that a letter went is a step of its case."""

from datetime import date
from typing import Final
from uuid import UUID

from cloud.api.declaration import Call, Given, Name, Shown, operation
from cloud.api.resources.cases import CASES, SEES, CasePath
from cloud.desk.pages.cases import letter_names, letter_of
from cloud.rules.terms import day_of


class LetterName(Shown):
    """A letter that a case can write now."""

    id: str
    name: str


class LettersShown(Shown):
    """The letters that a case can write now."""

    items: tuple[LetterName, ...]


class LetterShown(Shown):
    """A letter as it stands today, in Dutch. Name and address of who gets it are not in this system."""

    id: str
    name: str
    number: str
    controller: str
    on_behalf_of: str
    letter_date: date
    subject: str
    paragraphs: tuple[str, ...]
    privacy_statement: str | None


class LetterPath(Given):
    """Which letter of which case."""

    case: UUID
    letter: Name


@operation("GET", "/dossiers/{dossier}/brieven", "De brieven van een dossier", group=CASES, roles=SEES)
async def letters(call: Call, path: CasePath) -> LettersShown:
    """Return which letters this case can write now."""
    case = await call.town.casework.case(call.org, str(path.case))
    named = letter_names(case, await call.town.policy())
    return LettersShown(items=tuple(LetterName(id=key, name=name) for key, name in named.items()))


@operation("GET", "/dossiers/{dossier}/brieven/{brief}", "Eén brief, ingevuld", group=CASES, roles=SEES)
async def letter(call: Call, path: LetterPath) -> LetterShown:
    """Return a letter of this case, filled in with what is known now. On which day it went is a step of the case."""
    case, policy = await call.town.casework.case(call.org, str(path.case)), await call.town.policy()
    today = day_of(call.town.now())
    made = letter_of(case, path.letter, policy, today=today)
    return LetterShown(
        id=path.letter,
        name=made.name,
        number=case.number,
        controller=policy.policy.controller,
        on_behalf_of=policy.policy.authority,
        letter_date=today,
        subject=made.subject,
        paragraphs=made.paragraphs,
        privacy_statement=policy.policy.privacy_statement_url,
    )


OPERATIONS: Final = (letters, letter)
