"""Relaxation of one structure: cell and positions, or positions only, watched at every step.

The optimiser is ASE's limited-memory BFGS on its unit cell filter (deformation gradient, positions
in the undeformed cell), with the cell scaled so that strain and positions are about equally stiff:
that alone halved the steps. The filter without matrix logarithms takes as many steps and a sixth of
the time outside the potential (4 instead of 25 ms for a step). What is added here: geometry is
checked before a potential sees it, every step is watched (run-away cells, colliding atoms, energies
that are no numbers), force *and* stress must be met for ``converged``, and steps and seconds are
limited.

Atoms frozen by ``selective_dynamics`` (of a POSCAR, of ASE's constraints) do not move at all, and
the cell of such a structure stays as it is: a layer cannot rest in a cell that is strained.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import GPa
from numpy.typing import NDArray
from pymatgen.core import Structure

from crystal_diffusion.energy.potentials import Potential, get_potential
from crystal_diffusion.errors import InputError, MissingDependencyError
from crystal_diffusion.frozen import constrain, frozen_of_structure

log = logging.getLogger(__name__)

#: First guess of the curvature (eV/Å²), longest move of an atom in one step (Å), and the length
#: (Å per square root of the number of atoms) that stands for a strain of one.
_CURVATURE, _MAX_STEP, _CELL_SCALE = 20.0, 0.2, 1.5


@dataclass(frozen=True)
class RelaxLimits:
    """When a relaxation is done, and when it is given up.

    Attributes:
        fmax: largest force on an atom (eV/Å) of a converged structure.
        smax: largest component of the stress (GPa) of a converged structure.
        max_steps: steps of the optimiser.
        time_limit_s: seconds for one structure; the best point so far is kept.
        min_distance: atoms closer than this (Å) are refused before and stop a relaxation.
        volume_per_atom: allowed range (Å³) before a potential sees the cell.
        volume_ratio: allowed range of volume after/before.
        max_length: longest cell edge (Å) accepted.
        fix_cell: move atoms only; the stress then says nothing of convergence. A structure with
            frozen atoms keeps its cell in any case.
    """

    fmax: float = 0.05
    smax: float = 0.1
    max_steps: int = 100
    time_limit_s: float = 600.0
    min_distance: float = 0.5
    volume_per_atom: tuple[float, float] = (2.0, 400.0)
    volume_ratio: tuple[float, float] = (0.25, 4.0)
    max_length: float = 200.0
    fix_cell: bool = False

    def __post_init__(self) -> None:
        for name in ("fmax", "smax", "time_limit_s", "min_distance", "max_length"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name}: {getattr(self, name)} given, but it must be above 0")
        if self.max_steps < 0:
            raise InputError(f"max_steps: {self.max_steps} given, but it must be 0 or more")


@dataclass(frozen=True)
class RelaxResult:
    """What came of a relaxation.

    Attributes:
        structure: the last sound structure (the input where nothing could be done).
        energy: total energy of it (eV); NaN where there is none.
        energy_per_atom: the same per atom (eV).
        max_force: largest force on an atom (eV/Å).
        stress: largest component of the stress (GPa), absolute.
        converged: both criteria met, and no problem.
        steps: optimiser steps made.
        potential, potential_version: what was used.
        seconds: wall time.
        potential_seconds: of these, inside the potential.
        problem: why there is no usable answer; empty where there is one. A structure that only
            ran out of steps or time has no problem: it is usable and not converged.
    """

    structure: Structure
    energy: float
    energy_per_atom: float
    max_force: float
    stress: float
    converged: bool
    steps: int
    potential: str
    potential_version: str
    seconds: float
    potential_seconds: float
    problem: str = ""


class _Stop(Exception):
    """A relaxation that must not go on; the text is the reason."""


def check_geometry(
    lattice: NDArray[np.float64], frac_coords: NDArray[np.float64], limits: RelaxLimits
) -> str:
    """Why this cell must not be shown to a potential; empty where it may.

    A squeezed cell has thousands of neighbours within any cutoff, and the potential's memory grows
    with them: one bad cell can take the whole machine.
    """
    if not (np.isfinite(lattice).all() and np.isfinite(frac_coords).all()):
        return "coordinates or cell hold NaN or infinity"
    volume = abs(float(np.linalg.det(lattice)))
    per_atom = volume / len(frac_coords)
    low, high = limits.volume_per_atom
    if not low <= per_atom <= high:
        return f"volume of {per_atom:.3g} Å³ per atom, outside {low:g} to {high:g}"
    lengths = np.linalg.norm(lattice, axis=1)
    if lengths.max() > limits.max_length:
        return f"cell edge of {lengths.max():.3g} Å, above {limits.max_length:g}"
    heights = 1.0 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    if heights.min() < 0.2 * limits.min_distance:
        return f"flat cell: {heights.min():.2g} Å between opposite faces"
    closest = _closest(lattice, frac_coords, limits.min_distance)
    if closest < limits.min_distance:
        return f"two atoms {closest:.2f} Å apart, under {limits.min_distance:g} Å"
    return ""


def _closest(lattice: NDArray[np.float64], frac_coords: NDArray[np.float64], reach: float) -> float:
    """Shortest distance (Å) between two atoms or an atom and its image, if below ``reach``."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    cart = np.ascontiguousarray((frac_coords % 1.0) @ lattice)
    first, second, images, distance = find_points_in_spheres(
        cart,
        cart,
        r=float(reach),
        pbc=np.ones(3, dtype=np.int64),
        lattice=np.ascontiguousarray(lattice, dtype=np.float64),
        tol=1e-8,
    )
    itself = (first == second) & (np.abs(images).sum(axis=1) == 0)
    return float(distance[~itself].min()) if (~itself).any() else np.inf


def relax(
    structure: Structure,
    potential: str | Potential = "pair",
    *,
    limits: RelaxLimits | None = None,
    trajectory: list[Structure] | None = None,
    calculator: Any = None,
) -> RelaxResult:
    """Relax cell and positions of an ordered structure; frozen atoms stay, and their cell too.

    Args:
        structure: start; never changed.
        potential: a name from ``POTENTIALS`` or a `Potential`.
        limits: criteria and limits; `RelaxLimits()` by default.
        trajectory: a list to be filled with the structure of every step; none are kept otherwise.
        calculator: a calculator of that potential to use again (making one loads its weights).

    Returns:
        The result; everything that is the structure's fault is its ``problem``, never an exception.

    Raises:
        InputError: an unknown potential or impossible limits.
        MissingDependencyError: the potential's package is not installed.
    """
    chosen = get_potential(potential)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return relax_unguarded(structure, chosen, limits or RelaxLimits(), trajectory, calculator)


def relax_unguarded(
    structure: Structure,
    chosen: Potential,
    limits: RelaxLimits,
    trajectory: list[Structure] | None,
    calculator: Any,
) -> RelaxResult:
    """`relax` without silencing warnings, which cannot be done in one of several threads."""
    run = _Run(structure, chosen, limits, trajectory)
    try:
        run.prepare(calculator)
        run.go()
    except _Stop as reason:
        run.problem = str(reason)
    except (MissingDependencyError, InputError):
        raise
    except Exception as error:  # the potential's own failure belongs to this structure only
        run.problem = f"{chosen.name} failed: {type(error).__name__}: {_one_line(error)}"
        log.debug("potential failed", exc_info=True)
    return run.result()


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + "…"


def structure_to_atoms(structure: Structure) -> Atoms:
    """Ordered structure as bare ASE atoms (no site properties).

    Raises:
        ValueError: a disordered structure.
    """
    if not structure.is_ordered:
        raise ValueError("sites are partially occupied; make an ordered structure of it first")
    return Atoms(
        numbers=[site.specie.Z for site in structure],
        scaled_positions=structure.frac_coords,
        cell=structure.lattice.matrix,
        pbc=True,
    )


def _atoms_to_structure(
    atoms: Atoms, like: Structure, frozen: NDArray[np.bool_] | None
) -> Structure:
    coords = atoms.get_scaled_positions(wrap=False)
    if frozen is None:
        return Structure(np.array(atoms.cell), like.species, coords)
    # From Cartesian coordinates and back is off in the last digit; frozen is frozen.
    coords = np.where(frozen, like.frac_coords, coords)
    free = {"selective_dynamics": (~frozen).tolist()}
    return Structure(like.lattice, like.species, coords, site_properties=free)


class _Run:
    """State of one relaxation; the last sound point is kept for the answer."""

    def __init__(
        self,
        structure: Structure,
        potential: Potential,
        limits: RelaxLimits,
        trajectory: list[Structure] | None,
    ) -> None:
        self.start, self.potential, self.limits = structure, potential, limits
        self.trajectory = trajectory
        self.last = structure
        self.energy = self.max_force = self.stress = float("nan")
        self.steps, self.inside, self.converged, self.problem = 0, 0.0, False, ""
        self.began = time.perf_counter()

    def prepare(self, calculator: Any) -> None:
        """Checks that need no potential, then the calculator."""
        self.atoms = structure_to_atoms(self.start)
        self.frozen = frozen_of_structure(self.start)
        constrain(self.atoms, self.frozen)
        self.fix_cell = self.limits.fix_cell or self.frozen is not None
        known = self.potential.elements
        unknown = sorted(set(self.atoms.get_chemical_symbols()) - known) if known else []
        if unknown:
            raise _Stop(f"{self.potential.name} does not know {', '.join(unknown)}")
        reason = check_geometry(self.start.lattice.matrix, self.start.frac_coords, self.limits)
        if reason:
            raise _Stop(f"not relaxed: {reason}")
        began = time.perf_counter()
        self.calculator = self.potential.calculator() if calculator is None else calculator
        self.calculator.reset()
        self.inside += time.perf_counter() - began
        self.atoms.calc = self.calculator

    def go(self) -> None:
        """Step until both criteria are met, a limit is reached or something runs away."""
        from ase.filters import UnitCellFilter
        from ase.optimize import LBFGS

        with self._guarded():
            if self._look() or self.limits.max_steps == 0:
                return
            # Strain energy grows with the number of atoms, so a strain is measured in √atoms Å.
            scale = _CELL_SCALE * float(np.sqrt(len(self.atoms)))
            # ASE takes filters and no log file, its annotations do not say so.
            moving: Any = (
                self.atoms if self.fix_cell else UnitCellFilter(self.atoms, cell_factor=scale)
            )
            silent: Any = None
            optimiser = LBFGS(moving, logfile=silent, maxstep=_MAX_STEP, alpha=_CURVATURE)
            for _ in optimiser.irun(fmax=0.0, steps=self.limits.max_steps):
                if optimiser.nsteps == 0:
                    continue
                self.steps = int(optimiser.nsteps)
                if self._look():
                    return
                if time.perf_counter() - self.began > self.limits.time_limit_s:
                    log.info("time limit of %g s reached", self.limits.time_limit_s)
                    return

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Every geometry is checked before the calculator sees it; its seconds are counted."""
        evaluate = self.calculator.calculate

        def guarded(*arguments: Any, **named: Any) -> None:
            self._refuse_runaway()
            began = time.perf_counter()
            try:
                evaluate(*arguments, **named)
            finally:
                self.inside += time.perf_counter() - began

        self.calculator.calculate = guarded
        try:
            yield
        finally:
            self.calculator.calculate = evaluate

    def _look(self) -> bool:
        """Evaluate the present point, refuse it if it is unsound, else remember it.

        Returns:
            Whether both criteria are met.
        """
        forces = np.asarray(self.atoms.get_forces(), dtype=np.float64)
        stress = np.asarray(self.atoms.get_stress(), dtype=np.float64)
        energy = float(self.atoms.get_potential_energy())
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
            raise _Stop(f"{self.potential.name} gave an energy, force or stress that is no number")
        if self.steps and (energy - self.energy) / len(self.atoms) < -50.0:
            raise _Stop("ran away: the energy fell by more than 50 eV/atom in one step")
        self.energy = energy
        self.max_force = float(np.linalg.norm(forces, axis=1).max())
        self.stress = float(np.abs(stress).max() / GPa)
        self.last = _atoms_to_structure(self.atoms, self.start, self.frozen)
        if self.trajectory is not None:
            self.trajectory.append(self.last)
        rests = self.fix_cell or self.stress <= self.limits.smax
        self.converged = self.max_force <= self.limits.fmax and rests
        return self.converged

    def _refuse_runaway(self) -> None:
        lattice = np.array(self.atoms.cell)
        reason = check_geometry(lattice, self.atoms.get_scaled_positions(wrap=False), self.limits)
        if reason:
            raise _Stop(f"ran away: {reason}")
        ratio = abs(float(np.linalg.det(lattice))) / self.start.volume
        low, high = self.limits.volume_ratio
        if not low <= ratio <= high:
            raise _Stop(f"ran away: the volume changed by a factor of {ratio:.2f}")

    def result(self) -> RelaxResult:
        """The last sound point; never converged where there was a problem."""
        return RelaxResult(
            structure=self.last,
            energy=self.energy,
            energy_per_atom=self.energy / len(self.start),
            max_force=self.max_force,
            stress=self.stress,
            converged=self.converged and not self.problem,
            steps=self.steps,
            potential=self.potential.name,
            potential_version=self.potential.version,
            seconds=time.perf_counter() - self.began,
            potential_seconds=self.inside,
            problem=self.problem,
        )
