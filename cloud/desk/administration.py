"""Whom the administration page asks; a desk without devices of its own (a test, a reading room) has none."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from cloud.casework.personnel import Personnel
from cloud.casework.reviews import Reviews
from cloud.casework.wearing import Wearing
from cloud.fleet.enrolment import Enrolments
from cloud.fleet.stations import Docks


@dataclass(frozen=True, slots=True, kw_only=True)
class Administration:
    """The services behind the page."""

    enrolments: Enrolments
    docks: Docks
    wearing: Wearing
    personnel: Personnel
    reviews: Reviews


ADMINISTRATION: Final = web.AppKey("administration", Administration)
