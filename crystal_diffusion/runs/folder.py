"""A run folder: manifest, table, structures in ordinary files, what was rejected and why.

Every file is written whole and then moved into place; ids and cells are the same in all of them.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.files import write_text

if TYPE_CHECKING:
    from pymatgen.core import Structure

MANIFEST = "manifest.json"
ROWS = "structures.jsonl"
TABLE = "structures.csv"
STRUCTURES = "structures.extxyz"
REJECTED = "rejected.csv"


class RunFolder:
    """One run on disk.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @classmethod
    def create(cls, path: Path | str, overwrite: bool = False) -> RunFolder:
        """Make a new run folder.

        Raises:
            InputError: when the folder holds another run and ``overwrite`` is false, or cannot be
                made.
        """
        folder = Path(path)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is a file; give a folder with --out.")
        if folder.exists() and any(folder.iterdir()) and not overwrite:
            raise InputError(
                f"{folder}: already in use; choose another folder with --out, or add --overwrite."
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made ({error.strerror}).") from error
        return cls(folder)

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """An existing run folder.

        Raises:
            InputError: when the folder has no manifest.
        """
        folder = Path(path)
        if not (folder / MANIFEST).is_file():
            raise InputError(
                f"{folder}: is not a run folder (no {MANIFEST}); give the --out folder of "
                "`crystal-diffusion generate`."
            )
        return cls(folder)

    @property
    def manifest(self) -> dict[str, Any]:
        """Command, configuration, versions, seeds, hashes, times."""
        result: dict[str, Any] = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
        return result

    def rows(self) -> list[dict[str, Any]]:
        """One mapping a structure, in order."""
        file = self.path / ROWS
        if not file.is_file():
            return []
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]

    def structures(self) -> dict[str, Structure]:
        """Structures by id, in order, in full precision."""
        from ase.io import iread

        from crystal_diffusion.crystal import to_structure

        file = self.path / STRUCTURES
        if not file.is_file() or file.stat().st_size == 0:
            return {}
        return {
            str(atoms.info["id"]): to_structure(atoms)
            for atoms in iread(str(file), index=":", format="extxyz")
        }

    def rejected(self) -> list[dict[str, str]]:
        """Rows of the table of rejected candidates: reason and count."""
        file = self.path / REJECTED
        if not file.is_file():
            return []
        with file.open(newline="", encoding="utf-8") as handle:
            return list(csv.DictReader(handle))

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write ``manifest.json``."""
        write_text(self.path / MANIFEST, json.dumps(manifest, indent=2, default=str) + "\n")

    def write_structures(
        self, structures: Mapping[str, Structure], rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Write table, extended XYZ and one CIF per id, all with the same ids and cells."""
        lines = (json.dumps(row, default=_plain) + "\n" for row in rows)
        write_text(self.path / ROWS, "".join(lines))
        write_text(self.path / TABLE, _as_csv(rows))
        write_text(
            self.path / STRUCTURES,
            "".join(extxyz_text(structure, name) for name, structure in structures.items()),
        )
        (self.path / "cif").mkdir(exist_ok=True)
        for name, structure in structures.items():
            write_text(self.path / "cif" / f"{name}.cif", cif_text(structure, name), flush=False)

    def write_rejected(self, reasons: Mapping[str, int]) -> None:
        """Write counts by reason, most frequent first."""
        rows = [{"reason": r, "count": n} for r, n in Counter(dict(reasons)).most_common()]
        write_text(self.path / REJECTED, _as_csv(rows, ("reason", "count")))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)


def _as_csv(rows: Sequence[Mapping[str, Any]], columns: Iterable[str] = ()) -> str:
    """CSV of flat columns; nested values such as the checks become one word each."""
    names = list(columns)
    for row in rows:
        names += [key for key in row if key not in names]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _flat(value) for key, value in row.items()})
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
    """One frame of extended XYZ with the id, cell and cartesian positions in Å (12 digits)."""
    cell = " ".join(f"{x:.12g}" for x in np.asarray(structure.lattice.matrix).ravel())
    lines = [
        str(len(structure)),
        f'Lattice="{cell}" Properties=species:S:1:pos:R:3 id={name} pbc="T T T"',
    ]
    for site, position in zip(structure, structure.cart_coords, strict=True):
        lines.append(f"{site.specie.symbol} " + " ".join(f"{x:.12g}" for x in position))
    return "\n".join(lines) + "\n"


def cif_text(structure: Structure, name: str) -> str:
    """A CIF in P1 with cell and coordinates to ten digits; readable everywhere."""
    a, b, c = structure.lattice.abc
    alpha, beta, gamma = structure.lattice.angles
    formula = structure.composition.formula
    lines = [
        f"data_{name}",
        "_symmetry_space_group_name_H-M   'P 1'",
        "_symmetry_Int_Tables_number      1",
        f"_cell_length_a     {a:.10f}",
        f"_cell_length_b     {b:.10f}",
        f"_cell_length_c     {c:.10f}",
        f"_cell_angle_alpha  {alpha:.10f}",
        f"_cell_angle_beta   {beta:.10f}",
        f"_cell_angle_gamma  {gamma:.10f}",
        f"_cell_volume       {structure.volume:.8f}",
        f"_chemical_formula_sum '{formula}'",
        "loop_",
        "  _symmetry_equiv_pos_site_id",
        "  _symmetry_equiv_pos_as_xyz",
        "  1  'x, y, z'",
        "loop_",
        "  _atom_site_label",
        "  _atom_site_type_symbol",
        "  _atom_site_fract_x",
        "  _atom_site_fract_y",
        "  _atom_site_fract_z",
        "  _atom_site_occupancy",
    ]
    for index, site in enumerate(structure, start=1):
        symbol = site.specie.symbol
        x, y, z = (float(v) % 1.0 for v in site.frac_coords)
        lines.append(f"  {symbol}{index}  {symbol}  {x:.10f}  {y:.10f}  {z:.10f}  1")
    return "\n".join(lines) + "\n"
