"""The Python side: names that are seen, results that tell what they are, keywords refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

import crystal_diffusion as cd
from crystal_diffusion.errors import InputError
from crystal_diffusion.generation.result import Crystals
from tests.proposals.conftest import rock_salt


@pytest.fixture(scope="module")
def made() -> Crystals:
    return cd.load().generate("NaCl", 3)


def test_public_names_are_seen_and_a_wrong_one_gets_an_offer() -> None:
    assert {"train", "load", "check", "validate", "screen", "fetch", "predict"} <= set(dir(cd))
    assert all(getattr(cd, name) is not None for name in ("check", "validate", "screen"))
    with pytest.raises(AttributeError, match="did you mean validate"):
        _ = cd.validat


def test_crystals_are_a_list_that_knows_what_each_is(made: Crystals) -> None:
    assert isinstance(made, list) and isinstance(made[0], Structure)
    assert made[0].properties["rank"] == 1
    assert {"id", "score", "start"} <= set(made[0].properties)
    frame = made.to_dataframe()
    assert list(frame["id"]) == [s.properties["id"] for s in made]
    assert list(frame["score"]) == [s.properties["score"] for s in made]
    text = repr(made)
    assert text.startswith("3 crystals") and made[0].properties["id"] in text
    assert repr(made.result) == text and made.result[0] == made.result[made[0].properties["id"]]
    assert "elements" in repr(cd.load()) and "generate(" in repr(cd.load())


def test_round_trips_through_pymatgen_ase_and_pandas(made: Crystals, tmp_path: Path) -> None:
    again = Structure.from_dict(made[0].as_dict())
    assert again == made[0] and again.properties == made[0].properties
    atoms = cd.load().generate("NaCl", 1, as_atoms=True)[0]
    assert isinstance(atoms, Atoms) and atoms.info["id"] == "cd0000"
    back = AseAtomsAdaptor.get_structure(atoms)
    assert back.composition.reduced_formula == "NaCl"
    made.to_dataframe().to_csv(tmp_path / "rows.csv", index=False)
    import pandas as pd

    read = pd.read_csv(tmp_path / "rows.csv")
    assert list(read["id"]) == list(made.to_dataframe()["id"])


def test_unknown_keywords_are_refused_with_the_nearest_name() -> None:
    generator = cd.load()
    for keyword, offer in (
        ("space_group", "spacegroup"),
        ("natoms", "num_atoms"),
        ("latice", "lattice"),
        ("noise_shar", "noise_share"),
    ):
        with pytest.raises(InputError, match=f"no keyword '{keyword}'; did you mean {offer}"):
            generator.generate("NaCl", **{keyword: 1})
    with pytest.raises(InputError, match="check has no keyword 'duplicate'; did you mean dupl"):
        cd.check(bulk("Cu"), duplicate=True)
    with pytest.raises(InputError, match="screen has no keyword 'tops'; did you mean top"):
        cd.screen(bulk("Cu"), "out", tops=3)


def test_check_validate_and_screen_take_crystals_from_memory(tmp_path: Path) -> None:
    salt = rock_salt("Na", "Cl", 5.64)
    assert len(cd.check([salt, bulk("Cu")]).rows) == 2
    reports = cd.validate([salt, bulk("Cu")])
    assert len(reports) == 2 and all(report.valid for report in reports.values())
    outcome = cd.screen([salt], tmp_path / "s", stages=("validate", "rank"), executor="here")
    assert len(outcome.rows) == 1 and outcome.folder == tmp_path / "s"
    with pytest.raises(InputError, match="need a folder"):
        cd.screen([salt])
