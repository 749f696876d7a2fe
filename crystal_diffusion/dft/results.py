"""Reading finished calculations back, by id, and the hull of their energies."""

from __future__ import annotations

import datetime
import errno
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_diffusion.dft.inputs import DftJob
from crystal_diffusion.energy.hull import HullBuilder
from crystal_diffusion.energy.reference_energies import (
    Library,
    ReferenceEnergies,
    ReferenceEntry,
    simple_cells,
)
from crystal_diffusion.errors import InputError
from crystal_diffusion.runs.columns import Row, named
from crystal_diffusion.runs.reading import read_json
from crystal_diffusion.runs.rows import rounded, structure_from_row

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True)
class DftResult:
    """One calculation, read back.

    Attributes:
        id: of the crystal, from ``id.json`` in its folder.
        kind: ``candidate`` or ``reference``.
        structure: the final one.
        energy_per_atom: eV; NaN where there is none.
        converged: as the code says.
        problem: why there is no energy; empty where there is one.
    """

    id: str
    kind: str
    structure: Structure
    energy_per_atom: float
    converged: bool
    problem: str = ""


def _from_vasp(folder: Path) -> tuple[float, Structure, bool]:
    from pymatgen.io.vasp.outputs import Vasprun

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = Vasprun(
            str(folder / "vasprun.xml"), parse_dos=False, parse_eigen=False, parse_potcar_file=False
        )
    return float(run.final_energy), run.final_structure, bool(run.converged)


def _from_espresso(folder: Path) -> tuple[float, Structure, bool]:
    from ase.io import read
    from pymatgen.io.ase import AseAtomsAdaptor

    text = (folder / "pw.out").read_text(errors="replace")
    if "JOB DONE" not in text:
        raise ValueError("pw.out does not say JOB DONE: the run was stopped or failed")
    atoms: Any = read(str(folder / "pw.out"), format="espresso-out", index=-1)
    energy = float(atoms.get_potential_energy())
    atoms.calc = None
    converged = "convergence NOT achieved" not in text
    if "BFGS" in text:
        converged = converged and "bfgs converged" in text
    return energy, AseAtomsAdaptor.get_structure(atoms), converged


def _from_gpaw(folder: Path) -> tuple[float, Structure, bool]:
    file = folder / "result.json"
    if not file.is_file():
        raise FileNotFoundError(errno.ENOENT, "there is no result", str(file))
    row = read_json(file)
    asked = read_json(folder / "id.json")["id"]
    if "id" in row and str(row["id"]) != str(asked):
        raise ValueError(f"result.json is of {row['id']!r}, not of {asked!r}")
    return float(row["energy_eV"]), structure_from_row(row), bool(row["converged"])


_READERS: dict[str, Callable[[Path], tuple[float, Any, bool]]] = {
    "vasp": _from_vasp,
    "espresso": _from_espresso,
    "gpaw": _from_gpaw,
}


def read_results(folder: Path) -> tuple[str, list[DftResult]]:
    """All calculations below a folder of `dft_inputs.write_inputs`.

    Returns:
        The code's name, and one result for every ``id.json``, whatever the folders are called now.

    Raises:
        InputError: no manifest, or one of an unknown code.
    """
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise InputError(
            f"{folder}: has no manifest.json of `crystal-diffusion dft`; give the folder it wrote"
        )
    code = str(read_json(manifest).get("code"))
    if code not in _READERS:
        raise InputError(f"{manifest}: code {code!r} is not known")
    return code, [_read_one(path, code) for path in sorted(folder.glob("*/id.json"))]


def _read_one(path: Path, code: str) -> DftResult:
    try:
        identity = read_json(path)
        start = structure_from_row(identity["structure"])
        key, kind = str(identity["id"]), str(identity["kind"])
    # Damaged numbers make pymatgen fail in every way there is.
    except Exception as error:
        raise InputError(
            f"{path}: is damaged ({' '.join(str(error).split())[:160]}); write the inputs again, "
            "or remove that folder to collect the others."
        ) from error

    def failed(problem: str) -> DftResult:
        return DftResult(key, kind, start, float("nan"), False, problem)

    try:
        energy, structure, converged = _READERS[code](path.parent)
    except FileNotFoundError as error:
        return failed(f"{code}: no result yet ({Path(str(error.filename)).name} is not there)")
    except Exception as error:  # whatever a damaged output makes a parser raise
        return failed(f"{code}: cannot be read ({' '.join(str(error).split())[:200]})")
    if not math.isfinite(energy):
        return failed(f"{code}: the energy is no number")
    if structure.composition != start.composition:
        return failed(
            f"{code}: the result is {structure.formula}, but {start.formula} was asked for"
        )
    return DftResult(key, kind, structure, energy / len(structure), converged)


@dataclass(frozen=True, eq=False, kw_only=True)
class DftRow(Row):
    """What a calculation adds to the row of a crystal; without an energy only why not."""

    dft_code: str
    dft_problem: str
    dft_energy_per_atom_eV: float | None = named("dft_energy_per_atom_eV", optional=True)
    dft_formation_energy_eV_atom: float | None = None
    dft_energy_above_hull_eV_atom: float | None = None
    dft_n_competing: int | None = named("dft_n_competing", optional=True)
    dft_converged: bool | None = named("dft_converged", optional=True)


def dft_rows(code: str, results: Iterable[DftResult]) -> dict[str, DftRow]:
    """The ``dft_…`` columns of every candidate, with the hull of these calculations alone.

    Energies of a potential are never mixed in: elements and competing phases must have been
    computed with the same code and settings (``--references``); where one is missing the row says
    which.
    """
    found = list(results)
    today = datetime.date.today().isoformat()
    references = ReferenceEnergies(f"dft-{code}", "")
    for result in found:
        if result.kind == "reference" and not result.problem:
            composition = result.structure.composition.get_el_amt_dict()
            references.entries[result.id] = ReferenceEntry(
                result.id, composition, result.energy_per_atom, result.converged, today
            )
    hull = HullBuilder(references)
    rows: dict[str, DftRow] = {}
    for result in found:
        if result.kind != "candidate":
            continue
        if result.problem:
            rows[result.id] = DftRow(dft_code=code, dft_problem=result.problem)
            continue
        composition = result.structure.composition.get_el_amt_dict()
        place = hull.place(composition, result.energy_per_atom)
        rows[result.id] = DftRow(
            dft_code=code,
            dft_problem=place.problem,
            dft_energy_per_atom_eV=rounded(result.energy_per_atom),
            dft_formation_energy_eV_atom=rounded(place.formation_energy),
            dft_energy_above_hull_eV_atom=rounded(place.energy_above_hull),
            dft_n_competing=place.n_competing,
            dft_converged=result.converged,
        )
    return rows


def reference_jobs(
    hull: Mapping[str, Any], candidates: Iterable[str], library: Library | None
) -> list[DftJob]:
    """The elements and decomposition products that the hull of these candidates needs.

    Args:
        hull: what ``hull.json`` of the screening holds.
        candidates: ids of the short list.
        library: known crystals, for the structures.
    """
    from pymatgen.core import Composition

    wanted: dict[str, None] = {}
    short = set(candidates)
    for system in hull["systems"].values():
        own = [c for c in system["candidates"] if c["id"] in short]
        if not own:
            continue
        best: dict[str, tuple[float, str]] = {}
        for entry in system["references"]:
            formula = str(Composition(entry["composition"]).reduced_formula)
            energy = float(entry["energy_per_atom_eV"])
            if formula not in best or energy < best[formula][0]:
                best[formula] = (energy, entry["id"])
        products = {formula for c in own for formula in c["decomposition"]}
        for formula, (_, key) in best.items():
            if len(Composition(formula)) == 1 or formula in products:
                wanted.setdefault(key)
    rows = {library.id_of(i): i for i in range(len(library))} if library is not None else {}
    jobs = []
    for key in wanted:
        if library is not None and key in rows:
            jobs.append(DftJob(key, library.structure(rows[key]), "reference"))
            continue
        cells = dict(simple_cells(key.partition("-")[0])) if "-" in key else {}
        if key in cells:
            jobs.append(DftJob(key, cells[key], "reference"))
    return jobs
