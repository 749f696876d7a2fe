"""Skeletons of a request: which space group and Wyckoff positions each crystal gets.

What the request fixes is kept; what it leaves open comes from the learned distribution
(:mod:`crystal_diffusion.skeletons`).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.errors import RequestError
from crystal_diffusion.generation.neutral import neutral_contents
from crystal_diffusion.generation.plan import Chosen, Plan, SkeletonPlace
from crystal_diffusion.generation.plan import TemplateSource as TemplateSource
from crystal_diffusion.generation.request import Request
from crystal_diffusion.physics.facts import space_group
from crystal_diffusion.physics.neutrality import neutral_assignment
from crystal_diffusion.skeletons.distribution import BEAM, Drawn, SkeletonModel, SkeletonWish, fits
from crystal_diffusion.skeletons.tokens import in_order
from crystal_diffusion.symmetry.assignments import (
    count_assignments,
    parse_wyckoff,
    refuse_impossible,
)
from crystal_diffusion.symmetry.groups import SpaceGroup
from crystal_diffusion.symmetry.projection import TemplateBatch
from crystal_diffusion.symmetry.template import SymmetricTemplate

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.generation.type_opinion import TypeOpinion
    from crystal_diffusion.runs.folder import RunFolder

#: Share of noise starts that stay free of symmetry by default, so that nothing is excluded.
FREE_SHARE = 0.05
#: What a second crystal of a skeleton is worth beside the first, the n-th one a share of 1/(n-1) of
#: it: each is the best of several draws, so further ones add little. Where no coordinate is free
#: the first has said nearly all. Chosen with the share of the structure types.
REPEAT = 0.08
REPEAT_FIXED = 0.003
#: Tries with the own skeleton before others are drawn, and before symmetry is given up.
_OWN_TRIES = 2
_SYMMETRIC_TRIES = 6
#: Draws of which the last is taken as it comes.
_DRAWS = 3
#: Contents drawn until one is neutral.
_NEUTRAL_DRAWS = 200
#: Most atoms of a primitive cell where a group needs more than the model was trained on.
LARGEST_PRIMITIVE = 96


class _FixedTemplate:
    """Elements on the Wyckoff positions that the request names."""

    def __init__(
        self, request: Request, known: Collection[int], compositions: Sequence[Mapping[int, int]]
    ) -> None:
        if request.spacegroup in (None, "any"):
            raise RequestError("wyckoff needs a space group; add for example --spacegroup 221.")
        group = request.space_groups()[0]
        assignment = parse_wyckoff(str(request.wyckoff), group)
        made = assignment.counts()
        unknown = sorted(set(made) - set(known))
        if unknown:
            raise RequestError(
                f"wyckoff names {chemistry.symbol(unknown[0])}, which the model has not met in "
                "training."
            )
        # The formula may be given per conventional cell or reduced: ratios must agree.
        if compositions and not any(_same_ratio(made, unit) for unit in compositions):
            names = " ".join(f"{chemistry.symbol(z)}{n}" for z, n in sorted(made.items()))
            raise RequestError(
                f"wyckoff {request.wyckoff!r} makes {names}, which is not "
                f"{request.formula}; correct one of them."
            )
        if request.charge_neutral:
            named = {chemistry.symbol(z): n for z, n in made.items()}
            neutral_contents([named], f"wyckoff {request.wyckoff}")
        self._chosen = Chosen(SymmetricTemplate.from_assignment(assignment), None)

    def choose(self, places: Sequence[SkeletonPlace]) -> list[Chosen | None]:
        """The same for every crystal."""
        return [self._chosen] * len(places)


class _Listed:
    """Skeletons of given compositions, the likeliest first, each before any is repeated.

    What a further crystal of a skeleton adds is little beside what the first adds, so a repeat
    waits until the skeletons not yet tried are much less likely. A crystal that fails the checks
    is tried again once; then another skeleton is drawn for it.
    """

    def __init__(
        self, model: SkeletonModel, asked: _Asked, types: TypeOpinion | None = None
    ) -> None:
        listed: list[Drawn] = []
        believed = model.composition_weights(asked.compositions, asked.numbers)
        # Half by belief, half even: which cell is right often shows only in the end. A group that
        # was asked for means the cells in which it is usual.
        even = 0.0 if asked.required else 0.5
        shares = (1 - even) * believed + even / len(asked.compositions)
        for counts, share in zip(asked.compositions, shares, strict=True):
            likeliest: Sequence[Drawn] = model.likeliest(counts, BEAM, asked.numbers)
            if types is not None:
                likeliest = types.joined(likeliest, counts, asked.numbers)
            listed += [
                Drawn(drawn.skeleton, drawn.log_probability + math.log(max(share, 1e-12)))
                for drawn in likeliest
            ]
        self._listed = listed
        self._order: list[int] = []
        self._waiting = [(-d.log_probability, 0, i) for i, d in enumerate(listed)]
        heapq.heapify(self._waiting)

    def choose(self, places: Sequence[SkeletonPlace]) -> list[Chosen | None]:
        """One for each place."""
        return [_chosen(self._listed[self._at(place)]) for place in places]

    def _at(self, place: SkeletonPlace) -> int:
        if place.attempt >= _OWN_TRIES:
            weights = np.exp([d.log_probability for d in self._listed])
            rng = np.random.default_rng([place.seed, 1])
            return int(rng.choice(len(weights), p=weights / weights.sum()))
        while len(self._order) <= place.ordinal:
            _, times, index = heapq.heappop(self._waiting)
            self._order.append(index)
            drawn = self._listed[index]
            share = REPEAT_FIXED if drawn.skeleton.freedom == 0 else REPEAT
            left = -drawn.log_probability - math.log(share / (times + 1))
            heapq.heappush(self._waiting, (left, times + 1, index))
        return self._order[place.ordinal]


class _TemplateDrawn:
    """Skeletons whose composition is free, one drawn for each crystal as the model believes.

    A draw in P1, or with contents that are neither neutral nor all metal, is drawn anew, and a
    first draw that is neutral only by mixed valence, against the order of electronegativity, or as
    a covalent compound: the model makes more of all of them than there are. With it 84 % have
    usual charges, as 83 % of known crystals do; 71 % without.
    """

    def __init__(self, model: SkeletonModel, asked: _Asked) -> None:
        self.model, self.asked = model, asked

    def choose(self, places: Sequence[SkeletonPlace]) -> list[Chosen | None]:
        """One for each place; neutral ones where that was asked for."""
        out: list[Chosen | None] = [None] * len(places)
        rngs = [np.random.default_rng([place.seed, 1]) for place in places]
        left = list(range(len(places)))
        for trial in range(_NEUTRAL_DRAWS if self.asked.charge_neutral else _DRAWS):
            drawn = self.model.draw(self.asked.wish, [rngs[i] for i in left])
            again = []
            for i, one in zip(left, drawn, strict=True):
                if self._wanted(one, trial):
                    out[i] = _chosen(one)
                else:
                    again.append(i)
            left = again
            if not left:
                return out
        if self.asked.required:
            raise RequestError(
                f"none of {_NEUTRAL_DRAWS} contents drawn for the space groups asked for has a "
                "neutral assignment of oxidation states; allow more elements or atoms, or ask "
                "without --charge-neutral."
            )
        return out

    def _wanted(self, drawn: Drawn, trial: int) -> bool:
        """Whether a draw is taken: neutral where it must be, else doubtful ones in the end."""
        charges = neutral_assignment(drawn.skeleton.counts())
        if self.asked.charge_neutral:
            return charges.neutral
        if trial == _DRAWS - 1:
            return True
        if self.asked.numbers is None and drawn.skeleton.space_group == 1:
            return False
        return charges.usual if trial == 0 else charges.neutral


class _Shared:
    """A share of the crystals gets a skeleton, the others stay free of symmetry."""

    def __init__(self, source: TemplateSource, share: float) -> None:
        self._source, self._share = source, share

    def choose(self, places: Sequence[SkeletonPlace]) -> list[Chosen | None]:
        """None for those that stay free, and for those that failed again and again."""
        taken: list[SkeletonPlace] = []
        rows: list[int] = []
        for row, place in enumerate(places):
            free_before = math.floor(place.ordinal * (1 - self._share) + 1e-9)
            free_after = math.floor((place.ordinal + 1) * (1 - self._share) + 1e-9)
            if free_after == free_before and place.attempt < _SYMMETRIC_TRIES:
                taken.append(replace(place, ordinal=place.ordinal - free_before))
                rows.append(row)
        out: list[Chosen | None] = [None] * len(places)
        if taken:
            for row, chosen in zip(rows, self._source.choose(taken), strict=True):
                out[row] = chosen
        return out


@dataclass(frozen=True)
class _Asked:
    """What a skeleton must be, for one request.

    Attributes:
        compositions: that fit the groups; empty where contents are free.
        numbers: of the groups; None for all.
        wish: where contents are free.
        required: whether a group was asked for, so that nothing else will do.
    """

    compositions: tuple[Mapping[int, int], ...]
    numbers: tuple[int, ...] | None
    wish: SkeletonWish
    charge_neutral: bool
    required: bool

    @classmethod
    def of(
        cls,
        request: Request,
        known: Collection[int],
        compositions: Sequence[Mapping[int, int]],
        largest: int,
    ) -> _Asked:
        """From a request.

        Raises:
            RequestError: when no assignment can meet it.
        """
        groups = request.space_groups()
        numbers = None if len(groups) == 230 else tuple(g.number for g in groups)
        possible = tuple(
            counts
            for counts in compositions
            if numbers is None or any(count_assignments(group, counts) for group in groups)
        )
        if compositions and not possible:
            _refuse(groups, compositions[0])
        elements = {chemistry.atomic_number(el) for el in request.elements}
        banned = {chemistry.atomic_number(el) for el in request.exclude}
        wish = SkeletonWish(
            elements=tuple(in_order(elements)),
            allowed=frozenset(known) - banned,
            num_atoms=request.num_atoms or (max(1, len(elements)), max(largest, len(elements))),
            groups=None if numbers is None else frozenset(numbers),
        )
        if not compositions and not fits(wish):
            if request.num_atoms is not None:
                low, high = request.num_atoms
                raise RequestError(
                    f"no crystal of {low} to {high} atoms in the primitive cell fits the "
                    f"{len(groups)} space groups asked for; widen --natoms."
                )
            wish = replace(wish, num_atoms=(1, LARGEST_PRIMITIVE))
        return cls(possible, numbers, wish, request.charge_neutral, request.symmetric)


def _refuse(groups: Sequence[SpaceGroup], counts: Mapping[int, int]) -> None:
    if len(groups) == 1:
        refuse_impossible(groups[0], counts)
    names = " ".join(f"{chemistry.symbol(z)}{n}" for z, n in sorted(counts.items()))
    raise RequestError(
        f"none of the {len(groups)} space groups asked for holds {names} in the primitive "
        "cell; ask for other formula units with --z, or drop the wish for symmetry."
    )


def _chosen(drawn: Drawn) -> Chosen:
    template = SymmetricTemplate.from_assignment(drawn.skeleton)
    return Chosen(template, drawn.log_probability)


def _same_ratio(a: Mapping[int, int], b: Mapping[int, int]) -> bool:
    if set(a) != set(b):
        return False
    first = next(iter(a))
    return all(a[z] * b[first] == b[z] * a[first] for z in a)


def symmetric_share(asked: str | float | None, default: float) -> float:
    """The share of noise starts that get a skeleton first.

    Args:
        asked: "learned" (all but :data:`FREE_SHARE`), "free" (none), a number from 0 to 1, or None
            for the default.

    Raises:
        RequestError: for anything else.
    """
    if asked is None:
        return default
    if asked == "learned":
        return 1.0 - FREE_SHARE
    if asked == "free":
        return 0.0
    try:
        share = float(asked)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise RequestError(
            f"symmetry {asked!r} is not known; give learned, free, or a share from 0 to 1."
        )
    return share


def template_source(
    request: Request,
    model: SkeletonModel,
    known: Collection[int],
    compositions: Sequence[Mapping[int, int]],
    *,
    largest: int,
    asked: str | float | None = None,
    default: float = 0.0,
    types: TypeOpinion | None = None,
) -> TemplateSource | None:
    """Something that chooses the skeletons of a request; None where all crystals stay free.

    Args:
        model: the learned distribution.
        known: atomic numbers the network has met.
        compositions: of the primitive cell, empty where contents are free.
        largest: most atoms where their number is not asked for.
        asked: see :func:`symmetric_share`; default: the share where nothing is asked.
        types: what known structure types say where the composition is given.

    Raises:
        RequestError: at once, when no skeleton can meet the request, or wishes exclude each other.
    """
    share = symmetric_share(asked, default)
    kept = "given lattice" if request.lattice is not None else "host"
    if request.lattice is not None or request.host is not None:
        if request.symmetric:
            raise RequestError(
                f"a {kept} and a space group exclude each other here; the group decides which "
                "cells and positions are allowed. Drop one of them."
            )
        if asked is not None and share > 0:
            raise RequestError(
                f"a {kept} and symmetry {asked} exclude each other; drop one of them."
            )
        return None
    if request.symmetric and asked is not None and share < 1 and asked != "learned":
        raise RequestError(
            f"symmetry {asked} leaves crystals free of the space group that was asked for; drop "
            "one of the two."
        )
    if request.wyckoff:
        return _FixedTemplate(request, known, compositions)
    if not request.symmetric and share == 0:
        return None
    wanted = _Asked.of(request, known, compositions, largest)
    source: TemplateSource = (
        _Listed(model, wanted, types) if wanted.compositions else _TemplateDrawn(model, wanted)
    )
    return source if request.symmetric else _Shared(source, share)


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


def symmetry_columns(structure: Structure, plan: Plan) -> dict[str, Any]:
    """Columns of the row: where the symmetry came from, and what two programs find.

    ``symmetry`` is "asked", "learned" or "free"; the rest is there for the first two only.
    """
    template = plan.template
    if template is None:
        return {"symmetry": "free"} if plan.kind == "noise" else {}
    import spglib

    group = template.group
    cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    dataset = spglib.get_symmetry_dataset(cast("Any", cell), symprec=0.01)
    moyo = space_group(structure, 0.01) or 1
    chance = plan.skeleton_log_probability
    return {
        "symmetry": "asked" if plan.group_asked else "learned",
        "space_group_requested": group.number if plan.group_asked else None,
        "space_group_drawn": group.number,
        "wyckoff": str(template.assignment),
        "skeleton_probability": None if chance is None else float(f"{math.exp(chance):.4g}"),
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
