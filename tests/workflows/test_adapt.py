"""Training on top of the pretrained model: what joins, what is chosen, what is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import Structure

from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.errors import CheckpointError, InputError
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.loading import load
from crystal_diffusion.generation.request import Request
from crystal_diffusion.training.checkpoint import MODEL_FILE, read_header
from crystal_diffusion.workflows import adapt_model as workflow
from crystal_diffusion.workflows.adapt import (
    FULLY,
    GENTLY,
    LOW_RANK,
    NO_CHANGE,
    Judgement,
    Selection,
    choose,
    halved,
    strengths_for,
)
from crystal_diffusion.workflows.estimate import TrainingSummary
from crystal_diffusion.workflows.train import train
from tests.proposals.conftest import perovskite

PEROVSKITES = {
    f"{a}{b}O3": perovskite(a, b, "O", edge)
    for a, b, edge in [("Sr", "Ti", 3.9), ("Ba", "Ti", 4.0), ("Ca", "Ti", 3.85), ("Sr", "Hf", 4.1)]
}


def judged(fall: float, spread: float = 0.01, found: int = 5) -> Judgement:
    rng = np.random.default_rng(0)
    losses = 1.0 - fall + spread * rng.normal(size=20)
    return Judgement(tuple(losses.tolist()), tuple(i < found for i in range(10)))


def test_no_change_stays_unless_a_candidate_is_surely_better() -> None:
    before = Judgement((1.0,) * 20, tuple(i < 5 for i in range(10)))
    tried = (LOW_RANK, GENTLY)
    worse = choose(
        {NO_CHANGE: before, LOW_RANK.name: judged(-0.1), GENTLY.name: judged(0.0, 0.5)}, tried
    )
    assert worse.chosen is None
    better = choose(
        {NO_CHANGE: before, LOW_RANK.name: judged(0.1), GENTLY.name: judged(0.3)}, tried
    )
    assert better.chosen == GENTLY
    assert better.gain == pytest.approx(0.3, abs=0.02) and 0 < better.error < 0.01
    # A lower loss does not count where fewer crystals come back.
    lost = choose({NO_CHANGE: before, LOW_RANK.name: judged(0.3, found=4)}, (LOW_RANK,))
    assert lost.chosen is None


def test_few_crystals_try_less() -> None:
    assert strengths_for(2) == ()
    assert strengths_for(3) == (LOW_RANK, GENTLY)
    assert strengths_for(300) == (LOW_RANK, GENTLY, FULLY)


def test_crystals_of_one_composition_are_in_one_half() -> None:
    layers = [perovskite("Sr", "Ti", "O", edge) for edge in np.linspace(3.8, 4.1, 6)]
    others = [perovskite("Ba", "Zr", "O", edge) for edge in np.linspace(4.1, 4.3, 3)]
    single = list(PEROVSKITES.values())[1:]
    arrays = CrystalStructureDataset(layers + others + single).arrays
    for seed in range(5):
        first, second = halved(arrays, seed)
        assert sorted([*first, *second]) == list(range(12))
        assert min(len(first), len(second)) >= 4
        for rows in (range(6), range(6, 9)):
            assert len({row in first.tolist() for row in rows}) == 1


def test_one_composition_alone_is_cut_all_the_same() -> None:
    arrays = CrystalStructureDataset(
        [perovskite("Sr", "Ti", "O", edge) for edge in np.linspace(3.8, 4.1, 7)]
    ).arrays
    first, second = halved(arrays, 0)
    assert (len(first), len(second)) == (4, 3)
    assert sorted([*first, *second]) == list(range(7))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[CrystalGenerator, TrainingSummary]:
    folder = tmp_path_factory.mktemp("own") / "model"
    return train(list(PEROVSKITES.values()), folder, steps=2, device="cpu")


def test_the_folder_names_its_base_and_holds_the_crystals(
    trained: tuple[CrystalGenerator, TrainingSummary],
) -> None:
    generator, summary = trained
    header = read_header(summary.out / MODEL_FILE)
    shipped = load(None, "cpu")
    assert header["base"]["name"] == "pretrained" and len(header["base"]["sha256"]) == 64
    assert generator.training is not None and len(generator.training) == 4
    assert set(generator.known_elements) >= set(shipped.known_elements)
    assert not (summary.out / "adaptation").exists()
    library = generator.library
    assert library is not None and library.own is not None and library.own.sum() == 4
    for sentence in ("4 crystals joined", "too few to measure", "weights of the network"):
        assert sentence in summary.verdict


def test_elements_of_the_base_are_answered_after_training(
    trained: tuple[CrystalGenerator, TrainingSummary],
) -> None:
    generator, _ = trained
    result = generator.run(Request(formula="BaZrO3", z=(1, 1)), 4, seed=1)
    assert result.rows[0]["space_group_0.1"] == 221


def test_which_library_can_be_chosen(trained: tuple[CrystalGenerator, TrainingSummary]) -> None:
    folder = trained[1].out
    own = load(folder, "cpu", library="own")
    assert own.library is not None and len(own.library) == 4
    shipped = load(folder, "cpu", library="shipped")
    assert shipped.library is not None and shipped.library.own is None
    with pytest.raises(InputError, match="not known"):
        load(folder, "cpu", library="mine")
    with pytest.raises(InputError, match="no crystals of yours"):
        load(None, "cpu", library="own")


def test_the_same_command_again_is_finished_and_others_are_refused(
    trained: tuple[CrystalGenerator, TrainingSummary], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, said = trained[1].out, trained[1].verdict
    monkeypatch.setattr(workflow, "Adaptation", None)
    _, again = train(list(PEROVSKITES.values()), folder, steps=2, device="cpu")
    assert again.verdict == said
    with pytest.raises(CheckpointError, match="other crystals"):
        train(list(PEROVSKITES.values())[:3], folder, steps=2, device="cpu")


def test_without_a_better_candidate_the_weights_are_those_of_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow.Adaptation, "select", lambda *_: Selection(None, {}))
    generator, summary = train(list(PEROVSKITES.values()), tmp_path / "m", steps=2, device="cpu")
    assert (tmp_path / "m" / MODEL_FILE).stat().st_size < 100_000
    shipped = load(None, "cpu").model.state_dict()
    for name, value in generator.model.state_dict().items():
        assert torch.equal(value, shipped[name])
    # A model without weights of its own cannot stand on other weights.
    monkeypatch.setattr(
        "crystal_diffusion.generation.loading.file_hash", lambda path: "another version"
    )
    with pytest.raises(CheckpointError, match="ships other weights"):
        load(summary.out, "cpu")


def test_two_crystals_join_and_nothing_is_trained(tmp_path: Path) -> None:
    two = list(PEROVSKITES.values())[:2]
    generator, summary = train(two, tmp_path / "two", device="cpu")
    assert "fewer than 3" in summary.verdict and summary.result.steps == 0
    assert generator.library is not None and generator.library.own is not None


def test_odd_crystals_and_repeats_are_left_out_and_named(tmp_path: Path) -> None:
    close = Structure(
        PEROVSKITES["SrTiO3"].lattice, ["Sr", "Ti", "O"], [[0, 0, 0], [0, 0, 0.3], [0.5, 0.5, 0]]
    )
    crystals = [*PEROVSKITES.values(), PEROVSKITES["SrTiO3"].copy(), close]
    generator, summary = train(crystals, tmp_path / "m", steps=1, device="cpu")
    assert generator.training is not None and len(generator.training) == 4
    assert "Left out" in summary.verdict
    reasons = list(generator.header["left_out"].values())
    assert any("1.17 Å apart" in r for r in reasons) and any("same crystal" in r for r in reasons)
    with pytest.raises(InputError, match="odd; the first"):
        train([close], tmp_path / "none", steps=1, device="cpu")


def test_wishes_that_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exclude each other"):
        train([], tmp_path, from_scratch=True, start_from="box")
    with pytest.raises(InputError, match="from-scratch"):
        train([], tmp_path, start_from="box", dim=32)


def test_disordered_large_and_unknown_crystals_join_the_library(tmp_path: Path) -> None:
    source = tmp_path / "cifs"
    source.mkdir()
    mixed = PEROVSKITES["SrTiO3"].copy()
    mixed[0] = {"Sr": 0.5, "Ba": 0.5}
    large = PEROVSKITES["BaTiO3"] * (3, 2, 2)
    large.perturb(0.15)
    strange = perovskite("Po", "Ti", "O", 4.05)
    for name, crystal in {
        "mixed": mixed,
        "large": large,
        "strange": strange,
        "usual": PEROVSKITES["SrHfO3"],
    }.items():
        crystal.to(filename=str(source / f"{name}.cif"))
    generator, _ = train(str(source), tmp_path / "m", steps=1, device="cpu")
    library = generator.library
    assert library is not None and library.own is not None
    own = [library.id_of(int(entry)) for entry in np.flatnonzero(library.own)]
    assert {name.split("/")[-1] for name in own} == {"mixed", "large", "strange", "usual"}
    assert 84 in generator.known_elements
    result = generator.run(Request(formula="PoHfO3", z=(1, 1)), 2, seed=1)
    assert len(result) == 2
