"""The check before training: every kind of finding once, and nothing for good crystals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from crystal_diffusion.data.check import CheckTable, check_source
from crystal_diffusion.data.demo import create_demo_dataset
from crystal_diffusion.data.duplicates import find_duplicates, fingerprint
from crystal_diffusion.data.readers import iter_plain
from crystal_diffusion.data.records import PlainCrystal
from crystal_diffusion.errors import InputError

SALT = Structure(Lattice.cubic(3.4), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])


def kinds(table: CheckTable, index: int = -1) -> list[tuple[str, str]]:
    return [(f.kind, f.severity) for f in table.rows[index].findings]


def test_good_crystals_have_no_findings() -> None:
    table = check_source(create_demo_dataset()[:20])
    assert table.clean and not table.counts()
    assert len(table.of("good")) == 20


@pytest.mark.parametrize(
    ("structure", "words"),
    [
        (
            Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.1, 0, 0]]),
            "Na1 and Cl2 are 0.40",
        ),
        # Too close only through the cell wall, and only to its own image.
        (Structure(Lattice.cubic(4), ["Na", "Cl"], [[0.05, 0, 0], [0.95, 0, 0]]), "0.40 Å apart"),
        (Structure(Lattice.orthorhombic(0.6, 6, 6), ["H"], [[0, 0, 0]]), "H1 and H1 are 0.60"),
        # A skewed cell: the nearest image is not among the 27 nearest cells.
        (
            Structure(np.array([[4, 0, 0], [23.9, 0.5, 0], [0, 0, 6]]), ["Si"], [[0, 0, 0]]),
            "are 0.51",
        ),
        (Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.3, 0, 0]]), "limit 1.61"),
    ],
)
def test_atoms_too_close(structure: Structure, words: str) -> None:
    table = check_source([structure])
    texts = [f.text for f in table.rows[0].findings if f.kind == "too close"]
    assert len(texts) == 1 and words in texts[0]


def test_the_distance_limit_can_be_set() -> None:
    wide = Structure(Lattice.cubic(4), ["Na"], [[0, 0, 0]])
    assert ("too close", "odd") in kinds(check_source([wide], min_distance=4.5))
    with pytest.raises(InputError, match="min_distance"):
        check_source([wide], min_distance=-1)


@pytest.mark.parametrize(
    ("lattice", "words"),
    [
        (Lattice.orthorhombic(3, 3, 31), "3.00 to 31.00"),
        (Lattice.orthorhombic(8, 9, 51), "51.00"),
        (Lattice.from_parameters(4, 20, 4, 90, 90, 15), "angle of 15.0"),
        (Lattice.cubic(8), "512.0 Å3 per atom"),
        (Lattice.cubic(1.6), "4.1 Å3 per atom"),
    ],
)
def test_odd_cells(lattice: Lattice, words: str) -> None:
    table = check_source([Structure(lattice, ["Na"], [[0, 0, 0]])])
    texts = [f.text for f in table.rows[0].findings if f.kind == "odd cell"]
    assert any(words in text for text in texts), texts


def test_missing_labels() -> None:
    entry = {"positions": [[0, 0, 0]], "atom_types": [11], "lattice": np.eye(3) * 4}
    other = {"positions": [[0, 0, 0]], "atom_types": [19], "lattice": np.eye(3) * 4}
    table = check_source([{**entry, "properties": {"gap": 1.0}}, other])
    assert not table.rows[0].findings
    assert kinds(table) == [("missing labels", "odd")]
    assert "no gap" in table.rows[1].findings[0].text


def test_duplicates_in_other_cells_and_orders() -> None:
    moved = SALT.copy()
    moved.translate_sites([0, 1], [0.3, 0.2, 0.1])
    turned = Structure(Lattice.cubic(3.4), ["Cl", "Na"], [[0, 0, 0], [0.5] * 3])
    larger = Structure(Lattice.cubic(3.7), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    table = check_source([SALT, moved, larger, turned * [1, 1, 2]])
    found = [[f.text for f in row.findings if f.kind == "duplicate"] for row in table.rows]
    assert [bool(texts) for texts in found] == [False, True, False, True]
    assert "the same crystal as 0" in found[3][0]
    assert check_source([SALT, moved], duplicates=False).clean


def test_duplicates_are_what_the_matcher_says() -> None:
    """The cheap rejects change no answer: all pairs of strained and shaken cells, both ways."""
    generator = np.random.default_rng(5)
    base = Structure(
        Lattice.orthorhombic(4, 5, 6),
        ["Ti", "O", "O"],
        [[0, 0, 0], [0.3, 0.4, 0.1], [0.7, 0.6, 0.4]],
    )
    structures = []
    for size in (0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.4) * 3:
        shaken = base.copy()
        shaken.perturb(size, seed=int(generator.integers(1 << 30))) if size else None
        strain = 1 + generator.normal(size=3) * size / 6
        structures.append(
            Structure(base.lattice.matrix * strain[:, None], shaken.species, shaken.frac_coords)
        )
    matcher = StructureMatcher(
        ltol=0.02, stol=0.02, angle_tol=1.0, primitive_cell=False, scale=False
    )
    expected: dict[int, int] = {}
    for i in range(len(structures)):
        for j in range(i):
            if j not in expected and matcher.fit(structures[i], structures[j]):
                expected[i] = j
                break
    crystals = list(iter_plain(structures))
    found, left = find_duplicates(crystals)
    assert left == 0
    assert set(found) == set(expected) and 0 < len(found) < len(structures) - 1


def test_pairs_beyond_the_budget_are_counted() -> None:
    crystals = list(iter_plain([SALT] * 5))
    found, left = find_duplicates(crystals, max_matches=2)
    assert found == {1: 0, 2: 0}
    assert left == 1 + 2


def test_the_fingerprint_moves_less_than_the_atoms() -> None:
    lattice, coords = np.diag([4.0, 5.0, 6.0]), np.array([[0, 0, 0], [0.4, 0.3, 0.2]])
    numbers = np.array([6, 6])
    before = fingerprint(lattice, coords, numbers)
    step = np.array([[0.05, 0, 0], [-0.05, 0, 0]])
    after = fingerprint(lattice, coords + step @ np.linalg.inv(lattice), numbers)
    assert 0 < np.abs(after - before).max() <= 0.1 + 1e-9


def test_choices_change_bad_into_odd() -> None:
    mixed = Structure(Lattice.cubic(3.4), [{"Na": 0.5, "K": 0.5}, "Cl"], [[0, 0, 0], [0.5] * 3])
    mirrored = Structure(np.eye(3)[[1, 0, 2]] * 3.4, ["Rb", "Cl"], [[0, 0, 0], [0.5] * 3])
    strict = check_source([mixed, mirrored], left_handed="skip")
    assert kinds(strict, 0) == [("partial occupancy", "bad")]
    assert kinds(strict, 1) == [("left-handed", "bad")]
    loose = check_source([mixed, mirrored], disorder="order", left_handed="swap")
    assert kinds(loose, 0) == [("partial occupancy", "odd")]
    assert kinds(loose, 1) == [("left-handed", "odd")]
    assert loose.rows[0].formula == "Cl2 K1 Na1"
    with pytest.raises(InputError, match="partial occupancy"):
        check_source([mixed], disorder="stop")


def test_a_folder_with_everything(tmp_path: Path) -> None:
    for name, structure in (("a", SALT), ("b", SALT)):
        structure.to(filename=str(tmp_path / f"{name}.cif"))
    (tmp_path / "empty.cif").write_text("")
    (tmp_path / "bad.cif").write_text("nothing at all")
    (tmp_path / "notes.md").write_text("x")
    table = check_source(tmp_path)
    assert table.counts() == {"duplicate": 1, "unreadable": 1, "empty": 1}
    assert {row.id: row.severity for row in table.rows} == {
        "a": "good",
        "b": "odd",
        "bad": "bad",
        "empty": "bad",
    }
    assert [Path(name).name for name in table.ignored] == ["notes.md"]
    table.write(tmp_path / "check.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "check.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["a", "b", "bad", "empty"]
    assert rows[1]["findings"][0]["kind"] == "duplicate"
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(InputError, match="could not be written"):
        table.write(tmp_path / "no" / "folder.jsonl")


def test_crystals_with_coinciding_atoms_do_not_stop_the_check() -> None:
    twice = PlainCrystal("x", np.eye(3) * 4, np.zeros((2, 3)), np.array([6, 6]))
    table = check_source([twice, twice])
    assert kinds(table, 0) == [("overlap", "bad")]
