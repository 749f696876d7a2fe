"""Training on top of the pretrained model: odd sets, other bases, and what a newcomer reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.cli.train import next_lines
from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.errors import InputError
from crystal_diffusion.evaluation.copying import Copying
from crystal_diffusion.generation.like_training import like_formula
from crystal_diffusion.generation.loading import load
from crystal_diffusion.generation.request import Request
from crystal_diffusion.ranking.own import LeaveOneOut
from crystal_diffusion.training.checkpoint import (
    MODEL_FILE,
    read_header,
    read_tensors,
    write_tensors,
)
from crystal_diffusion.workflows import adapt_model as workflow
from crystal_diffusion.workflows.adapt import LOW_RANK, NO_CHANGE, Judgement, Selection
from crystal_diffusion.workflows.own_verdict import Joined, verdict
from crystal_diffusion.workflows.train import train
from tests.proposals.conftest import perovskite, rock_salt

SALTS = [
    rock_salt(m, x, e).get_primitive_structure()
    for m, x, e in [("Na", "Cl", 5.64), ("K", "Br", 6.6), ("Li", "F", 4.03), ("Mg", "O", 4.21)]
]
OXIDES = [
    perovskite(a, b, "O", e)
    for a, b, e in [("Sr", "Ti", 3.9), ("Ba", "Ti", 4.0), ("Ca", "Ti", 3.85)]
]
TRAINED = (tuple(range(1, 90)), 52)


def diamond(edge: float) -> Structure:
    return Structure.from_spacegroup("Fd-3m", Lattice.cubic(edge), ["C"], [[0, 0, 0]])


@pytest.fixture(autouse=True)
def nothing_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What joins and what is said does not depend on how weights are trained."""
    monkeypatch.setattr(workflow.Adaptation, "select", lambda *_: Selection(None, {}))


def test_equal_crystals_are_one(tmp_path: Path) -> None:
    same = [SALTS[0].copy() for _ in range(4)]
    generator, summary = train(same, tmp_path / "m", device="cpu")
    assert generator.training is not None and len(generator.training) == 1
    assert "fewer than 3" in summary.verdict and "your 1 crystal joined" in summary.verdict
    assert "same crystal" in summary.verdict and "; and " not in summary.verdict


def test_crystals_of_one_element(tmp_path: Path) -> None:
    lonsdaleite = Structure.from_spacegroup(
        "P6_3/mmc", Lattice.hexagonal(2.52, 4.12), ["C"], [[1 / 3, 2 / 3, 0.0625]]
    )
    graphite = Structure.from_spacegroup(
        "P6_3/mmc", Lattice.hexagonal(2.46, 6.7), ["C", "C"], [[0, 0, 0.25], [1 / 3, 2 / 3, 0.25]]
    )
    generator, summary = train([diamond(3.57), lonsdaleite, graphite], tmp_path / "m", device="cpu")
    assert "all your crystals are C alone" in summary.verdict
    made = generator.run(Request(formula="C4", z=(1, 1)), 2, seed=0)
    assert len(made) == 2
    # No composition is new where there is one element only, so none is proposed to be typed.
    assert like_formula(generator.proposer, generator.known_elements) != "C"  # type: ignore[arg-type]


def test_atoms_on_top_of_each_other_are_left_out_and_named(tmp_path: Path) -> None:
    lattice = SALTS[0].lattice
    shifted = 0.003 / lattice.a
    close = Structure(lattice, ["Na", "Na"], [[0, 0, 0], [shifted, 0, 0]])
    generator, summary = train([*SALTS, close], tmp_path / "m", device="cpu")
    assert generator.training is not None and len(generator.training) == 4
    assert "0.003 Å apart" in summary.verdict and "Left out" in summary.verdict


def test_elements_and_sizes_beyond_the_base_are_said() -> None:
    large = OXIDES[1] * (3, 2, 2)
    large.perturb(0.15)
    arrays = CrystalStructureDataset([large, perovskite("Po", "Ti", "O", 4.05)]).arrays
    text = verdict(
        arrays,
        ((8, 22, 56), 52),
        Joined(2, 1, "AB3C in Pm-3m", 1),
        Selection(None, {}),
        LeaveOneOut(),
        Copying(),
        {},
    )
    assert "Po" in text and "up to 60 atoms" in text and "1 of them new to it" in text


@pytest.mark.parametrize(
    ("figures", "label"),
    [
        (LeaveOneOut(20, 10, 15, 18, 20, 8, 0), "Learned: your crystals make first answers"),
        (LeaveOneOut(20, 18, 20, 10, 15, 0, 8), "Worse: your crystals"),
        (LeaveOneOut(20, 10, 15, 11, 15, 2, 1), "Not shown: that"),
        (LeaveOneOut(20, 10, 15, 10, 15, 0, 0), "Not changed: first answers"),
        (LeaveOneOut(), "Not measured: what your crystals add"),
    ],
)
def test_the_first_word_says_what_the_figures_show(figures: LeaveOneOut, label: str) -> None:
    arrays = CrystalStructureDataset(SALTS).arrays
    before = Judgement((1.0,) * 4, (True, False))
    after = Judgement((0.5,) * 4, (True, True))
    selection = Selection(LOW_RANK, {NO_CHANGE: before, LOW_RANK.name: after}, 0.5, 0.1)
    text = verdict(arrays, TRAINED, Joined(1, 0, "AB", 4), selection, figures, Copying(5, 9), {})
    lines = text.splitlines()
    assert lines[1].startswith(label)
    assert lines[2].startswith("Learned: the weights") and "0.500 ± 0.100" in lines[2]
    assert lines[3].startswith("Copying: no sign of it")


def test_crystals_without_a_vote_are_said_to_have_none() -> None:
    arrays = CrystalStructureDataset(SALTS).arrays
    figures = LeaveOneOut(8, 8, 8, 8, 8, 0, 0)
    told = [
        verdict(
            arrays,
            TRAINED,
            Joined(1, 0, "AB", 4),
            Selection(None, {}),
            figures,
            Copying(),
            {},
            muted=muted,
        )
        for muted in (True, False)
    ]
    assert "They do not vote in the order" in told[0] and "the ranking" not in told[0]
    assert "vote in the order of the answers" in told[1] and "do not vote" not in told[1]


def test_a_model_of_ones_own_is_taken_over_with_its_crystals(tmp_path: Path) -> None:
    first, _ = train(SALTS, tmp_path / "salts", device="cpu")
    second, summary = train(
        [*OXIDES, SALTS[0]], tmp_path / "both", start_from=tmp_path / "salts", device="cpu"
    )
    assert second.training is not None and len(second.training) == 7
    library = second.library
    assert library is not None and library.own is not None and library.own.sum() == 7
    assert "The 3 crystals of the model that it started from stay" in summary.verdict
    assert first.library is not None and len(library) == len(first.library) + 3
    # The same with all weights trained on, where the length is given.
    plain, _ = train(OXIDES, tmp_path / "plain", start_from=tmp_path / "salts", steps=1)
    assert plain.training is not None and len(plain.training) == 7
    assert plain.knows_pretrained


def test_box_is_the_pretrained_model(tmp_path: Path) -> None:
    generator, summary = train(SALTS, tmp_path / "m", start_from="box", device="cpu")
    assert generator.knows_pretrained
    assert read_header(summary.out / MODEL_FILE)["base"]["name"] == "pretrained"


def test_a_base_of_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "m"
    train(SALTS, folder, device="cpu")
    _rewrite(folder, base={"holds_weights": True, "sha256": "0" * 64, "version": "0.0.1"})
    file = folder / MODEL_FILE
    tensors, header = read_tensors(file)
    write_tensors(file, {**load(None, "cpu").model.state_dict(), **tensors}, header)
    assert load(folder, "cpu").knows_pretrained
    assert "0.0.1" in caplog.text and "its own weights are used" in caplog.text
    # Trained again by the same command where the base is another one now.
    key = header["key"]
    _rewrite(folder, key={**key, "base": "0" * 64})
    again, _ = train(SALTS, folder, device="cpu")
    assert again.header["key"] == key and "trained again" in caplog.text


def test_a_folder_of_the_version_before_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    train(SALTS, folder, device="cpu", from_scratch=True, steps=1, dim=32, layers=1)
    tensors, header = read_tensors(folder / MODEL_FILE)
    for name in ("base", "evidence", "key", "left_out", "training_statistics"):
        header.pop(name, None)
    write_tensors(folder / MODEL_FILE, tensors, header)
    old = load(folder, "cpu")
    assert not old.knows_pretrained and old.training is not None and len(old.training) == 4
    with pytest.raises(InputError, match="not known"):
        load(folder, "cpu", library="mine")


def _rewrite(folder: Path, **changes: object) -> None:
    tensors, header = read_tensors(folder / MODEL_FILE)
    for name, value in changes.items():
        header[name] = {**header[name], **value} if isinstance(value, dict) else value
    write_tensors(folder / MODEL_FILE, tensors, json.loads(json.dumps(header)))


def test_what_to_type_next_suits_the_crystals(tmp_path: Path) -> None:
    generator, _ = train(SALTS, tmp_path / "m", device="cpu")
    lines = "\n".join(next_lines(generator, tmp_path / "m"))
    assert "-n 20 --out run/   (new crystals like yours)" in lines and "--formula" in lines
    formula = like_formula(generator.proposer, generator.known_elements)  # type: ignore[arg-type]
    assert formula is not None and formula in lines
    assert formula not in {s.composition.reduced_formula for s in SALTS}
