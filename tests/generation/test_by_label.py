"""Starts from crystals with the label that is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from crystal_diffusion.generation.asking import judged
from crystal_diffusion.generation.by_label import ByLabel, labelled_inside
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.loading import load
from crystal_diffusion.generation.request import Request
from crystal_diffusion.generation.settings import GenerationSettings
from crystal_diffusion.physics.neutrality import is_neutral_possible
from crystal_diffusion.prediction.model import PropertyModel, default_properties
from crystal_diffusion.properties import PropertyRange
from crystal_diffusion.proposals.joining import join, read_own
from crystal_diffusion.proposals.labels import LibraryLabels, default_labels
from crystal_diffusion.proposals.library import default_library
from crystal_diffusion.proposals.prototypes import PrototypeProposer
from tests.proposals.conftest import perovskite

ALL = tuple(range(1, 84))
WIDE = {"band_gap": PropertyRange(2.5, 3.5)}


@pytest.fixture(scope="module")
def proposer() -> PrototypeProposer:
    return PrototypeProposer(default_library())


@pytest.fixture(scope="module")
def generator() -> CrystalGenerator:
    return load()


def test_parents_have_the_label_and_children_one_other_element(proposer: PrototypeProposer) -> None:
    draws = ByLabel(proposer, default_labels(), WIDE, 3, known=ALL, sizes=(1, 12), noise_share=0.0)
    library = proposer.library
    gaps = default_labels().of(library, "band_gap")
    assert len(draws.parents) > 100
    assert (gaps[draws.parents] >= 2.49).all() and (gaps[draws.parents] <= 3.51).all()
    systems = {frozenset(library.elements[p].tolist()) - {0} for p in draws.parents.tolist()}
    for index in range(20):
        made = draws.proposal(index)
        assert made is not None and len(made.structure) <= 12
        kinds, counts = np.unique(np.array(made.structure.atomic_numbers), return_counts=True)
        contents = dict(zip(kinds.tolist(), counts.tolist(), strict=True))
        assert not len(library.entries_of(contents))
        assert min(len(set(contents) - system) for system in systems) <= 1


def test_children_of_balanced_parents_balance_where_asked(proposer: PrototypeProposer) -> None:
    draws = ByLabel(proposer, default_labels(), WIDE, 3, known=ALL, noise_share=0.0, neutral=True)
    for index in range(15):
        made = draws.proposal(index)
        assert made is not None
        assert is_neutral_possible([int(z) for z in made.structure.atomic_numbers])


def test_the_nth_does_not_depend_on_the_number_and_a_redraw_differs(
    proposer: PrototypeProposer,
) -> None:
    one, two = (ByLabel(proposer, default_labels(), WIDE, 5, known=ALL) for _ in range(2))
    later = [one.proposal(index) for index in range(9)][6]
    alone, redrawn = two.proposal(6), two.proposal(6, 1)
    assert later is not None and alone is not None and redrawn is not None
    assert later.structure == alone.structure
    assert redrawn.structure.composition != alone.structure.composition
    assert sum(two.proposal(index) is None for index in range(40)) == 10


def test_named_elements_are_all_that_is_used(proposer: PrototypeProposer) -> None:
    draws = ByLabel(
        proposer, default_labels(), WIDE, 1, known=ALL, named=(8, 22, 56), noise_share=0.0
    )
    for index in range(10):
        made = draws.proposal(index)
        assert made is not None and {*made.structure.atomic_numbers} == {8, 22, 56}
    without = [z for z in ALL if z != 8]
    free = ByLabel(proposer, default_labels(), WIDE, 1, known=without, noise_share=0.0)
    found = [free.proposal(index) for index in range(20)]
    assert all(p is not None and 8 not in p.structure.atomic_numbers for p in found)


@pytest.mark.parametrize("named", [(), (8, 22, 56)])
def test_the_judge_puts_the_likeliest_first(
    proposer: PrototypeProposer, named: tuple[int, ...]
) -> None:
    judge = default_properties()

    def mean_chance(chosen: PropertyModel | None) -> float:
        draws = ByLabel(
            proposer, default_labels(), WIDE, 1, known=ALL, named=named, noise_share=0.0,
            sizes=(1, 12), judge=chosen,
        )  # fmt: skip
        made = [draws.proposal(index) for index in range(20)]
        return float(judged([one.structure for one in made if one], WIDE, judge).together.mean())

    assert mean_chance(judge) > mean_chance(None) + 0.2


def test_where_few_have_the_label_the_judge_finds_parents(proposer: PrototypeProposer) -> None:
    hard = {"bulk_modulus": PropertyRange(330.0, np.inf)}
    none = LibraryLabels(np.zeros(0, np.int32), {})
    judge, sizes = default_properties(), (1, 6)
    assert not len(ByLabel(proposer, none, hard, 0, known=ALL, sizes=sizes).parents)
    found = ByLabel(proposer, none, hard, 0, known=ALL, sizes=sizes, judge=judge).parents.tolist()
    structures = [proposer.library.structure(entry) for entry in found]
    assert found and (judged(structures, hard, judge).together >= 0.5).all()
    again = ByLabel(proposer, none, hard, 0, known=ALL, sizes=sizes, judge=judge)
    assert again.parents.tolist() == found


def test_no_label_inside_leaves_nothing(proposer: PrototypeProposer) -> None:
    far = {"band_gap": PropertyRange(50.0, 60.0)}
    draws = ByLabel(proposer, default_labels(), far, 0, known=ALL)
    assert len(draws) == 0 and draws.proposal(1) is None


def test_unknown_labels_count_only_where_few_have_all(proposer: PrototypeProposer) -> None:
    library, labels = proposer.library, default_labels()
    stiff = {"bulk_modulus": PropertyRange(200.0, np.inf)}
    strict = labelled_inside(library, labels, stiff)
    assert np.isfinite(labels.of(library, "bulk_modulus")[strict]).all()
    odd = {**stiff, "magnetization": PropertyRange(0.05, np.inf), "band_gap": PropertyRange(2, 9)}
    wide = labelled_inside(library, labels, odd)
    known = np.stack([labels.of(library, name)[wide] for name in odd])
    assert (np.isfinite(known).sum(0) >= 1).all()


def test_own_labels_make_parents_of_own_crystals() -> None:
    names = ["SrTiO3", "BaTiO3", "CaTiO3"]
    crystals = [perovskite(a, "Ti", "O", e) for a, e in (("Sr", 3.9), ("Ba", 4.0), ("Ca", 3.85))]
    entries, _ = read_own(crystals, names)
    proposer = PrototypeProposer(join(default_library(), entries))
    labels = default_labels().with_own(names, {"hardness": np.array([1.0, 9.0, np.nan])})
    wanted = {"hardness": PropertyRange(5.0, np.inf)}
    draws = ByLabel(proposer, labels, wanted, 0, known=ALL, noise_share=0.0)
    assert [proposer.library.id_of(int(p)) for p in draws.parents] == ["BaTiO3"]
    made = draws.proposal(0)
    assert made is not None and made.prototype_label.startswith("ABC3_5_221")


def test_labels_are_kept_and_read_again(tmp_path) -> None:  # type: ignore[no-untyped-def]
    numbers = np.array([3, 70, 71], np.int32)
    names = [
        "band_gap",
        "formation_energy",
        "energy_above_hull",
        "magnetization",
        "bulk_modulus",
        "shear_modulus",
    ]
    values = {name: np.array([0.0, np.nan, 0.06]) for name in names}
    LibraryLabels(numbers, values).save(tmp_path / "labels.npz")
    again = LibraryLabels.load(tmp_path / "labels.npz")
    assert again.numbers.tolist() == [3, 70, 71]
    assert again.values["band_gap"][2] == pytest.approx(0.06)
    assert np.isnan(again.values["magnetization"][1])


def test_generate_starts_from_labelled_crystals(generator: CrystalGenerator) -> None:
    asked = Request(properties={"band_gap": (2.5, 3.5)}, num_atoms=(2, 8))
    settings = GenerationSettings(select=1, scorer="none", group=False)
    made = generator.run(asked, 8, seed=2, settings=settings)
    starts = [row["start"] for row in made.rows]
    assert starts.count("prototype") >= 5
    off = GenerationSettings(select=1, scorer="none", group=False, guidance=0.0)
    plain = generator.run(asked, 4, seed=2, settings=off)
    assert {row["start"] for row in plain.rows} == {"noise"}
