"""Several fillings of a skeleton, of which the one of lowest predicted energy is given out.

What a group leaves free is found from noise, and one draw in two finds another minimum. Energies of
crystals of one composition are what the property network is best at, so it chooses among a few
draws for the same space group and Wyckoff positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from crystal_diffusion.generation.finishing import Finished
from crystal_diffusion.generation.plan import Plan
from crystal_diffusion.ranking.stability import StabilityOpinion
from crystal_diffusion.seeding import stream_seed


class Trials:
    """The draws for some crystals; each crystal is decided once all of its draws are there.

    Args:
        pending: one plan for each crystal.
        tries: draws for each crystal that starts from noise in a skeleton with free coordinates,
            its composition given; others are drawn once.
        stability: predicts the energies; None where nothing does, which needs ``tries`` of 1.
    """

    def __init__(
        self, pending: Sequence[Plan], tries: int, stability: StabilityOpinion | None
    ) -> None:
        self._stability = stability
        self._left: dict[int, int] = {}
        self._found: dict[int, list[tuple[int, Plan, Finished]]] = {}
        self._order: dict[int, int] = {}
        self.plans: list[Plan] = []
        for plan in pending:
            draws = tries if _has_freedom(plan) else 1
            self._left[plan.index] = draws
            for draw in range(draws):
                # The first is what it is alone.
                seed = stream_seed(plan.seed, "draw", draw) if draw else plan.seed
                self._order[seed] = draw
                self.plans.append(replace(plan, seed=seed))

    def add(self, plan: Plan, finished: Finished) -> None:
        """Take a sampled and checked crystal."""
        self._left[plan.index] -= 1
        mine = self._found.setdefault(plan.index, [])
        mine.append((self._order[plan.seed], plan, finished))

    def decided(self) -> list[tuple[Plan, Finished]]:
        """The crystals whose draws are all there, each once."""
        ready = [index for index, found in self._found.items() if found and not self._left[index]]
        out = []
        for index in ready:
            # Draws of one crystal may lie in several batches: their order must not matter.
            mine = sorted(self._found.pop(index), key=lambda one: one[0])
            passed = [one for one in mine if one[2].failure is None] or mine[:1]
            _, plan, finished = passed[self._lowest([f for _, _, f in passed])]
            out.append((plan, finished))
        return out

    def _lowest(self, passed: Sequence[Finished]) -> int:
        """The lowest in energy; the first where they are not known."""
        if len(passed) == 1 or self._stability is None:
            return 0
        energies = self._stability.known_energies([one.structure for one in passed])
        return 0 if np.isnan(energies).any() else int(np.argmin(energies))


def _has_freedom(plan: Plan) -> bool:
    template = plan.template
    return (
        plan.kind == "noise"
        and plan.composition_given
        and template is not None
        and template.assignment.freedom > 0
    )
