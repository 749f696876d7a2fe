"""What a source of crystals is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from crystal_diffusion.data.records import PlainCrystal
from crystal_diffusion.data.sources.journal import Page, PageHead


class Source(Protocol):
    """One query to one database.

    Attributes:
        request: what makes it this query, JSON-ready: an unfinished fetch goes on only for the
            same.
    """

    @property
    def request(self) -> dict[str, Any]:
        """What makes it this query."""

    def pages(self, done: Sequence[PageHead]) -> Iterator[Page]:
        """The pages that follow those that were fetched before."""
        ...

    def entry_id(self, entry: Any) -> str:
        """The name of an entry as the database sends it."""
        ...

    def crystals(self, pages: Iterable[Page]) -> Iterator[PlainCrystal]:
        """The crystals of the entries of these pages, with their provenance."""
        ...
