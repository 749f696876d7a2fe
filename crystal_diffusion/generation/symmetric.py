"""Requests with a space group: draw an assignment of elements to Wyckoff positions, lay it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.errors import RequestError
from crystal_diffusion.generation.neutral import neutral_contents
from crystal_diffusion.generation.plan import TemplateSource
from crystal_diffusion.generation.request import Request
from crystal_diffusion.physics.facts import space_group
from crystal_diffusion.physics.neutrality import is_neutral_possible
from crystal_diffusion.symmetry.assignments import (
    Assignment,
    Site,
    count_assignments,
    make_assignment,
    parse_wyckoff,
    refuse_impossible,
)
from crystal_diffusion.symmetry.groups import SpaceGroup, groups_of
from crystal_diffusion.symmetry.prior import WyckoffPrior, role_counts
from crystal_diffusion.symmetry.projection import TemplateBatch
from crystal_diffusion.symmetry.template import SymmetricTemplate

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.runs.folder import RunFolder

#: Contents drawn until one is neutral.
_NEUTRAL_DRAWS = 200


def asked_groups(request: Request) -> tuple[SpaceGroup, ...]:
    """The groups a request allows.

    Raises:
        RequestError: for an unknown name, or wishes that exclude each other.
    """
    among = groups_of(crystal_system=request.crystal_system, point_group=request.point_group)
    if request.spacegroup in (None, "any"):
        return among
    group = SpaceGroup.from_any(str(request.spacegroup))
    if group.number not in {g.number for g in among}:
        raise RequestError(
            f"space group {group.symbol} is {group.crystal_system} with point group "
            f"{group.point_group}, which excludes the other wish; drop one of them."
        )
    return (group,)


class _Source:
    """Draws templates for one request, remembering what was worked out for each composition."""

    def __init__(
        self, request: Request, known: Sequence[int], compositions: Sequence[Mapping[int, int]]
    ) -> None:
        self.request = request
        self.groups = asked_groups(request)
        self.prior = WyckoffPrior.load()
        self.known = frozenset(known)
        self._weights: dict[tuple[tuple[int, int], ...], np.ndarray] = {}
        self.fixed: Assignment | None = None
        if request.wyckoff:
            if request.spacegroup in (None, "any"):
                raise RequestError("wyckoff needs a space group; add for example --spacegroup 221.")
            self.fixed = parse_wyckoff(request.wyckoff, self.groups[0])
            self._check_fixed(compositions)
            if request.charge_neutral:
                made = {chemistry.symbol(z): n for z, n in self.fixed.counts().items()}
                neutral_contents([made], f"wyckoff {request.wyckoff}")
        self.possible = [c for c in compositions if self._weigh(c).any()]
        if compositions and not self.possible and self.fixed is None:
            self._refuse(compositions[0])

    def __call__(
        self, composition: Mapping[int, int] | None, rng: np.random.Generator
    ) -> SymmetricTemplate:
        if self.fixed is not None:
            return SymmetricTemplate.from_assignment(self.fixed)
        if composition is None:
            return SymmetricTemplate.from_assignment(self._neutral(rng))
        counts = self.possible[int(rng.integers(len(self.possible)))]
        weights = self._weigh(counts)
        number = int(rng.choice(230, p=weights / weights.sum())) + 1
        assignment = self.prior.draw_assignment(SpaceGroup.from_number(number), counts, rng)
        return SymmetricTemplate.from_assignment(assignment)

    def _weigh(self, counts: Mapping[int, int]) -> np.ndarray:
        """``(230,)`` how often each possible group is drawn for a composition."""
        key = tuple(sorted(counts.items()))
        if key not in self._weights:
            possible = np.zeros(230)
            for group in self.groups:
                if count_assignments(group, counts):
                    possible[group.number - 1] = 1.0
            if possible.any() and len(self.groups) > 1:
                possible *= self.prior.group_weights(counts)
            self._weights[key] = possible
        return self._weights[key]

    def _refuse(self, counts: Mapping[int, int]) -> None:
        if len(self.groups) == 1:
            refuse_impossible(self.groups[0], counts)
        names = " ".join(f"{chemistry.symbol(z)}{n}" for z, n in sorted(counts.items()))
        raise RequestError(
            f"none of the {len(self.groups)} space groups asked for holds {names} in the primitive "
            "cell; ask for other formula units with --z, or drop the wish for symmetry."
        )

    def _check_fixed(self, compositions: Sequence[Mapping[int, int]]) -> None:
        if self.fixed is None:
            return
        made = self.fixed.counts()
        unknown = sorted(set(made) - self.known)
        if unknown:
            raise RequestError(
                f"wyckoff names {chemistry.symbol(unknown[0])}, which the model has not met in "
                "training."
            )
        # The formula may be given per conventional cell or reduced: ratios must agree.
        if compositions and not any(_same_ratio(made, unit) for unit in compositions):
            names = " ".join(f"{chemistry.symbol(z)}{n}" for z, n in sorted(made.items()))
            raise RequestError(
                f"wyckoff {self.request.wyckoff!r} makes {names}, which is not "
                f"{self.request.formula}; correct one of them."
            )

    def _neutral(self, rng: np.random.Generator) -> Assignment:
        """A free assignment, neutral where that was asked for."""
        for _ in range(_NEUTRAL_DRAWS):
            assignment = self._free(rng)
            if not self.request.charge_neutral or is_neutral_possible(assignment.counts()):
                return assignment
        raise RequestError(
            f"none of {_NEUTRAL_DRAWS} contents drawn for the space groups asked for has a neutral "
            "assignment of oxidation states; allow more elements or atoms, or ask without "
            "--charge-neutral."
        )

    def _free(self, rng: np.random.Generator) -> Assignment:
        """An assignment without a given composition: a known pattern, then its elements."""
        allowed = {g.number for g in self.groups}
        low, high = self.request.num_atoms or (1, 10**9)
        elements = [chemistry.atomic_number(el) for el in self.request.elements]
        banned = {chemistry.atomic_number(el) for el in self.request.exclude}
        choices, weights = [], []
        for index, pattern in enumerate(self.prior.patterns):
            if pattern[0] not in allowed or not low <= sum(role_counts(pattern)) <= high:
                continue
            if elements and len(pattern[1]) != len(elements):
                continue
            choices.append(index)
            weights.append(self.prior.frequencies[index])
        if not choices:
            return self._any_assignment(elements, banned, rng)
        probability = np.array(weights) / np.sum(weights)
        index = choices[int(rng.choice(len(choices), p=probability))]
        number, words = self.prior.patterns[index]
        if elements:
            used = [elements[i] for i in rng.permutation(len(elements))]
        else:
            used = self._draw_elements(index, banned, rng)
        sites = [Site(z, letter) for z, word in zip(used, words, strict=True) for letter in word]
        return make_assignment(SpaceGroup.from_number(number), sites)

    def _draw_elements(self, index: int, banned: set[int], rng: np.random.Generator) -> list[int]:
        """A different element for each role, as often as reference crystals have it there."""
        used: list[int] = []
        for held in self.prior.elements[index]:
            table = np.zeros(len(chemistry.SYMBOLS))
            table += 0.2 * self.prior.element_frequencies[: len(table)]
            for z, times in held.items():
                table[z] += times
            keep = np.zeros(len(table), bool)
            keep[sorted(self.known - banned - set(used))] = True
            table = np.where(keep, table, 0.0)
            if not table.any():
                table = keep.astype(float)
            used.append(int(rng.choice(len(table), p=table / table.sum())))
        return used

    def _any_assignment(
        self, elements: list[int], banned: set[int], rng: np.random.Generator
    ) -> Assignment:
        """Where no reference crystal has such a pattern: counts that fit one of the groups."""
        low, high = self.request.num_atoms or (1, 20)
        pool = elements or sorted(self.known - banned)
        for _ in range(400):
            kinds = len(elements) or int(rng.integers(1, 4))
            used = elements or [int(z) for z in rng.choice(pool, kinds, replace=False)]
            group = self.groups[int(rng.integers(len(self.groups)))]
            sizes = sorted({group.primitive_multiplicity(p.letter) for p in group.positions})
            counts = {z: int(rng.choice(sizes)) * int(rng.integers(1, 3)) for z in used}
            if low <= sum(counts.values()) <= high and count_assignments(group, counts):
                return self.prior.draw_assignment(group, counts, rng)
        raise RequestError(
            f"no crystal of {low} to {high} atoms in the primitive cell was found in the "
            f"{len(self.groups)} space groups asked for; widen --natoms."
        )


def _same_ratio(a: Mapping[int, int], b: Mapping[int, int]) -> bool:
    if set(a) != set(b):
        return False
    first = next(iter(a))
    return all(a[z] * b[first] == b[z] * a[first] for z in a)


def template_source(
    request: Request, known: Sequence[int], compositions: Sequence[Mapping[int, int]]
) -> TemplateSource:
    """Something that draws templates for the request.

    Raises:
        RequestError: at once, when no assignment can meet the request.
    """
    if request.lattice is not None:
        raise RequestError(
            "a given lattice and a space group exclude each other here; the group decides which "
            "cells are allowed. Drop one of them."
        )
    return _Source(request, known, compositions)


class TemplateProjection(TemplateBatch):
    """The projections the sampler needs, and the crystals in double precision at the end."""

    def structures(self, batch: CrystalBatch, cells: Sequence[str]) -> list[Structure]:
        """Crystals rebuilt from their orbits, each in the cell that was asked for."""
        out = []
        for row, (template, wanted) in enumerate(zip(self.templates, cells, strict=True)):
            atoms = len(template)
            cell = template.structure(
                batch.frac_coords[row, :atoms].cpu().double().numpy(),
                batch.lattice[row].cpu().double().numpy(),
                wanted,
            )
            out.append(cell.to_structure())
        return out


def symmetry_columns(structure: Structure, template: SymmetricTemplate | None) -> dict[str, Any]:
    """Columns of the row: the requested group, what two programs find, and whether it is higher."""
    if template is None:
        return {}
    import spglib

    group = template.group
    cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    dataset = spglib.get_symmetry_dataset(cell, symprec=0.01)
    moyo = space_group(structure, 0.01) or 1
    return {
        "space_group_requested": group.number,
        "wyckoff": str(template.assignment),
        "space_group_moyopy": moyo,
        "space_group_spglib": None if dataset is None else int(dataset.number),
        "higher_symmetry": moyo != group.number,
    }


def write_symmetrised(run: RunFolder, symprec: float) -> dict[str, int]:
    """Write symmetrised versions beside the originals, which stay as they are.

    Files: ``symmetrised/ID.cif`` and ``symmetrised.csv`` with the group before and after.

    Returns:
        Space group number of each symmetrised structure, by id.
    """
    from crystal_diffusion.files import below, cell_text, file_names, make_folder, write_text
    from crystal_diffusion.runs.cif_writer import cif_text
    from crystal_diffusion.symmetry import symmetrise

    make_folder(below(run.path, "symmetrised"))
    found: dict[str, int] = {}
    names = file_names(run.structures())
    lines = ["id,space_group_before_0.01,space_group_after_0.01,symprec_A"]
    for name, structure in run.structures().items():
        better = symmetrise(structure, symprec).to_structure()
        file = below(run.path, "symmetrised", f"{names[name]}.cif")
        write_text(file, cif_text(better, names[name]))
        found[name] = space_group(better, 0.01) or 1
        before = space_group(structure, 0.01) or 1
        lines.append(f"{cell_text(names[name])},{before},{found[name]},{symprec}")
    write_text(run.path / "symmetrised.csv", "\n".join(lines) + "\n")
    return found
