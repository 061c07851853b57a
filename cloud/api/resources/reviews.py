"""The review of rights: who holds which role since when, looked at by somebody, and written down."""

from datetime import date
from typing import Annotated, Final

import msgspec

from broker.wire.refusals import Code
from cloud.api.declaration import NO_NUL, Call, Given, Instant, Shown, operation
from cloud.api.resources.administration import ADMINISTRATION, office_of
from cloud.casework.reviews import digest_of
from cloud.desk.pages.administration import SEES_PEOPLE
from cloud.rules.reviews import Review


class RightShown(Shown):
    """Somebody holds a role, given by somebody, from then until then (null: without an end)."""

    official: str
    name: str
    role: str
    from_at: Instant
    until_at: Instant | None
    given_by: str


class RightsShown(Shown):
    """Every role that somebody holds now, by name. `seen` names exactly this list, for the review of it."""

    items: tuple[RightShown, ...]
    seen: str


class ReviewedShown(Shown):
    """A review that was done, of how many rights."""

    kind: Review
    by: str
    at: Instant
    total: int
    remark: str


class DueShown(Shown):
    """When a review must be done at the latest, and the one before it (null: never yet)."""

    kind: Review
    last_at: Instant | None
    last_date: date
    late: bool


class ReviewsShown(Shown):
    """The reviews that were done, newest first, and those that are due."""

    items: tuple[ReviewedShown, ...]
    due: tuple[DueShown, ...]


class ReviewGiven(Given):
    """Which review, of which list (`seen`, from GET /rechten), and a remark."""

    kind: Review
    seen: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    remark: Annotated[str, msgspec.Meta(max_length=4000, pattern=NO_NUL)] = ""


@operation("GET", "/rechten", "Wie heeft welke rol", group=ADMINISTRATION, roles=SEES_PEOPLE, refuses=(Code.NOT_FOUND,))
async def rights(call: Call) -> RightsShown:
    """Return every role that somebody who works here holds now, by name."""
    held = await office_of(call).reviews.rights(call.org)
    return RightsShown(
        items=tuple(
            RightShown(
                official=each.official,
                name=each.name,
                role=each.role,
                from_at=each.from_at,
                until_at=each.until_at,
                given_by=each.given_by,
            )
            for each in held
        ),
        seen=digest_of(held),
    )


@operation("GET", "/rechtencontroles", "Wanneer zijn de rechten nagelopen", group=ADMINISTRATION, roles=SEES_PEOPLE,
           refuses=(Code.NOT_FOUND,))  # fmt: skip
async def reviews(call: Call) -> ReviewsShown:
    """Return the reviews that were done, newest first, and when the next ones are due."""
    office = office_of(call).reviews
    return ReviewsShown(
        items=tuple(
            ReviewedShown(kind=each.review, by=each.by, at=each.at, total=each.rights, remark=each.remark)
            for each in await office.reviewed(call.org)
        ),
        due=tuple(
            DueShown(kind=each.review, last_at=each.last, last_date=each.by, late=each.overdue)
            for each in await office.reviews_due(call.org)
        ),
    )


@operation("POST", "/rechtencontroles", "Vastleggen dat de rechten zijn nagelopen", group=ADMINISTRATION,
           roles=SEES_PEOPLE, refuses=(Code.CONFLICT,))  # fmt: skip
async def review(call: Call, body: ReviewGiven) -> None:
    """Write down that one looked at every right: refused when anything changed since the list was read."""
    await office_of(call).reviews.review(call.org, by=call.me.id, review=body.kind, seen=body.seen, remark=body.remark)


OPERATIONS: Final = (rights, reviews, review)
