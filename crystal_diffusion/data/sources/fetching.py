"""``fetch``: from a query to a table of crystals, with everything that was left out listed."""

from __future__ import annotations

import glob
import json
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crystal_diffusion.data.parquet_writer import read_made_by, write_parquet
from crystal_diffusion.data.provenance import OriginSummary, Provenance, summarize
from crystal_diffusion.data.records import Disorder, LeftHanded, PlainCrystal
from crystal_diffusion.data.sources import cod, materials_project
from crystal_diffusion.data.sources.cif_origin import Database
from crystal_diffusion.data.sources.client import Client, Key, Patience, checked_address
from crystal_diffusion.data.sources.cod import CodSource
from crystal_diffusion.data.sources.exports import export_crystals
from crystal_diffusion.data.sources.gathering import (
    FetchProgress,
    Gathered,
    checked,
    fresh_pages,
    gather,
    once,
)
from crystal_diffusion.data.sources.journal import Journal, now
from crystal_diffusion.data.sources.materials_project import MaterialsProjectSource, project_key
from crystal_diffusion.data.sources.optimade import OptimadeSource, known_provider
from crystal_diffusion.data.sources.protocol import Source
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import write_text

log = logging.getLogger(__name__)


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
        source: ``optimade``, ``mp``, ``cod`` or ``icsd``.
        query: what to fetch. For ``optimade`` a filter in its language, for ``mp`` and ``cod`` see
            :func:`crystal_diffusion.data.sources.query.parse_query`, for ``icsd`` (and ``cod``
            too) a file, folder, glob or archive of CIFs.
        out: the table; it must not exist unless ``overwrite``.
        provider: known name or address of the database; only ``optimade`` needs it.
        key: secret of the database; sent to it alone, never stored. For ``mp`` the environment
            variable ``MP_API_KEY`` is read where it is not given.
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
    if source in ("cod", "icsd") and (source == "icsd" or _is_place(query)):
        _refuse_arguments(source, provider=provider, key=key, properties=properties)
        request: dict[str, Any] = {"source": source, "place": str(query), "limit": limit}
        _check_free(target, request, overwrite)
        crystals, files = _from_files(source, query, limit, disorder, left_handed, progress)
        got = Gathered(files, 0, 0, None)
        return _write(target, crystals, got, request, query, limited=False)
    chosen = open_source(source, query, provider, key, properties, patience)
    # As it comes back from a file: lists instead of tuples.
    request = json.loads(json.dumps({**chosen.request, "limit": limit}))
    _check_free(target, request, overwrite)
    with Journal(target, request) as journal:
        got = gather(chosen, journal, limit, progress)
        found = list(chosen.crystals(once(chosen, journal.pages(), limit)))
        crystals = checked(found, disorder, left_handed)
        if not crystals:
            journal.remove()
        limited = limit is not None and got.received >= limit
        result = _write(target, crystals, got, request, query, limited)
        journal.remove()
    return result


def _is_place(query: str) -> bool:
    """Whether a query names files that are here."""
    return glob.has_magic(query) or Path(query).expanduser().exists()


def _refuse_arguments(source: str, **arguments: object) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise InputError(f"{source} has no use for {name}; leave it out.")


def _check_free(target: Path, request: Mapping[str, Any], overwrite: bool) -> None:
    if target.exists() and not overwrite:
        same = read_made_by(target).get("request") == request
        said = "with just this request, fetched before" if same else "of another content"
        raise InputError(f"{target} exists already, {said}; give another --out or --overwrite.")


def _from_files(
    source: str,
    place: str,
    limit: int | None,
    disorder: Disorder,
    left_handed: LeftHanded,
    progress: FetchProgress | None,
) -> tuple[list[PlainCrystal], int]:
    """The crystals of files that are here, and how many files were read."""
    shared = Provenance(retrieved_at=now(), filter=Path(place).name)
    found: list[PlainCrystal] = []
    files = 0
    database: Database = "icsd" if source == "icsd" else "cod"
    for files, crystal in export_crystals(place, database, shared):
        found.append(crystal)
        if progress is not None:
            progress(files + 1, None)
        if limit is not None and len(found) >= limit:
            break
    return checked(found, disorder, left_handed), files + 1


def _write(
    target: Path,
    crystals: Sequence[PlainCrystal],
    gathered: Gathered,
    request: Mapping[str, Any],
    query: str,
    limited: bool,
) -> FetchResult:
    """The table and the list of what is not in it."""
    if not crystals:
        raise InputError(f"nothing was found for {query!r}; ask for something else.")
    good = [crystal for crystal in crystals if crystal.problem is None]
    left_out = tuple(
        LeftOut(c.id, c.problem_kind or "unreadable", c.problem)
        for c in crystals
        if c.problem is not None
    )
    skipped = _write_left_out(target, left_out)
    if not good:
        raise InputError(
            f"none of the {len(left_out)} entries is a usable crystal, the first "
            f"({left_out[0].id}) because: {left_out[0].reason}. All are listed in {skipped}."
        )
    write_parquet(target, good, {"made_by": "fetch", "request": dict(request)})
    return FetchResult(
        target,
        len(good),
        left_out,
        skipped,
        gathered.repeated,
        gathered.resumed,
        gathered.announced,
        gathered.received,
        limited,
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
    if source == "mp":
        _refuse_arguments(source, properties=properties)
        address = checked_address(provider) if provider is not None else materials_project.ADDRESS
        secret = project_key(key or read_key(None, "MP_API_KEY"), address)
        return MaterialsProjectSource(Client(secret, patience), query, address)
    if source == "cod":
        _refuse_arguments(source, key=key, properties=properties)
        address = checked_address(provider) if provider is not None else cod.ADDRESS
        return CodSource(Client(None, patience), query, address)
    if source != "optimade":
        raise InputError(f"{source!r} is no source; choose optimade, mp, cod or icsd.")
    if provider is None:
        raise InputError("optimade needs a provider; give --provider NAME or its address.")
    home = known_provider(provider)[1].address
    named = None if key is None else Key(key, "X-API-KEY", home)
    return OptimadeSource(Client(named, patience), provider, query, properties)


def _table_path(out: str | Path) -> Path:
    path = Path(out).expanduser()
    if path.suffix != ".parquet":
        raise InputError(f"{path} must end in .parquet.")
    return path


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


def load_materials_project_data(
    api_key: str,
    max_structures: int = 1000,
    *,
    query: str = "nsites=1-20",
    address: str = materials_project.ADDRESS,
    patience: Patience | None = None,
) -> list[dict[str, Any]]:
    """Crystals of the Materials Project as the dicts that ``CrystalStructureDataset`` takes.

    Args:
        api_key: from the account at the Materials Project.
        max_structures: most crystals.
        query: which; by default those of 1 to 20 sites.
        address: another place that speaks the same language.
        patience: how often to try and how long to wait.

    Returns:
        One dict a crystal: ``positions (atoms, 3)`` fractional, ``atom_types (atoms,)``,
        ``lattice (3, 3)`` rows in Å, ``id``. For a table with labels and provenance, and for a
        fetch that can be resumed, use ``fetch("mp", ...)``.

    Raises:
        InputError: for a missing key or a number below 1.
        SourceError: when the project cannot be reached or refuses.
    """
    if max_structures < 1:
        raise InputError(f"max_structures is {max_structures}; give at least 1.")
    client = Client(project_key(api_key, address), patience)
    source = MaterialsProjectSource(client, query, address)
    found: list[dict[str, Any]] = []
    for page in once(source, fresh_pages(source, [], set()), None):
        for crystal in checked(list(source.crystals([page])), "skip", "swap"):
            if crystal.problem is not None:
                log.warning("%s is left out: %s", crystal.id, crystal.problem)
                continue
            found.append(
                {
                    "positions": crystal.frac_coords,
                    "atom_types": crystal.atomic_numbers,
                    "lattice": crystal.lattice,
                    "id": crystal.id,
                }
            )
        if len(found) >= max_structures:
            break
    return found[:max_structures]
