"""Whose interface this is: where the document says that it is, and whom it names for questions."""

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec


class Contact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to ask about the interface, in the settings of the town (design rule /core/doc-openapi-contact)."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
    email: Annotated[str, msgspec.Meta(pattern=r"^[^@\s]+@[^@\s]+$", max_length=200)]
    url: Annotated[str, msgspec.Meta(pattern=r"^https?://\S+$", max_length=200)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """One town's desk: its name, its address (``https://host``; empty: where the document is), and whom to ask."""

    name: str = "Beheer van Vier Ogen bij de gemeente"
    address: str = ""
    contact: Contact | None = None

    def told(self) -> dict[str, str]:
        """Return what stands in the document as its contact."""
        if self.contact is not None:
            return {"name": self.contact.name, "email": self.contact.email, "url": self.contact.url}
        return {"name": self.name, **({"url": f"{self.address}/openbaar"} if self.address else {})}


ANYBODY: Final = Publisher()
"""The document as it is kept in docs/: of no town."""
