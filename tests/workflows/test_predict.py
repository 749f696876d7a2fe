"""``predict`` from files, run folders and objects: tables, bad rows, and the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import crystal_diffusion as cd
from crystal_diffusion.cli import verbs
from crystal_diffusion.errors import InputError
from tests.crystals import body_centred, perovskite, rock_salt


def folder_of_cifs(path: Path) -> Path:
    path.mkdir()
    rock_salt().to(str(path / "salt.cif"))
    body_centred("Fe", 2.87).to(str(path / "iron.cif"))
    (path / "broken.cif").write_text("data_x\n_cell_length_a 3\n")
    return path


def test_every_property_has_value_unit_and_interval(tmp_path: Path) -> None:
    table = cd.predict(folder_of_cifs(tmp_path / "cifs"), processes=1)
    assert len(table.rows) == 3 and table.judged == 2
    bad = next(row for row in table.rows if row.id == "broken")
    assert bad.problem and not bad.more
    salt = next(row for row in table.rows if row.id == "salt")
    assert salt.formula == "NaCl" and salt.num_atoms == 8
    low, value, high = (
        salt[f"predicted_formation_energy{end}_eV_atom"] for end in ("_low", "", "_high")
    )
    assert low < value < high
    table.write(tmp_path / "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert {row["id"] for row in rows} == {"salt", "iron", "broken"}
    assert float(next(r for r in rows if r["id"] == "salt")["predicted_band_gap_eV"]) > 3
    table.write(tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [row.id for row in table.rows]
    with pytest.raises(InputError, match=r"end the name in \.csv"):
        table.write(tmp_path / "out.xlsx")


def test_objects_in_memory_and_one_bad_source_among_several(tmp_path: Path) -> None:
    table = cd.predict([rock_salt(), perovskite()])
    assert [row.formula for row in table.rows] == ["NaCl", "SrTiO3"]
    cifs = folder_of_cifs(tmp_path / "cifs")
    mixed = cd.predict([str(cifs / "salt.cif"), str(tmp_path / "nowhere.cif")], processes=1)
    assert mixed.judged == 1 and mixed.rows[1].problem and "nowhere.cif" in mixed.rows[1].problem
    with pytest.raises(InputError, match=r"nowhere\.cif"):
        cd.predict([str(tmp_path / "nowhere.cif")])
    with pytest.raises(InputError, match="no such model folder"):
        cd.predict(rock_salt(), model=tmp_path / "model")


def test_the_command_line_says_how_many_and_writes_them(tmp_path: Path) -> None:
    cifs, out = folder_of_cifs(tmp_path / "cifs"), tmp_path / "out.csv"
    found = CliRunner().invoke(verbs, ["predict", str(cifs), "--out", str(out), "--processes", "1"])
    assert found.exit_code == 1, found.output
    assert "2 of 3 crystals predicted" in found.output and "broken" in found.output
    assert out.is_file()
    wrong = CliRunner().invoke(verbs, ["predict", str(cifs), "--out", str(tmp_path / "out.txt")])
    assert isinstance(wrong.exception, InputError)
