"""``fetch``: from a query to a table of crystals, with everything that was left out listed."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crystal_diffusion.data.parquet_writer import read_made_by, write_parquet
from crystal_diffusion.data.provenance import OriginSummary, summarize
from crystal_diffusion.data.readers import iter_plain
from crystal_diffusion.data.records import Disorder, LeftHanded, PlainCrystal
from crystal_diffusion.data.sources.client import Client, Key, Patience
from crystal_diffusion.data.sources.journal import Journal, Page, PageHead, journal_path
from crystal_diffusion.data.sources.optimade import OptimadeSource, known_provider
from crystal_diffusion.data.sources.protocol import Source
from crystal_diffusion.errors import InputError, SourceError
from crystal_diffusion.files import write_text

log = logging.getLogger(__name__)

#: Called with the entries fetched and how many there are in all, where that is known.
FetchProgress = Callable[[int, int | None], None]
#: Pages without any new entry after which a database is taken to go round in circles.
_MOST_EMPTY = 3


@dataclass(frozen=True)
class LeftOut:
    """An entry that is not in the table, and why."""

    id: str
    kind: str
    reason: str


@dataclass(frozen=True)
class FetchResult:
    """What came of a fetch.

    Attributes:
        out: the table.
        crystals: rows in it.
        left_out: entries that are not in it, with their reasons; ``skipped_file`` lists them.
        skipped_file: where; ``None`` when there are none.
        repeated: entries that the database sent more than once.
        resumed: entries that an earlier, unfinished fetch had left.
        announced: how many the database said there are; ``None`` when it did not.
        received: how many it sent.
        limited: whether ``limit`` ended the fetch.
        origins: what the rows say of where they come from.
    """

    out: Path
    crystals: int
    left_out: tuple[LeftOut, ...]
    skipped_file: Path | None
    repeated: int
    resumed: int
    announced: int | None
    received: int
    limited: bool
    origins: tuple[OriginSummary, ...]

    @property
    def complete(self) -> bool:
        """Whether as many entries came as were announced, or as many as were wanted."""
        return self.limited or self.announced is None or self.received >= self.announced


def fetch(
    source: str,
    query: str,
    out: str | Path,
    *,
    provider: str | None = None,
    key: str | None = None,
    limit: int | None = None,
    properties: Sequence[str] | None = None,
    disorder: Disorder = "skip",
    left_handed: LeftHanded = "swap",
    overwrite: bool = False,
    patience: Patience | None = None,
    progress: FetchProgress | None = None,
) -> FetchResult:
    """Fetch crystals from a database into a Parquet table; the same call resumes a killed one.

    Args:
        source: ``optimade``.
        query: what to fetch, in the language of the source.
        out: the table; it must not exist unless ``overwrite``.
        provider: known name or address of the database.
        key: secret of the database; sent to it alone, never stored.
        limit: most entries.
        properties: labels of the provider to ask for; all its numbers when not given.
        disorder, left_handed: as for :func:`crystal_diffusion.data.iter_crystals`.
        overwrite: replace a table that exists.
        patience: how often to try and how long to wait.
        progress: called after every answer.

    Raises:
        InputError: for an argument that does not fit, and when nothing usable was found.
        SourceError: when the database cannot be reached, refuses, or sends something else. What
            came before is kept beside ``out``.
    """
    target = _table_path(out)
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; give at least 1.")
    chosen = open_source(source, query, provider, key, properties, patience)
    request = {**chosen.request, "limit": limit}
    if target.exists() and not overwrite:
        same = read_made_by(target).get("request") == request
        said = "with just this request, fetched before" if same else "of another content"
        raise InputError(f"{target} exists already, {said}; give another --out or --overwrite.")
    with Journal(target, request) as journal:
        gathered = _gather(chosen, journal, limit, progress)
        crystals = _settled(chosen, journal, limit, disorder, left_handed)
        good = [crystal for crystal in crystals if crystal.problem is None]
        left_out = tuple(
            LeftOut(c.id, c.problem_kind or "unreadable", c.problem)
            for c in crystals
            if c.problem is not None
        )
        skipped = _write_left_out(target, left_out)
        if not crystals:
            journal.remove()
            raise InputError(f"nothing was found for {query!r}; ask for something else.")
        if not good:
            raise InputError(
                f"none of the {len(left_out)} entries is a usable crystal, the first "
                f"({left_out[0].id}) because: {left_out[0].reason}. All are listed in {skipped}."
            )
        write_parquet(target, good, {"made_by": "fetch", "request": request})
        journal.remove()
    return FetchResult(
        target,
        len(good),
        left_out,
        skipped,
        gathered.repeated,
        gathered.resumed,
        gathered.announced,
        gathered.received,
        limit is not None and gathered.received >= limit,
        summarize(crystal.provenance for crystal in good),
    )


def open_source(
    source: str,
    query: str,
    provider: str | None = None,
    key: str | None = None,
    properties: Sequence[str] | None = None,
    patience: Patience | None = None,
) -> Source:
    """The source of a name.

    Raises:
        InputError: for an unknown name, or an argument that the source has no use for.
    """
    if source != "optimade":
        raise InputError(f"{source!r} is no source; choose optimade.")
    if provider is None:
        raise InputError("optimade needs a provider; give --provider NAME or its address.")
    home = known_provider(provider)[1].address
    secret = None if key is None else Key(key, "X-API-KEY", home)
    return OptimadeSource(Client(secret, patience), provider, query, properties)


def _table_path(out: str | Path) -> Path:
    path = Path(out).expanduser()
    if path.suffix != ".parquet":
        raise InputError(f"{path} must end in .parquet.")
    return path


@dataclass(frozen=True)
class _Gathered:
    received: int
    repeated: int
    resumed: int
    announced: int | None


def _gather(
    source: Source, journal: Journal, limit: int | None, progress: FetchProgress | None
) -> _Gathered:
    """Fetch what the journal lacks into it, until the end or the limit."""
    seen: set[str] = set()
    heads: list[PageHead] = []
    repeated = 0
    for page in journal.pages():
        repeated += _count_new(source, page, seen)
        heads.append(PageHead(page.cursor, page.next, len(page.entries), page.origin, page.total))
    resumed, empty = len(seen), 0
    announced = heads[-1].total if heads else None
    if resumed:
        log.info("%d entries of an unfinished fetch are there already", resumed)
    finished = limit is not None and len(seen) >= limit
    try:
        pages = iter(()) if finished else source.pages(heads)
        for page in pages:
            before = len(seen)
            repeated += _count_new(source, page, seen)
            empty = 0 if len(seen) > before else empty + 1
            if empty >= _MOST_EMPTY and page.next:
                raise SourceError(
                    f"{empty} pages in a row brought nothing new: the database goes round in "
                    "circles; narrow the query."
                )
            journal.add(page)
            announced = page.total if page.total is not None else announced
            if progress is not None:
                known = announced if limit is None or announced is None else min(limit, announced)
                progress(len(seen), known if known is not None else limit)
            if limit is not None and len(seen) >= limit:
                break
    except SourceError as error:
        journal.remove_if_empty()
        kept = f" {len(seen)} entries are kept; the same command goes on from there."
        raise type(error)(f"{error}{kept if seen else ''}") from error
    return _Gathered(len(seen), repeated, resumed, announced)


def _count_new(source: Source, page: Page, seen: set[str]) -> int:
    """Add the ids of a page; answers how many were there before."""
    repeated = 0
    for number, entry in enumerate(page.entries):
        name = source.entry_id(entry) or f"{page.cursor}#{number}"
        repeated += name in seen
        seen.add(name)
    return repeated


def _settled(
    source: Source,
    journal: Journal,
    limit: int | None,
    disorder: Disorder,
    left_handed: LeftHanded,
) -> list[PlainCrystal]:
    """The crystals of the journal, each entry once, ordered and checked as the readers do."""
    crystals = list(source.crystals(_once(source, journal.pages(), limit)))
    if not crystals:
        return []
    origins = [crystal.provenance for crystal in crystals]
    read = iter_plain(crystals, disorder=disorder, left_handed=left_handed)
    return [replace(c, provenance=o) for c, o in zip(read, origins, strict=True)]


def _once(source: Source, pages: Iterator[Page], limit: int | None) -> Iterator[Page]:
    """The pages without entries that came before, and without what is beyond the limit."""
    seen: set[str] = set()
    for page in pages:
        kept: list[Any] = []
        for number, entry in enumerate(page.entries):
            name = source.entry_id(entry) or f"{page.cursor}#{number}"
            if name in seen or (limit is not None and len(seen) >= limit):
                continue
            seen.add(name)
            kept.append(entry)
        yield replace(page, entries=tuple(kept))


def _write_left_out(target: Path, left_out: Sequence[LeftOut]) -> Path | None:
    """The list of what is not in the table, beside it; an older list goes."""
    path = target.with_name(f"{target.stem}.left_out.tsv")
    if not left_out:
        path.unlink(missing_ok=True)
        return None
    rows = (
        "\t".join(" ".join(text.split()) for text in (x.id, x.kind, x.reason)) for x in left_out
    )
    write_text(path, "id\tkind\treason\n" + "\n".join(rows) + "\n")
    return path


def reasons(left_out: Sequence[LeftOut]) -> dict[str, int]:
    """How many entries were left out for each kind of reason, the most frequent first."""
    return dict(Counter(entry.kind for entry in left_out).most_common())


def read_key(file: str | Path | None, variable: str | None = None) -> str | None:
    """The key from a file, else from an environment variable; ``None`` when there is neither.

    Raises:
        InputError: for a file that cannot be read or is empty.
    """
    if file is None:
        return os.environ.get(variable, "").strip() or None if variable else None
    path = Path(file).expanduser()
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); give a file with the key.") from None
    if not text or len(text.split()) != 1:
        raise InputError(f"{path} must hold the key and nothing else.")
    return text


def unfinished(out: str | Path) -> bool:
    """Whether an unfinished fetch of this table is there."""
    return journal_path(_table_path(out)).exists()
