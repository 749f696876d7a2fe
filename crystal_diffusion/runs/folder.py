"""A run folder: manifest, table, structures in ordinary files, what was rejected and why.

Every file is written whole and then moved into place; ids and cells are the same in all of them.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.files import (
    below,
    cell_text,
    file_names,
    in_use,
    make_folder,
    remove_others,
    write_text,
)
from crystal_diffusion.frozen import frozen_of_structure
from crystal_diffusion.runs.cif_writer import cif_text
from crystal_diffusion.runs.reading import quoted_id, read_frames, read_json, read_rows, read_text

if TYPE_CHECKING:
    from pymatgen.core import Structure

MANIFEST = "manifest.json"
ROWS = "structures.jsonl"
TABLE = "structures.csv"
STRUCTURES = "structures.extxyz"
REJECTED = "rejected.csv"
#: There while a run is being written; a run with it is not whole.
UNFINISHED = ".unfinished"
#: What a run and its screening write beside the manifest.
_OWN_FILES = (
    ROWS,
    TABLE,
    STRUCTURES,
    REJECTED,
    "symmetrised.csv",
    "screening.jsonl",
    "screening.csv",
    "screening.db",
    "screening/summary.json",
    "relaxed.extxyz",
    "hull.json",
    "dft.jsonl",
    "report.html",
)
_OWN_FOLDERS = ("cif", "symmetrised", "relaxed")


def refuse_unfinished(folder: Path) -> None:
    """Say so where a run was stopped while it was written.

    Raises:
        InputError: when it was.
    """
    if (folder / UNFINISHED).exists() and not (folder / MANIFEST).exists():
        raise InputError(
            f"{folder}: the run was stopped before it was whole; the same command completes it."
        )


def incomplete(manifest: Mapping[str, Any], found: int) -> str:
    """What is missing of the crystals that the manifest counts; empty when nothing is."""
    made = manifest.get("made", manifest.get("read"))
    if not isinstance(made, int) or made <= found:
        return ""
    return (
        f"incomplete, {found} of {made} crystals are there; copy the folder again or run the "
        "command that wrote it again."
    )


class RunFolder:
    """One run on disk.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @classmethod
    def create(cls, path: Path | str, overwrite: bool = False) -> RunFolder:
        """Make a new run folder, or take one whose run was stopped before it was whole.

        With ``overwrite`` the manifest is removed first and then everything that belonged to the
        run before: no reader ever sees a part of one beside a part of the other.

        Raises:
            InputError: when the folder holds another run and ``overwrite`` is false, or cannot be
                made.
        """
        folder = Path(path)
        cls.check(folder, overwrite)
        run = cls(make_folder(folder))
        run.clear()
        run.begin()
        return run

    @staticmethod
    def check(folder: Path, overwrite: bool = False) -> None:
        """Look whether a run may be written here, before anything is.

        Raises:
            InputError: when the folder holds another run and ``overwrite`` is false, or is none.
        """
        try:
            if folder.exists() and not folder.is_dir():
                raise InputError(f"{folder}: is a file; give a folder with --out.")
            stopped = (folder / UNFINISHED).exists()
            if folder.exists() and in_use(folder) and not overwrite and not stopped:
                raise InputError(
                    f"{folder}: already in use; choose another folder with --out, or add "
                    "--overwrite."
                )
        except OSError as error:
            raise InputError(f"{str(folder)[:200]}: cannot be used ({error.strerror}).") from error

    def begin(self) -> None:
        """Mark the run as not whole, until its manifest is written.

        Raises:
            InputError: when the folder cannot be written.
        """
        text = "This run is not whole: the same command completes it.\n"
        write_text(self.path / UNFINISHED, text)
        below(self.path, MANIFEST).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what a run and its screening wrote, the manifest first; other files stay.

        Raises:
            InputError: when a file cannot be removed.
        """
        try:
            for name in (MANIFEST, *_OWN_FILES):
                (self.path / name).unlink(missing_ok=True)
            for name in _OWN_FOLDERS:
                folder = below(self.path, name)
                for file in folder.glob("*.cif") if folder.is_dir() else ():
                    file.unlink()
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be overwritten ({error.strerror}); choose another folder "
                "with --out."
            ) from error

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """An existing run folder.

        Raises:
            InputError: when the folder has no manifest, or its run was stopped while writing.
        """
        folder = Path(path)
        refuse_unfinished(folder)
        if not (folder / MANIFEST).is_file():
            raise InputError(
                f"{folder}: is not a run folder (no {MANIFEST}); give the --out folder of "
                "`crystal-diffusion generate`."
            )
        return cls(folder)

    @property
    def manifest(self) -> dict[str, Any]:
        """Command, configuration, versions, seeds, hashes, times.

        Raises:
            InputError: when the file is damaged.
        """
        return read_json(self.path / MANIFEST)

    def rows(self) -> list[dict[str, Any]]:
        """One mapping a structure, in order.

        Raises:
            InputError: when the file is damaged.
        """
        return read_rows(self.path / ROWS)

    def structures(self) -> dict[str, Structure]:
        """Structures by id, in order, in full precision.

        Raises:
            InputError: when the file is damaged, or holds fewer crystals than the manifest says.
        """
        found = read_frames(self.path / STRUCTURES)
        missing = incomplete(self.manifest, len(found)) if (self.path / MANIFEST).is_file() else ""
        if missing:
            raise InputError(f"{self.path / STRUCTURES}: {missing}")
        return found

    def rejected(self) -> dict[str, int]:
        """Counts of rejected candidates by reason.

        Raises:
            InputError: when the file is damaged.
        """
        file = self.path / REJECTED
        if not file.is_file():
            return {}
        try:
            rows = list(csv.DictReader(io.StringIO(read_text(file))))
            return {str(row["reason"]): int(row["count"]) for row in rows}
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{file}: is damaged (a line without reason and count); the crystals are not "
                "concerned: remove the file to go on without it."
            ) from error

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write ``manifest.json``, last of all: with it the run is whole."""
        write_text(self.path / MANIFEST, json.dumps(manifest, indent=2, default=str) + "\n")
        with contextlib.suppress(OSError):
            (self.path / UNFINISHED).unlink(missing_ok=True)

    def write_structures(
        self, structures: Mapping[str, Structure], rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Write table, extended XYZ and one CIF per id, all with the same ids and cells."""
        write_text(self.path / ROWS, json_lines(rows))
        write_text(self.path / TABLE, csv_text(rows))
        write_text(
            self.path / STRUCTURES,
            "".join(extxyz_text(structure, name) for name, structure in structures.items()),
        )
        make_folder(below(self.path, "cif"))
        names = file_names(structures)
        for name, structure in structures.items():
            file = below(self.path, "cif", f"{names[name]}.cif")
            write_text(file, cif_text(structure, names[name]), flush=False)
        remove_others(self.path / "cif", names.values())

    def write_originals(self, structures: Mapping[str, Structure]) -> None:
        """Write ``original/ID.cif`` of crystals whose symmetry was made exact, as sampled."""
        folder = below(self.path, "original")
        if structures:
            make_folder(folder)
        names = file_names(structures)
        for name, structure in structures.items():
            file = below(self.path, "original", f"{names[name]}.cif")
            write_text(file, cif_text(structure, names[name]), flush=False)
        remove_others(folder, names.values())

    def write_rejected(self, reasons: Mapping[str, int]) -> None:
        """Write counts by reason, most frequent first."""
        rows = [{"reason": r, "count": n} for r, n in Counter(dict(reasons)).most_common()]
        write_text(self.path / REJECTED, csv_text(rows, ("reason", "count")))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)


def json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """One line of JSON a row."""
    return "".join(json.dumps(dict(row), default=_plain) + "\n" for row in rows)


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Iterable[str] = ()) -> str:
    """CSV of flat columns; nested values such as the checks become one word each.

    Args:
        rows: of one table.
        columns: the first ones, there also without a value; others follow as they come.
    """
    names = list(columns)
    for row in rows:
        names += [key for key in row if key not in names]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: cell_text(_flat(value)) for key, value in row.items()})
    return buffer.getvalue()


def _flat(value: Any) -> Any:
    if isinstance(value, list):
        return "; ".join(
            f"{item['name']}={item['value']} {item.get('unit', '')} ({item['limit']}) "
            f"{'ok' if item['passed'] else item['severity']}"
            if isinstance(item, dict)
            else str(item)
            for item in value
        )
    return "" if value is None else value


def extxyz_text(structure: Structure, name: str) -> str:
    """One frame of extended XYZ with the id, cell and cartesian positions in Å (12 digits).

    Frozen atoms are marked in the column ``move_mask`` (T: free to move), as ASE writes it; along
    a, b and c apart where only some of these are frozen.
    """
    frozen = frozen_of_structure(structure)
    columns, masks = "", [""] * len(structure)
    if frozen is not None:
        whole = bool((frozen.all(1) == frozen.any(1)).all())
        columns = f":move_mask:L:{1 if whole else 3}"
        rows = frozen[:, :1] if whole else frozen
        masks = ["".join(" F" if flag else " T" for flag in row) for row in rows]
    cell = " ".join(f"{x:.12g}" for x in np.asarray(structure.lattice.matrix).ravel())
    # Not ASE's writer: 8 decimals and 1.4 times the time (`benchmarks/library_or_own.py`).
    lines = [
        str(len(structure)),
        f'Lattice="{cell}" Properties=species:S:1:pos:R:3{columns} '
        f'id={quoted_id(name)} pbc="T T T"',
    ]
    for site, position, mask in zip(structure, structure.cart_coords, masks, strict=True):
        lines.append(f"{site.specie.symbol} " + " ".join(f"{x:.12g}" for x in position) + mask)
    return "\n".join(lines) + "\n"
