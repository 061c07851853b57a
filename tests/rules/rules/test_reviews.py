"""When rights must be looked at again."""

from datetime import UTC, date, datetime

from cloud.rules.reviews import Due, Review, next_reviews

BEGAN = datetime(2026, 1, 15, 9, 0, tzinfo=UTC)


def due(now: datetime, *done: tuple[Review, datetime]) -> dict[Review, Due]:
    return {each.review: each for each in next_reviews(done, began=BEGAN, now=now)}


def test_a_first_review_is_due_a_quarter_and_a_year_after_the_beginning() -> None:
    found = due(datetime(2026, 4, 15, 12, tzinfo=UTC))
    assert found[Review.QUARTERLY].by == date(2026, 4, 15)
    assert not found[Review.QUARTERLY].overdue
    assert found[Review.YEARLY].by == date(2027, 1, 15)
    assert due(datetime(2026, 4, 16, 12, tzinfo=UTC))[Review.QUARTERLY].overdue


def test_a_yearly_review_is_a_quarterly_one_too_and_not_the_other_way_round() -> None:
    yearly = (Review.YEARLY, datetime(2026, 11, 30, 12, tzinfo=UTC))
    found = due(datetime(2027, 2, 1, tzinfo=UTC), yearly)
    assert found[Review.QUARTERLY].by == date(2027, 2, 28)  # there is no 30 February
    assert found[Review.YEARLY].by == date(2027, 11, 30)
    quarterly = (Review.QUARTERLY, datetime(2026, 11, 30, 12, tzinfo=UTC))
    assert due(datetime(2027, 2, 1, tzinfo=UTC), quarterly)[Review.YEARLY].overdue


def test_the_newest_review_counts_whatever_their_order() -> None:
    done = [(Review.QUARTERLY, datetime(2026, month, 1, 12, tzinfo=UTC)) for month in (7, 4)]
    assert due(datetime(2026, 8, 1, tzinfo=UTC), *done)[Review.QUARTERLY].by == date(2026, 10, 1)
