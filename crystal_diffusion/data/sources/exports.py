"""CIFs that are here already: exports of the ICSD, folders and archives of the COD."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from crystal_diffusion.data.archives import is_archive, members
from crystal_diffusion.data.bounds import expand_gzip, seconds_for, time_limit
from crystal_diffusion.data.formats import format_of, stem_of
from crystal_diffusion.data.provenance import Provenance
from crystal_diffusion.data.readers import find_files
from crystal_diffusion.data.records import PlainCrystal, failed, shorten
from crystal_diffusion.data.sources.cif_origin import Database, database_crystals
from crystal_diffusion.errors import InputError


def export_crystals(
    place: str | Path, database: Database, shared: Provenance
) -> Iterator[tuple[int, PlainCrystal]]:
    """The crystals of a file, folder, glob or archive of CIFs.

    Args:
        place: where the CIFs are.
        database: whose they are.
        shared: provenance that does not depend on the file.

    Yields:
        (files read before, crystal). A file that cannot be read is a crystal with a problem.

    Raises:
        InputError: when there are no CIFs.
    """
    files = [path for path, _ in find_files(place)[0] if format_of(path) in ("cif", "archive")]
    if not files:
        raise InputError(f"{place} holds no CIF; give the export of the database.")
    count = 0
    for path in files:
        contents = _contents(path)
        while True:
            name, source = stem_of(path), str(path)
            try:
                name, source, raw = next(contents)
                raw = expand_gzip(raw) if source.lower().endswith(".gz") else raw
                with time_limit(seconds_for(path)):
                    found = list(database_crystals(raw, name, source, database, shared))
            except StopIteration:
                break
            # Foreign files make their readers fail in every way there is; each is recorded.
            except Exception as error:
                problem = f"cannot be read as CIF ({shorten(error)}); correct it"
                lost = failed(name, source, problem)
                found = [replace(lost, provenance=replace(shared, provider=database))]
            yield from ((count, crystal) for crystal in found)
            count += 1


def _contents(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Name, place for messages, and bytes of the CIFs of a file, gzipped or not."""
    if not is_archive(path):
        yield stem_of(path), str(path), path.read_bytes()
        return
    for member in members(path, lambda text: format_of(Path(text)) == "cif"):
        yield stem_of(Path(member.name)), f"{path}: {member.name}", member.content
