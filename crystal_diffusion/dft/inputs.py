"""Inputs for density functional theory: one folder per crystal, ready for VASP, QE or GPAW.

Settings follow the Materials Project (PBE; Jain et al., APL Materials 1, 011002 (2013)): VASP
through pymatgen's ``MPRelaxSet``, the others with the same k-point density, smearing and magnetic
starts; only VASP's inputs have the +U corrections.
Pseudopotentials are named, never shipped. Every folder carries its id in ``id.json``; results are
read back by that id (`dft_results`), never by the order of files.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_diffusion.errors import InputError
from crystal_diffusion.files import file_name, write_text
from crystal_diffusion.runs.cif_writer import cif_text
from crystal_diffusion.runs.rows import structure_row

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Starting moments (μB): those of pymatgen's MPRelaxSet for the elements that are usually magnetic.
MAGNETIC_STARTS = {
    "V": 5.0, "Cr": 5.0, "Mn": 5.0, "Fe": 5.0, "Co": 0.6, "Ni": 5.0, "Mo": 5.0, "W": 5.0,
    "Ce": 5.0, "Pr": 4.0, "Nd": 3.0, "Sm": 5.0, "Eu": 10.0, "Gd": 7.0, "Tb": 6.0, "Dy": 5.0,
    "Ho": 4.0, "Er": 3.0, "Tm": 2.0, "Yb": 1.0,
}  # fmt: skip


@dataclass(frozen=True)
class DftSettings:
    """Settings of the calculations.

    Attributes:
        cutoff_eV: plane-wave cutoff (520 eV in the Materials Project).
        kpoint_density: k-points per Å⁻³ of reciprocal space, 2π included (64 there too).
        relax: relax cell and positions, or one energy only.
        smearing_eV: width (Gaussian in VASP, cold in Quantum ESPRESSO, Fermi-Dirac in GPAW).
        pseudo_dir: folder of UPF files for Quantum ESPRESSO.
        command: how the code is started in the job script; a sensible one by default.
    """

    cutoff_eV: float = 520.0
    kpoint_density: float = 64.0
    relax: bool = True
    smearing_eV: float = 0.05
    pseudo_dir: Path | None = None
    command: str | None = None

    def __post_init__(self) -> None:
        for name in ("cutoff_eV", "kpoint_density", "smearing_eV"):
            value = getattr(self, name)
            if not 0 < value < 1e6:
                raise InputError(f"{name}: {value} given, but it must be above 0 and below 1e6")


def kpoint_grid(structure: Structure, density: float) -> tuple[int, int, int]:
    """Divisions of a Gamma-centred grid with at least that many points per Å⁻³.

    The spacing is the same in all directions; reciprocal lengths include 2π. Density 64 gives
    8×8×8 for the primitive cell of silicon.
    """
    lengths = structure.lattice.reciprocal_lattice.abc
    per_length = density ** (1 / 3)
    first, second, third = (max(1, math.ceil(x * per_length - 1e-6)) for x in lengths)
    return first, second, third


def is_magnetic(structure: Structure) -> bool:
    """Whether any element is one that usually carries a moment."""
    return any(symbol in MAGNETIC_STARTS for symbol in structure.composition.get_el_amt_dict())


def _vasp(structure: Structure, folder: Path, settings: DftSettings) -> str:
    import warnings

    from pymatgen.io.vasp.sets import MPRelaxSet, MPStaticSet

    incar = {"ENCUT": settings.cutoff_eV, "SIGMA": settings.smearing_eV}
    chosen = MPRelaxSet if settings.relax else MPStaticSet
    grid = {"reciprocal_density": settings.kpoint_density}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # POTCARs are named only, and say so in POTCAR.spec
        made = chosen(
            structure, user_incar_settings=incar, user_kpoints_settings=grid, sort_structure=True
        )
        made.write_input(str(folder), potcar_spec=True)
    return settings.command or "srun vasp_std"


def _pseudopotential(symbol: str, folder: Path | None) -> str:
    """File of an element: the first PBE one of the folder, or ``SYMBOL.UPF`` where none is given.

    Raises:
        InputError: the folder has none for this element.
    """
    if folder is None:
        return f"{symbol}.UPF"
    files = sorted(
        path.name
        for path in folder.iterdir()
        if path.name.lower().endswith(".upf")
        and path.name.replace("_", ".").split(".")[0].lower() == symbol.lower()
    )
    plain = [name for name in files if "pbesol" not in name.lower() and "rel-" not in name.lower()]
    pbe = [name for name in plain if "pbe" in name.lower() and "gipaw" not in name.lower()]
    for choice in (pbe, plain, files):
        if choice:
            return choice[0]
    raise InputError(
        f"pseudo_dir: {folder} has no UPF file for {symbol}; add one, or give another folder"
    )


def _espresso(structure: Structure, folder: Path, settings: DftSettings) -> str:
    from pymatgen.core import Element

    symbols = sorted(structure.composition.get_el_amt_dict())
    files = {symbol: _pseudopotential(symbol, settings.pseudo_dir) for symbol in symbols}
    magnetic = is_magnetic(structure)
    rydberg = 13.605693122994
    pseudo = f"'{settings.pseudo_dir.resolve()}'" if settings.pseudo_dir else "'./'"
    lines = [
        "&CONTROL",
        f"  calculation = '{'vc-relax' if settings.relax else 'scf'}'",
        "  prefix = 'crystal', outdir = './out', tprnfor = .true., tstress = .true.",
        f"  pseudo_dir = {pseudo}",
        "  etot_conv_thr = 1.0d-5, forc_conv_thr = 1.0d-3",
        "/",
        "&SYSTEM",
        f"  ibrav = 0, nat = {len(structure)}, ntyp = {len(symbols)}",
        f"  ecutwfc = {settings.cutoff_eV / rydberg:.4f}, "
        f"ecutrho = {8 * settings.cutoff_eV / rydberg:.4f}",
        f"  occupations = 'smearing', smearing = 'cold', degauss = "
        f"{settings.smearing_eV / rydberg:.6f}",
    ]
    if magnetic:
        lines.append("  nspin = 2")
        for number, symbol in enumerate(symbols, 1):
            share = min(MAGNETIC_STARTS.get(symbol, 0.0) / 10.0, 1.0)
            lines.append(f"  starting_magnetization({number}) = {share:.2f}")
    lines += ["/", "&ELECTRONS", "  conv_thr = 1.0d-8, mixing_beta = 0.4", "/"]
    if settings.relax:
        lines += ["&IONS", "/", "&CELL", "/"]
    lines.append("ATOMIC_SPECIES")
    lines += [f"  {s} {float(Element(s).atomic_mass):.4f} {files[s]}" for s in symbols]
    lines.append("CELL_PARAMETERS angstrom")
    lines += ["  " + " ".join(f"{x:.10f}" for x in row) for row in structure.lattice.matrix]
    lines.append("ATOMIC_POSITIONS crystal")
    for site in structure:
        coordinates = " ".join(f"{x:.10f}" for x in site.frac_coords)
        lines.append(f"  {site.specie.symbol} {coordinates}")
    grid = kpoint_grid(structure, settings.kpoint_density)
    lines += ["K_POINTS automatic", f"  {grid[0]} {grid[1]} {grid[2]} 0 0 0"]
    write_text(folder / "pw.in", "\n".join(lines) + "\n")
    return settings.command or "srun pw.x -in pw.in > pw.out"


_GPAW_SCRIPT = '''"""Run with: python run.py (or: gpaw -P 8 python run.py). Writes result.json."""

import json
import os

from ase.io import read
from gpaw import GPAW, PW, FermiDirac

KPOINTS = {kpoints}
MOMENTS = {moments}

with open("id.json") as stream:
    crystal_id = json.load(stream)["id"]
atoms = read("structure.cif")
if any(MOMENTS.values()):
    atoms.set_initial_magnetic_moments([MOMENTS.get(s, 0.0) for s in atoms.get_chemical_symbols()])
atoms.calc = GPAW(
    mode=PW({cutoff}),
    xc="PBE",
    kpts=dict(size=KPOINTS, gamma=True),
    occupations=FermiDirac({smearing}),
    txt="gpaw.txt",
)
converged = True
if {relax}:
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    converged = bool(BFGS(FrechetCellFilter(atoms), logfile="relax.log").run(fmax=0.02, steps=200))
energy = atoms.get_potential_energy()
result = dict(
    id=crystal_id,
    energy_eV=float(energy),
    converged=converged,
    lattice=atoms.cell.array.tolist(),
    species=atoms.get_chemical_symbols(),
    frac_coords=atoms.get_scaled_positions(wrap=False).tolist(),
)
with open("result.json.part", "w") as stream:
    json.dump(result, stream)
os.replace("result.json.part", "result.json")
'''


def _gpaw(structure: Structure, folder: Path, settings: DftSettings) -> str:
    present = structure.composition.get_el_amt_dict()
    moments = {s: MAGNETIC_STARTS[s] for s in present if s in MAGNETIC_STARTS}
    script = _GPAW_SCRIPT.format(
        kpoints=kpoint_grid(structure, settings.kpoint_density),
        moments=moments,
        cutoff=settings.cutoff_eV,
        smearing=settings.smearing_eV,
        relax=settings.relax,
    )
    write_text(folder / "run.py", script)
    return settings.command or "srun gpaw python run.py"


#: code → writer of its input; the writer returns the command that runs it.
CODES: dict[str, Callable[[Any, Path, DftSettings], str]] = {
    "vasp": _vasp,
    "espresso": _espresso,
    "gpaw": _gpaw,
}


@dataclass(frozen=True)
class DftJob:
    """One crystal to compute.

    Attributes:
        id: of the crystal; references carry the id of the reference.
        structure: as relaxed so far.
        kind: ``candidate`` or ``reference``.
    """

    id: str
    structure: Structure
    kind: str = "candidate"


def write_inputs(
    jobs: Iterable[DftJob], folder: Path, code: str, settings: DftSettings | None = None
) -> dict[str, str]:
    """Write one folder per crystal, a job script in each, and a manifest.

    Args:
        jobs: what to compute.
        folder: made where it is not there; folders of the same ids are written anew.
        code: one of ``CODES``.
        settings: Materials-Project-like by default.

    Returns:
        Problems by id (a missing pseudopotential, for example); their folders are not written.

    Raises:
        InputError: an unknown code, or a folder that cannot be written.
    """
    if code not in CODES:
        raise InputError(f"code: {code!r} is not known; choose from {', '.join(CODES)}")
    settings = settings or DftSettings()
    problems: dict[str, str] = {}
    entries: list[dict[str, Any]] = []
    names: set[str] = set()
    for job in jobs:
        name = _unique(file_name(job.id), names)
        own = folder / name
        try:
            own.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{own}: cannot be made ({error.strerror})") from error
        try:
            command = CODES[code](job.structure, own, settings)
        except (InputError, KeyError, ValueError) as error:
            problems[job.id] = " ".join(str(error).split())
            if not any(own.iterdir()):
                own.rmdir()
            continue
        identity = {"id": job.id, "kind": job.kind, "structure": structure_row(job.structure)}
        write_text(own / "id.json", json.dumps(identity) + "\n")
        write_text(own / "structure.cif", cif_text(job.structure, file_name(job.id)))
        _write_script(own, job.id, command)
        entries.append(
            {
                "id": job.id,
                "kind": job.kind,
                "folder": name,
                "formula": job.structure.composition.reduced_formula,
                "num_atoms": len(job.structure),
                "magnetic_start": is_magnetic(job.structure),
            }
        )
    manifest: Mapping[str, Any] = {
        "code": code,
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(settings).items()},
        "pseudopotentials": "named in the inputs, not included",
        "jobs": entries,
        "problems": problems,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    return problems


def _unique(name: str, taken: set[str]) -> str:
    """Two ids may become one file name; the second gets a number."""
    found, number = name, 2
    while found.lower() in taken:
        found, number = f"{name}-{number}", number + 1
    taken.add(found.lower())
    return found


def _write_script(folder: Path, key: str, command: str) -> None:
    text = (
        "#!/bin/bash\n"
        f"#SBATCH --job-name={file_name(key)}\n"
        "#SBATCH --ntasks=16\n"
        "#SBATCH --time=04:00:00\n"
        "set -e\n"
        'cd "$(dirname "${BASH_SOURCE[0]}")"\n'
        f"{command}\n"
    )
    write_text(folder / "job.sh", text)
    os.chmod(folder / "job.sh", 0o755)
