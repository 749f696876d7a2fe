"""Several draws for a skeleton: which is kept, and that it does not depend on the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.errors import InputError
from crystal_diffusion.generation.finishing import Finished
from crystal_diffusion.generation.plan import Plan
from crystal_diffusion.generation.settings import GenerationSettings
from crystal_diffusion.generation.trials import Trials
from crystal_diffusion.physics.report import CheckResult
from crystal_diffusion.physics.validator import PhysicsValidator
from crystal_diffusion.ranking.stability import StabilityOpinion
from crystal_diffusion.symmetry.assignments import parse_wyckoff
from crystal_diffusion.symmetry.template import SymmetricTemplate


def plan(index: int, wyckoff: str = "Ti:2a,O:4f", group: int = 136, **more: Any) -> Plan:
    template = SymmetricTemplate.from_assignment(parse_wyckoff(wyckoff, group))
    numbers = tuple(int(z) for z in template.numbers)
    return Plan(index, 0, 77 + index, numbers, template=template, composition_given=True, **more)


def filled(length: float) -> Structure:
    return Structure(Lattice.cubic(length), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def finished(length: float, failure: CheckResult | None = None) -> Finished:
    structure = filled(length)
    return Finished(structure, PhysicsValidator().validate(structure), failure)


def lengths(structures: Sequence[Structure]) -> np.ndarray:
    """The longer the cell the lower, NaN beyond 9 Å."""
    found = np.array([s.lattice.a for s in structures])
    return np.where(found > 9, np.nan, -found)


@pytest.fixture
def opinion() -> StabilityOpinion:
    return StabilityOpinion(lengths)


def failed() -> CheckResult:
    report = PhysicsValidator().validate(filled(0.4))
    return report.errors[0]


def test_the_lowest_of_all_draws_is_kept_whatever_their_order(opinion: StabilityOpinion) -> None:
    kept = []
    for order in ([0, 1, 2], [2, 0, 1]):
        trials = Trials([plan(4)], 3, opinion)
        assert len(trials.plans) == 3
        assert trials.plans[0].seed == plan(4).seed
        assert len({one.seed for one in trials.plans}) == 3
        for count, draw in enumerate(order):
            assert trials.decided() == []
            trials.add(trials.plans[draw], finished([4.0, 5.0, 4.5][draw]))
            assert count < 3
        ((chosen, best),) = trials.decided()
        assert trials.decided() == []
        kept.append((chosen.seed, best.structure.lattice.a))
    assert kept[0] == kept[1]
    assert kept[0][1] == 5.0


def test_draws_that_fail_the_checks_are_not_chosen(opinion: StabilityOpinion) -> None:
    trials = Trials([plan(0)], 3, opinion)
    trials.add(trials.plans[0], finished(6.0, failed()))
    trials.add(trials.plans[1], finished(5.0))
    trials.add(trials.plans[2], finished(5.5, failed()))
    ((chosen, best),) = trials.decided()
    assert best.failure is None
    assert chosen.seed == trials.plans[1].seed
    trials = Trials([plan(0)], 2, opinion)
    for one in trials.plans:
        trials.add(one, finished(5.0, failed()))
    ((chosen, best),) = trials.decided()
    assert best.failure is not None
    assert chosen.seed == trials.plans[0].seed


def test_without_energies_the_first_that_passes_is_kept(opinion: StabilityOpinion) -> None:
    trials = Trials([plan(0)], 2, opinion)
    trials.add(trials.plans[0], finished(5.0))
    trials.add(trials.plans[1], finished(9.5))
    ((chosen, _),) = trials.decided()
    assert chosen.seed == trials.plans[0].seed


def test_what_has_nothing_to_choose_is_drawn_once(opinion: StabilityOpinion) -> None:
    fixed = plan(0, "Na:4a,Cl:4b", 225)
    free = Plan(1, 0, 5, (11, 17), composition_given=True)
    open_contents = plan(2, "Ti:2a,O:4f", 136)
    open_contents = Plan(2, 0, 5, open_contents.atomic_numbers, template=open_contents.template)
    start = Plan(3, 0, 5, (11, 17), "prototype", filled(4.0), composition_given=True)
    assert len(Trials([fixed, free, open_contents, start], 5, opinion).plans) == 4


@pytest.mark.parametrize("tries", [0, 1001])
def test_numbers_of_tries_that_mean_nothing_are_refused(tries: int) -> None:
    with pytest.raises(InputError, match="tries is"):
        GenerationSettings(tries=tries)


def test_a_crystal_is_the_same_alone_and_no_higher_than_its_first_draw() -> None:
    from crystal_diffusion.generation.loading import load
    from crystal_diffusion.generation.request import Request

    generator = load()
    judge = generator.knowledge.stability
    assert judge is not None
    request = Request(formula="TiO2", spacegroup="136", wyckoff="Ti:2a,O:4f")
    once = generator.run(request, 2, settings=GenerationSettings(tries=1), describe=False)
    often = generator.run(request, 2, settings=GenerationSettings(tries=3), describe=False)
    alone = generator.run(request, 1, first=1, settings=GenerationSettings(tries=3), describe=False)
    before = judge.known_energies(list(once))
    after = judge.known_energies(list(often))
    assert (after <= before + 1e-6).all()
    assert (after < before - 1e-4).any()
    assert np.allclose(next(iter(alone)).lattice.abc, list(often)[1].lattice.abc, atol=1e-4)
