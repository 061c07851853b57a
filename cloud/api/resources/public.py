"""What everybody may know: the rules in plain words, how often they were used, and where the ledger stands."""

from typing import Final, Literal

from cloud.api.declaration import Call, Given, Group, Shown, operation
from cloud.api.resources.policy import FigureShown, figure_shown
from cloud.desk.pages.figures import PUBLISHED, public_figures
from cloud.rules.explain import explain

PUBLIC: Final = Group(
    name="openbaar", purpose="Iedereen kan nagaan wat de regels zijn en hoe vaak ze zijn gebruikt, zonder namen."
)


class SectionShown(Shown):
    """A heading with its sentences."""

    heading: str
    sentences: tuple[str, ...]


class PublicShown(Shown):
    """The policy in plain words, the last counted quarter's figures, and the ledger: its size and root."""

    name: str
    title: str
    version: int
    adopted_by: str
    information_url: str | None
    sections: tuple[SectionShown, ...]
    quarter: str
    figures: tuple[FigureShown, ...]
    size: int
    root: str


class Wanted(Given):
    """In which language."""

    language: Literal["nl", "en"] = "nl"


@operation("GET", "/openbaar", "Wat iedereen mag weten", group=PUBLIC, public=True)
async def public(call: Call, query: Wanted) -> PublicShown:
    """Return the rules in plain words, made from the policy in force. Without signing in, and nothing personal."""
    policy, checkpoint = await call.town.policy(), call.town.ledger.checkpoint()
    quarter, counted = await public_figures(call.town, call.request.config_dict[PUBLISHED])
    return PublicShown(
        name=call.town.name,
        title=policy.policy.title,
        version=policy.version,
        adopted_by=policy.policy.authority,
        information_url=policy.policy.public_info_url,
        sections=tuple(
            SectionShown(heading=each.heading, sentences=each.sentences) for each in explain(policy, query.language)
        ),
        quarter=quarter.name,
        figures=tuple(figure_shown(each) for each in counted if each.total != 0),
        size=checkpoint.size,
        root=checkpoint.root.hex(),
    )


OPERATIONS: Final = (public,)
