"""What each crystal of a run is made from: composition, start, given fields.

A plan depends on the request, the seed, the crystal's index and the attempt, on nothing else: so
crystal i is the same alone or in any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.crystal import MASK_ELEMENT, MAX_ATOMIC_NUMBER
from crystal_diffusion.errors import RequestError
from crystal_diffusion.generation.cells import Cells, cells_of
from crystal_diffusion.generation.neutral import refuse_charged_host
from crystal_diffusion.generation.request import Request
from crystal_diffusion.generation.spelling import meant_offer
from crystal_diffusion.seeding import stream_seed

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.proposals.prototypes import Proposal
    from crystal_diffusion.symmetry.template import SymmetricTemplate

#: Finds prototypes: allowed cell contents by atomic number, how many -> proposals, best first.
Proposer = Callable[[Sequence[Mapping[int, int]], int], Sequence["Proposal"]]


@dataclass(frozen=True)
class Plan:
    """One candidate before it is sampled.

    Attributes:
        index: number of the crystal within the seed.
        attempt: 0 for the first try, then one more for each redraw.
        seed: of its random stream.
        atomic_numbers: ``(atoms,)``; 101 where the element is to be found.
        kind: "noise", "prototype" or "host".
        start: the structure to begin from, for prototypes and hosts.
        source: where ``start`` comes from.
        proposal: the proposal object itself, for ranking.
        frozen: number of leading atoms that must not move.
        template: symmetric template, where a space group was asked for or drawn.
        group_asked: whether the space group was asked for.
        skeleton_log_probability: of a template that was drawn; None where it was named.
        allowed: atomic numbers that atoms to be found may become; empty for any.
        lattice: a, b, c (Å), alpha, beta, gamma (degrees) of a given cell.
        cell: which cell of a symmetric crystal comes out: primitive, conventional or niggli.
        charge_neutral: the finished crystal must balance its charges.
        given: leading atoms whose elements were asked for, where others are to be found.
        composition_given: whether the request names all atoms; a skeleton may name them too.
    """

    index: int
    attempt: int
    seed: int
    atomic_numbers: tuple[int, ...]
    kind: str = "noise"
    start: Structure | None = None
    source: str = ""
    proposal: Proposal | None = None
    frozen: int = 0
    template: SymmetricTemplate | None = None
    group_asked: bool = False
    skeleton_log_probability: float | None = None
    allowed: tuple[int, ...] = ()
    lattice: tuple[float, ...] | None = None
    cell: str = "niggli"
    charge_neutral: bool = False
    given: int = 0
    composition_given: bool = False


@dataclass(frozen=True)
class SkeletonPlace:
    """A crystal that needs a skeleton.

    Attributes:
        ordinal: how many noise starts of the run come before it.
        attempt: 0 for the first try.
        seed: of its random stream.
    """

    ordinal: int
    attempt: int
    seed: int


@dataclass(frozen=True, eq=False)
class Chosen:
    """A skeleton laid out, and the logarithm of its probability; None where the user named it."""

    template: SymmetricTemplate
    log_probability: float | None


class TemplateSource(Protocol):
    """Chooses skeletons; what a place gets does not depend on the others."""

    def choose(self, places: Sequence[SkeletonPlace]) -> list[Chosen | None]:
        """One for each place, None for a crystal that stays free."""
        ...


class StartSource(Protocol):
    """Draws starts for requests that name no composition."""

    def proposal(self, index: int, attempt: int = 0) -> Proposal | None:
        """The start of this index; None where it is to be noise."""
        ...


class Planner:
    """Makes plans for a request.

    Args:
        request: what was asked for.
        seed: of the run.
        known: atomic numbers the model has met in training.
        sizes: training frequency of each number of atoms.
        largest: largest number of atoms in training.
        cells: contents that are tried where a formula is given.
        noise_share: share of crystals that start from noise; the others from prototypes.
        propose: finds prototypes, or None where there is no library.
        templates: chooses symmetric templates; None where all crystals stay free of symmetry.
        like: draws crystals like those of training, or like those with the property that is asked
            for, for requests that name no composition.
    """

    def __init__(
        self,
        request: Request,
        seed: int,
        *,
        known: Sequence[int],
        sizes: Mapping[int, int],
        largest: int,
        cells: Cells | None = None,
        noise_share: float = 1.0,
        propose: Proposer | None = None,
        templates: TemplateSource | None = None,
        like: StartSource | None = None,
        wanted: int = 1,
    ) -> None:
        if not 0 <= noise_share <= 1:
            raise RequestError(f"noise_share is {noise_share}; give a share between 0 and 1.")
        self.request = request
        self.seed = seed
        self.known = frozenset(int(z) for z in known)
        self.largest = largest
        self.noise_share = noise_share
        self.templates = templates
        self.like = like
        self._propose = propose
        self._wanted = wanted
        self._proposals: list[Proposal] | None = None
        self._sizes = {int(n): int(k) for n, k in sizes.items()} or {largest: 1}
        self.cells = cells_of(request, largest, None) if cells is None else cells
        self.compositions = self.cells.drawn
        self._named = request.named_elements
        self._refuse_unknown()
        self._allowed = self._allowed_elements()

    def _refuse_unknown(self) -> None:
        missing = [name for z, name in sorted(self._named.symbols.items()) if z not in self.known]
        if missing:
            offer = meant_offer(self.request.formula or "")
            raise RequestError(
                f"the model has not met {', '.join(missing)} in training"
                f"{f'{offer} Otherwise' if offer else ';'} use a model trained with "
                f"{'these elements' if len(missing) > 1 else 'this element'}, such as the "
                "pretrained one (leave the model argument out)."
            )
        for unit in self.compositions:
            self.request.check_room(sum(unit.values()))
        if self.request.num_atoms and not self.compositions:
            self.request.check_room(self.request.num_atoms[0])
        if self.request.host is not None and self.request.charge_neutral:
            refuse_charged_host(self.request.host, self._named.added_by_symbol)

    def _allowed_elements(self) -> tuple[int, ...]:
        """Atomic numbers that masked atoms may become, ascending."""
        wanted = set(self._named.required) or self.known
        allowed = tuple(sorted(z for z in wanted - self._named.excluded if z <= MAX_ATOMIC_NUMBER))
        if not allowed:
            raise RequestError("every element is excluded; leave at least one of them in.")
        return allowed

    def plan(self, index: int, attempt: int) -> Plan:
        """The plan of one candidate, with all that was asked of it."""
        return self.plans([(index, attempt)])[0]

    def plans(self, wanted: Sequence[tuple[int, int]]) -> list[Plan]:
        """The plans of several candidates, each an index and an attempt.

        Skeletons are drawn for all of them together.
        """
        request = self.request
        given: list[Plan | None] = [self._given_start(index, attempt) for index, attempt in wanted]
        open_rows = [row for row, plan in enumerate(given) if plan is None]
        chosen = self._skeletons([wanted[row] for row in open_rows])
        for row, skeleton in zip(open_rows, chosen, strict=True):
            given[row] = self._from_noise(*wanted[row], skeleton)
        return [
            replace(
                plan,
                allowed=self._allowed,
                lattice=request.lattice,
                cell=request.cell,
                charge_neutral=request.charge_neutral,
                given=len(request.elements),
                group_asked=request.symmetric,
                composition_given=request.composition_given,
            )
            for plan in given
            if plan is not None
        ]

    def _given_start(self, index: int, attempt: int) -> Plan | None:
        """A candidate that starts from a host or a prototype; None for noise."""
        seed = stream_seed(self.seed, index, attempt)
        if self.request.host is not None:
            return self._host(index, attempt, seed)
        proposal = self._prototype(index, attempt) if self.compositions else None
        if self.like is not None:
            proposal = self.like.proposal(index, attempt)
        if proposal is None:
            return None
        structure = proposal.structure
        return Plan(
            index,
            attempt,
            seed,
            tuple(int(z) for z in structure.atomic_numbers),
            "prototype",
            structure,
            str(proposal.source_id),
            proposal,
        )

    def _skeletons(self, wanted: Sequence[tuple[int, int]]) -> Sequence[Chosen | None]:
        """A skeleton for each candidate from noise, None where it stays free of symmetry."""
        if self.templates is None or not wanted:
            return [None] * len(wanted)
        return self.templates.choose(
            [
                SkeletonPlace(self._ordinal(index), attempt, stream_seed(self.seed, index, attempt))
                for index, attempt in wanted
            ]
        )

    def _ordinal(self, index: int) -> int:
        """How many candidates before this one start from noise."""
        if self._propose is None or not self.compositions:
            return index
        planned = int(np.floor(index * self.noise_share + 1e-9))
        return planned + max(0, index - planned - len(self._all_proposals()))

    def _from_noise(self, index: int, attempt: int, skeleton: Chosen | None) -> Plan:
        """Composition of one candidate."""
        seed = stream_seed(self.seed, index, attempt)
        if skeleton is not None:
            template = skeleton.template
            return Plan(
                index,
                attempt,
                seed,
                tuple(int(z) for z in template.numbers),
                template=template,
                skeleton_log_probability=skeleton.log_probability,
            )
        rng = np.random.default_rng(seed)
        if self.compositions:
            composition = self.compositions[int(rng.integers(len(self.compositions)))]
            return Plan(index, attempt, seed, spread(composition))
        atoms = self._draw_size(rng)
        required = self._named.required
        return Plan(index, attempt, seed, (*required, *[MASK_ELEMENT] * (atoms - len(required))))

    def _prototype(self, index: int, attempt: int) -> Proposal | None:
        """The proposal for this crystal, or None where it starts from noise."""
        if self._propose is None or attempt > 1 or self.request.lattice is not None:
            return None
        before = int(np.floor(index * self.noise_share + 1e-9))
        if int(np.floor((index + 1) * self.noise_share + 1e-9)) > before:
            return None
        position = index - before
        found = self._all_proposals()
        return found[position] if position < len(found) else None

    def _all_proposals(self) -> list[Proposal]:
        """Prototypes of all cells, best first."""
        if self._proposals is None:
            found: list[Proposal] = []
            if self._propose is not None and self.cells.proposed:
                found += self._propose(self.cells.proposed, max(20, self._wanted))
            self._proposals = found
        return self._proposals

    def _draw_size(self, rng: np.random.Generator) -> int:
        low, high = self.request.num_atoms or (1, 10**9)
        low = max(low, len(self.request.elements))
        sizes = {n: k for n, k in self._sizes.items() if low <= n <= high}
        if self.request.lattice is not None and self.request.num_atoms is None:
            from crystal_diffusion.generation.request import SMALLEST_VOLUME_PER_ATOM, cell_volume

            room = cell_volume(self.request.lattice) / (2 * SMALLEST_VOLUME_PER_ATOM)
            sizes = {n: k for n, k in sizes.items() if n <= room} or {max(1, int(room)): 1}
        if not sizes:
            return int(rng.integers(low, min(high, low + 20) + 1))
        numbers = np.array(list(sizes))
        weights = np.array([sizes[int(n)] for n in numbers], float)
        return int(rng.choice(numbers, p=weights / weights.sum()))

    def _host(self, index: int, attempt: int, seed: int) -> Plan:
        host = self.request.host
        if host is None:
            raise RequestError("no host structure was given.")
        added = list(self._named.added)
        numbers = [int(z) for z in host.atomic_numbers]
        unknown = sorted(set(numbers) - self.known)
        if unknown:
            raise RequestError(
                f"the host contains {chemistry.symbol(unknown[0])}, which the model has not met "
                "in training."
            )
        return Plan(
            index,
            attempt,
            seed,
            tuple(numbers + added),
            "host",
            host,
            "host",
            frozen=len(numbers),
        )


def spread(composition: Mapping[int, int]) -> tuple[int, ...]:
    """Atomic numbers of a cell, element by element."""
    return tuple(z for z, count in sorted(composition.items()) for _ in range(count))
