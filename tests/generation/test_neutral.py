"""--charge-neutral from the request to the crystals, and one clear error where nothing fits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pymatgen.core import Element, Lattice, Structure
from typer.testing import CliRunner

from crystal_diffusion import GenerationSettings, Request, SamplerSettings
from crystal_diffusion.cli import verbs
from crystal_diffusion.crystal import MASK_ELEMENT
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion
from crystal_diffusion.errors import RequestError
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.neutral import neutral_decoder, neutral_sizes

#: pymatgen has no oxidation states for most of them, so it could not judge.
NOBLE = ("He", "Ne", "Ar", "Kr", "Xe", "Rn")
QUICK = GenerationSettings(sampler=SamplerSettings(steps=2), max_attempts=30)


@pytest.fixture(scope="module")
def untrained() -> CrystalGenerator:
    options = {"dim": 32, "layers": 2, "heads": 4, "pair_dim": 16, "frequencies": 2}
    torch.manual_seed(0)
    model = JointDiffusion(JointConfig(network_options=options)).eval()
    return CrystalGenerator(model, {"sizes": {"4": 1, "5": 1, "6": 1, "7": 1}})


def balanced(structure: Structure) -> bool:
    """Whether pymatgen's oxidation states, one for each atom, can sum to zero; metals pass."""
    counts = structure.composition.get_el_amt_dict()
    if len(counts) == 1 or all(Element(el).is_metal or Element(el).is_metalloid for el in counts):
        return True
    reach = {0}
    for el, n in counts.items():
        states = {int(q) for q in Element(el).oxidation_states}
        for _ in range(int(n)):
            reach = {a + q for a in reach for q in states}
    return 0 in reach


def run(generator: CrystalGenerator, n: int = 8, **wishes: object) -> list[Structure]:
    request = Request(charge_neutral=True, **wishes)  # type: ignore[arg-type]
    return list(generator.run(request, n, seed=3, settings=QUICK, describe=False))


def test_free_elements_balance(untrained: CrystalGenerator) -> None:
    made = run(untrained, 24, num_atoms=(4, 7), exclude=NOBLE)
    assert len(made) > 12
    assert all(balanced(s) for s in made)
    # The wish is what does it: without it an untrained network does not balance.
    free = untrained.run(
        Request(num_atoms=(4, 7), exclude=NOBLE), 24, seed=3, settings=QUICK, describe=False
    )
    assert not all(balanced(s) for s in free)


def test_sizes_that_cannot_balance_are_not_drawn(untrained: CrystalGenerator) -> None:
    # K and F have one state each, so the atoms are even in number, half and half.
    made = run(untrained, elements=("K", "F"), num_atoms=(3, 7))
    assert made
    for structure in made:
        counts = structure.composition.get_el_amt_dict()
        assert counts["K"] == counts["F"] and len(structure) in (4, 6)
    assert neutral_sizes(("K", "F"), (3, 7), {4: 5, 5: 9, 6: 2}) == {4: 5, 6: 2}
    assert neutral_sizes(("K", "F"), (8, 9), {4: 5}) == {8: 1}


def test_elements_asked_for_stay(untrained: CrystalGenerator) -> None:
    for structure in run(untrained, elements=("Ba", "Ti", "O"), num_atoms=(5, 5)):
        counts = {el.symbol: n for el, n in structure.composition.items()}
        assert set(counts) == {"Ba", "Ti", "O"} and balanced(structure)


def test_with_a_group_and_with_a_formula(untrained: CrystalGenerator) -> None:
    made = run(untrained, 4, spacegroup="225", num_atoms=(2, 6), exclude=NOBLE)
    assert made and all(balanced(s) for s in made)
    assert run(untrained, 2, formula="MgO", z=(1, 2))


def test_atoms_given_to_the_decoder_are_kept() -> None:
    allowed = (11, 17)  # Na, Cl
    scores = torch.full((1, 4, 100), -20.0)
    scores[..., 10] = 0.0  # the network wants sodium everywhere
    numbers = torch.tensor([[17, MASK_ELEMENT, MASK_ELEMENT, 11]])
    decided = neutral_decoder(allowed, given=1)(scores, numbers)[0].tolist()
    assert decided[0] == 17 and sorted(decided) == [11, 11, 17, 17]


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"formula": "K3F"}, r"K3F has no neutral assignment of oxidation states \(F -1; K \+1\)"),
        ({"elements": ("K", "F"), "num_atoms": (3, 3)}, "no crystal of 3 to 3 atoms made of F, K"),
        ({"elements": ("O", "F"), "num_atoms": (2, 9)}, "add an element of the other sign"),
        ({"spacegroup": "221", "wyckoff": "K:3c,F:1a"}, "no neutral assignment"),
        ({"elements": ("K", "F"), "spacegroup": "221", "num_atoms": (4, 4)}, "neutral"),
    ],
)
def test_what_cannot_balance_is_refused(
    untrained: CrystalGenerator, wishes: dict[str, object], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        run(untrained, **wishes)


def test_a_host_that_stays_charged_is_refused(untrained: CrystalGenerator) -> None:
    host = Structure(Lattice.cubic(7), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert run(untrained, 1, host=host, add="LiF")
    with pytest.raises(RequestError, match="the host with the added atoms is Mg1O1K1"):
        run(untrained, 1, host=host, add="K")


def test_on_the_command_line(model_folder: Path, tmp_path: Path) -> None:
    common = [
        "--charge-neutral",
        "-n",
        "2",
        "--sampling-steps",
        "4",
        "--max-attempts",
        "60",
        "--quiet",
    ]
    command = ["generate", str(model_folder), "--natoms", "4-6", *common]
    done = CliRunner().invoke(verbs, [*command, "--out", str(tmp_path / "a")])
    assert done.exit_code == 0, done.output
    for path in (tmp_path / "a" / "cif").glob("*.cif"):
        assert balanced(Structure.from_file(path))
    refused = CliRunner().invoke(
        verbs,
        [
            "generate",
            str(model_folder),
            "--formula",
            "Na3Cl",
            *common,
            "--out",
            str(tmp_path / "b"),
        ],
    )
    # The command line's main() turns this into one line and exit code 2.
    assert isinstance(refused.exception, RequestError)
    assert "Na3Cl has no neutral" in str(refused.exception)
