"""The pages of a source, each entry once, kept in a journal as they come."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crystal_diffusion.data.readers import iter_plain
from crystal_diffusion.data.records import Disorder, LeftHanded, PlainCrystal
from crystal_diffusion.data.sources.journal import Journal, Page, PageHead
from crystal_diffusion.data.sources.protocol import Source
from crystal_diffusion.errors import SourceError

log = logging.getLogger(__name__)

#: Called with the entries fetched and how many there are in all, where that is known.
FetchProgress = Callable[[int, int | None], None]
#: Pages without any new entry after which a database is taken to go round in circles.
_MOST_EMPTY = 3


@dataclass(frozen=True)
class Gathered:
    """How many entries came.

    Attributes:
        received: in all, each once.
        repeated: that were sent again.
        resumed: that an earlier fetch had left.
        announced: what the database says there are; ``None`` when it does not.
    """

    received: int
    repeated: int = 0
    resumed: int = 0
    announced: int | None = None


def fresh_pages(source: Source, done: Sequence[PageHead], seen: set[str]) -> Iterator[Page]:
    """The pages that follow; their ids are added to ``seen``.

    Raises:
        SourceError: when the database fails, or goes round in circles.
    """
    empty = 0
    for page in source.pages(done):
        before = len(seen)
        seen.update(_names(source, page))
        empty = 0 if len(seen) > before else empty + 1
        if empty >= _MOST_EMPTY and page.next:
            raise SourceError(
                f"{empty} pages in a row brought nothing new: the database goes round in circles; "
                "narrow the query."
            )
        yield page


def gather(
    source: Source, journal: Journal, limit: int | None, progress: FetchProgress | None
) -> Gathered:
    """Fetch what the journal lacks into it, until the end or the limit.

    Raises:
        SourceError: when the database fails; what came before is in the journal.
    """
    seen: set[str] = set()
    heads: list[PageHead] = []
    sent = 0
    for page in journal.pages():
        seen.update(_names(source, page))
        sent += len(page.entries)
        heads.append(PageHead(page.cursor, page.next, len(page.entries), page.origin, page.total))
    resumed = len(seen)
    announced = heads[-1].total if heads else None
    if resumed:
        log.info("%d entries of an unfinished fetch are there already", resumed)
    if limit is not None and resumed >= limit:
        return Gathered(resumed, sent - resumed, resumed, announced)
    try:
        for page in fresh_pages(source, heads, seen):
            journal.add(page)
            sent += len(page.entries)
            announced = page.total if page.total is not None else announced
            if progress is not None:
                known = [n for n in (announced, limit) if n is not None]
                progress(len(seen), min(known, default=None))
            if limit is not None and len(seen) >= limit:
                break
    except SourceError as error:
        journal.remove_if_empty()
        kept = f" {len(seen)} entries are kept; the same command goes on from there."
        raise type(error)(f"{error}{kept if seen else ''}") from error
    return Gathered(len(seen), sent - len(seen), resumed, announced)


def _names(source: Source, page: Page) -> list[str]:
    """The ids of the entries of a page; a place for one without."""
    return [
        source.entry_id(entry) or f"{page.cursor}#{number}"
        for number, entry in enumerate(page.entries)
    ]


def once(source: Source, pages: Iterator[Page], limit: int | None) -> Iterator[Page]:
    """The pages without entries that came before, and without what is beyond the limit."""
    seen: set[str] = set()
    for page in pages:
        kept: list[Any] = []
        for name, entry in zip(_names(source, page), page.entries, strict=True):
            if name in seen or (limit is not None and len(seen) >= limit):
                continue
            seen.add(name)
            kept.append(entry)
        yield replace(page, entries=tuple(kept))


def checked(
    crystals: Sequence[PlainCrystal], disorder: Disorder, left_handed: LeftHanded
) -> list[PlainCrystal]:
    """The crystals after all choices, as the readers do; each keeps its provenance."""
    if not crystals:
        return []
    origins = [crystal.provenance for crystal in crystals]
    read = iter_plain(list(crystals), disorder=disorder, left_handed=left_handed)
    return [replace(c, provenance=o) for c, o in zip(read, origins, strict=True)]
