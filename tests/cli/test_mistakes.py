"""Plausible mistakes on the command line: each is answered by its cause and an offer."""

from __future__ import annotations

import io
import shlex
import sys
from pathlib import Path

import pytest
from ase.build import bulk

from crystal_diffusion import cli

#: What is typed, and what the answer names; "cif/" holds three crystals, "notes.txt" is a text.
MISTAKES = """
generat --formula NaCl | did you mean crystal-diffusion generate?
sample --formula NaCl | did you mean crystal-diffusion generate?
gen --formula NaCl | did you mean crystal-diffusion generate?
Train cif | did you mean crystal-diffusion train?
finetune cif | did you mean crystal-diffusion train?
show cif | did you mean crystal-diffusion view?
optimise cif | did you mean crystal-diffusion relax?
hull cif | did you mean crystal-diffusion screen?
download mp | did you mean crystal-diffusion fetch?
explore --elements Na,Cl | did you mean crystal-diffusion discover?
metrics cif | did you mean crystal-diffusion evaluate?
gui | did you mean crystal-diffusion app?
qwerty | choose one of fetch, check, train
-n 5 generate | write crystal-diffusion generate -n
--seed 1 | write crystal-diffusion generate --seed
--formula NaCl | write crystal-diffusion generate --formula
model/ generate | crystal-diffusion generate model/
cif generate | crystal-diffusion generate cif
cif | crystal-diffusion check cif, or crystal-diffusion train cif?
LiFePO4 | did you mean crystal-diffusion generate --formula LiFePO4?
generate LiFePO4 | did you mean --formula LiFePO4?
generate LiFeP04 | did you mean --formula LiFePO4?
generate LiFePo4 | did you mean --formula LiFePO4?
generate lifepo4 | did you mean --formula LiFePO4?
generate NaCl CsCl | did you mean --formula NaCl?
generate O | did you mean --elements O or --formula O?
generate Fe | --elements Li,O
generate Li O | did you mean --elements Li,O?
generate Li,O | did you mean --elements Li,O?
generate 20 | did you mean -n 20?
generate model | no such model; give the folder
generate ciff/ | no such model; did you mean cif?
generate --formula LiFeP04 | did you mean LiFePO4?
generate --formula LiFePo4 | did you mean LiFePO4?
generate --formula Nacl | did you mean NaCl?
generate --formula sio2 | did you mean SiO2?
generate --formula Al203 | did you mean Al2O3?
generate --formula A12O3 | did you mean Al2O3?
generate --formula Ti02 | did you mean TiO2?
generate --formula MgAI2O4 | did you mean MgAl2O4?
generate --formula Li,Fe,P,O | --elements Li,Fe,P,O
generate --formula "Li Fe; O" | --elements Li,Fe,O
generate --formula NaXx | write element symbols and numbers
generate --formula "" | is empty; give one, or leave it out
generate --formula= | is empty; give a value, or leave the option out
generate --formula Na-Cl | write element symbols and numbers
generate --formula salt | write element symbols and numbers
generate --formula RnO2 | has not met Rn in training; use a model trained with
generate --formula LiFePO4 --elements Li | a formula fixes the elements
generate --elements LiFePO4 | did you mean the formula LiFePO4, or the elements Li,Fe,P,O?
generate --elements lithium,oxygen | did you mean Li?
generate --elements li,o | did you mean Li?
generate --elements Li,Xx | give symbols such as Li or Fe
generate --elements Li,O --exclude Li | drop it from one of the two
generate --exclude lead | did you mean Pb?
generate --formula NaCl --exclude Na | drop one of the two options
generate --sg 225 --formula NaCl | did you mean --spacegroup?
generate --spg 225 --formula NaCl | did you mean --spacegroup?
generate --spacegroup 231 --formula NaCl | give a number from 1 to 230
generate --spacegroup Fm3mm --formula NaCl | near it are Fmmm
generate --spacegroup cubic --formula NaCl | did you mean --crystal-system?
generate --crystal-system 225 --formula NaCl | did you mean --spacegroup 225?
generate --crystal-system cubik | did you mean cubic?
generate --point-group m3m2 --formula NaCl | near it are mm2
generate --wyckoff Na:4a --formula NaCl | add for example --spacegroup 221
generate --wyckoff "Na 4a" --spacegroup 225 | write Element:position
generate --spacegroup 225 --crystal-system hexagonal --formula NaCl | drop one of them
generate --spacegroup 227 --formula NaCl --z 1 | 4, 8, 12
generate --natoms 8..16 --elements Li,O | give for example 8-16
generate --natoms eight --elements Li,O | give for example 8-16
generate --natoms 0 --elements Li,O | give for example 8 or 8-16
generate --natoms 16-8 --elements Li,O | give for example 8 or 8-16
generate --natoms 3 --formula NaCl | 2, 4, 6, 8
generate --natoms 1000 --elements Li,O | ask for smaller cells
generate --natoms 1 --elements Li,O | raise --natoms
generate --z 0 --formula NaCl | give for example 1-4
generate --z two --formula NaCl | give for example 1-4
generate --lattice 5 --formula NaCl | give for example 5,5,5,90,90,90
generate --lattice 5,5,5 --formula NaCl | give for example 5,5,5,90,90,90
generate --lattice 5,5,5,90,90,200 --formula NaCl | angles between 0 and 180
generate --lattice 0.56,0.56,0.56,90,90,90 --formula NaCl | the unit must be Å
generate --lattice 500,500,500,90,90,90 --formula NaCl | Give a smaller --lattice
generate --lattice a,b,c,90,90,90 --formula NaCl | give a,b,c,alpha,beta,gamma
generate --lattice 5.64,5.64,5.64,90,90,90 --formula NaCl --z 1 | Give --z 4
generate --lattice 3.9,3.9,3.9,90,90,90 --formula SrTiO3 --natoms 20 | Give --z 1
generate --cell primative --formula NaCl | did you mean primitive?
generate --cell big --formula NaCl | choose primitive, conventional or niggli
generate --host nohost.cif --add Li | give a file, a folder or a glob
generate --host notes.txt --add Li | rename it to .cif
generate --add Li2 | give one with --host FILE
generate -n 0 | give at least 1
generate -n -3 | give at least 1
generate -n many | give for example -n 20
generate -n 2.5 | give for example -n 20
generate -n | write it after the option
generate --formula | write it after the option
generate --formula --sg | write it after the option
generate --num 5 | did you mean -n?
generate --samples 5 | did you mean -n?
generate -N 5 | did you mean -n?
generate --output out | did you mean --out?
generate --output-dir=out | did you mean --out?
generate --force | did you mean --overwrite?
generate --verbose | unless --quiet is given
generate --model mymodel | the model comes first
generate --composition NaCl | did you mean --formula?
generate --chemical-system Na-Cl | did you mean --elements?
generate --gpu | did you mean --device cuda?
generate --device gpu | did you mean cuda?
generate --device cuda1 | did you mean cuda?
generate --workers 2 | did you mean --processes?
generate --seeds 5 | did you mean --seed?
generate --seed abc | give for example --seed 20
generate --seed -1 | give at least 0
generate -formula NaCl | write it with two dashes: --formula
generate --scorer dieo | did you mean diep?
generate --symmetry learnt --formula NaCl | give learned, free
generate --noise-share 2 --formula NaCl | give a share between 0 and 1
generate --noise-share 50% --formula NaCl | --noise-share 0.5
generate --sampling-steps 0 --formula NaCl | give at least 1
generate --eta 2 --formula NaCl | give a number between 0 and 1
generate --repulsion -1 --formula NaCl | give at least 0
generate --profile loose | did you mean permissive?
generate --max-attempts 0 | give at least 1
generate --library mine | choose own, shipped or both
generate --executor dask --formula NaCl | choose local
train | for example: crystal-diffusion train my_cifs/
train nofolder | give a file, a folder or a glob
train emptydir | give CIF, POSCAR
train cif/0.cif cif/1.cif | write 'cif/*.cif' in quotes, or give the folder cif/
train cif --epochs 0 | give at least 1, or leave it out
train cif --minutes -1 | give a number above 0
train cif --minutes ten | give for example --minutes 0.5
train cif --steps 0 | give at least 1
generate --steps 0 | --sampling-steps is 0; give at least 1, or leave it out. (--steps is now
screen cif --relax-steps -1 | --relax-steps is -1; give at least 0
generate --sampling-steps 0 | give at least 1, or leave it out.
train cif --lr 1e-3 | did you mean --learning-rate?
train cif --epoch 5 | did you mean --epochs?
train cif --network transfomer | did you mean transformer?
train cif --precision fp16 | choose auto, float32 or bfloat16
train cif --odd drop | choose leave or keep
train cif --disorder ordr | choose one of skip, order, stop
check cif/0.cif cif/1.cif cif/2.cif | write 'cif/*.cif' in quotes
check ciff | did you mean cif?
check notes.txt | rename it to .cif
view "nope/*.cif" | give CIF, POSCAR
view cif/0.cif cif/1.cif | write 'cif/*.cif' in quotes
view cif --out picture.jpg | end the name of --out in .html, .png or .svg
view cif --id 9 | the first ids are 0, 1, 2
validate | for example: crystal-diffusion validate
validate cif --profile stirct | 'strict'
relax cif --potential dipe | did you mean diep?
relax cif --fmax 0 | give a number above 0
screen nofolder | give a file, a folder or a glob
screen cif --top 0 | give at least 1
report cif | give the --out folder
evaluate cif | for example: crystal-diffusion evaluate
dft cif | run `crystal-diffusion screen cif` first
dft cif --code qe | did you mean espresso?
benchmark mp21 | did you mean mp20?
benchmark mp20 | give the file with the true structures
inspect nomodel | give the folder
discover LiFePO4 | did you mean --elements Li,Fe,P,O?
discover --budget 0 | give at least 1
discover --strategy greedy | choose loop, once
fetch mpp x | choose optimade, mp, cod or icsd
fetch optimade | for example: crystal-diffusion fetch optimade
demo -n 0 | give at least 1
doctor --fix | --help lists them
cache clean | 'clear'
app cif | app does not know what to do with 'cif'; for example
app --port abc | give for example --port 8765
app --folder notes.txt | notes.txt is a file, a folder is needed
generate --out notes.txt --formula NaCl -n 1 | notes.txt is a file, a folder is needed
train cif --out notes.txt | notes.txt is a file, a folder is needed
train cif --learning-rate fast | give for example --learning-rate 1e-4
train https://example.org/data.cif | is an address
train table.csv | name it 'cif'
train cif --property gap | is no column of numbers in the data
train cif --start-from nomodel | give the folder that
train cif --formula NaCl | but of generate; did you mean crystal-diffusion generate --formula?
train NaCl | did you mean crystal-diffusion generate --formula NaCl?
predict | predict needs SOURCES; for example
predict NaCl | did you mean crystal-diffusion generate --formula NaCl?
predict --formula NaCl | but of generate; did you mean crystal-diffusion generate --formula?
predict notes.txt | rename it to .cif
predict cif --epochs 3 | but of train; did you mean crystal-diffusion train --epochs?
discover --formula NaCl | but of generate; did you mean crystal-diffusion generate --formula?
discover --elements Na-Sb-S | give symbols such as Na,Sb,S
discover --elements Na | a discovery needs two or more
discover --elements Na,Cl --minutes 0 | give a number above 0
discover --elements Na,Cl --above-hull -1 | give at least 0
discover --family ABO33x | give letters with counts, such as ABX3
distill | say with --data which crystals
distill nomodel | give the folder that
distill pretrained --steps 0 | give at least 1
fetch mp Li-Fe-O --limit 0 | give at least 1
fetch optimade Li-Fe-O --provider nowhere | give its address
fetch optimade "elements HAS Li" --limit 1 | give --provider NAME or its address
fetch materials-project Li | choose optimade, mp, cod or icsd
benchmark mp20 --split nofile.parquet | does not exist; give a file
benchmark mp20 --split table.csv | holds no crystal that can be read
benchmark discovery --sources noize | choose from noise
generate --property gap | write a name and a range
generate --property "hardness>20" | Known are formation_energy
generate --property "band_gap=3..2" | give the smaller number first
generate --property band_gap=wide | is no number or range
generate --property "band_gap > 2 GPa" | is no unit of band_gap; give eV
generate --text "" | is empty; give one, or leave it out
generate --like-training 2 | give a number between 0 and 1
generate --guidance -1 | give a number from 0 to 20
generate --select 0 | give a whole number from 1 to 1000
generate --symmetrise -1 --formula NaCl | give a number above 0
generate --host cif/0.cif | give for example --add Li2
generate --host cif/0.cif --add Xx | write element symbols and numbers
generate --host cif/0.cif --add Li2 --formula NaCl | formula and host exclude each other
screen cif --executor dask | choose local, here
screen cif --reference nofolder | give a file or a folder
screen cif --stages relax,hul | choose from validate, group, relax
screen cif --potentials diep,magic | choose from
relax cif --time-limit 0 | give a number above 0
evaluate cif --reference nofile | does not exist; give a file
validate cif --limits notes.txt | is no valid TOML
validate cif --rows -1 | give at least 0
check cif --min-distance -1 | give at least 0
help generate | write crystal-diffusion generate --help
help | write crystal-diffusion --help
doctor now | does not know what to do with 'now'
"""
CASES = [tuple(line.split(" | ")) for line in MISTAKES.strip().splitlines()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    for name in ("cif", "emptydir"):
        (folder / name).mkdir()
    for number, element in enumerate(("Cu", "Al", "Ag")):
        bulk(element).write(folder / "cif" / f"{number}.cif")
    (folder / "notes.txt").write_text("hello")
    (folder / "table.csv").write_text("formula,gap\nNaCl,5\n")
    return folder


def answer(words: str, monkeypatch: pytest.MonkeyPatch) -> tuple[object, str]:
    """Exit code and what is said."""
    said = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["crystal-diffusion", *shlex.split(words)])
    # The property `file` would come back bound to the output of this very test.
    monkeypatch.setattr(cli.err, "_file", said)
    monkeypatch.setattr(cli.out, "_file", said)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code, said.getvalue()


def test_there_are_enough_mistakes() -> None:
    assert len(CASES) >= 120 and len(dict(CASES)) == len(CASES)


@pytest.mark.parametrize(("words", "offer"), CASES)
def test_a_mistake_is_met_by_an_offer(
    words: str, offer: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    code, said = answer(words, monkeypatch)
    assert code == 2, said
    assert said.startswith("error: ") and said.count("\n") == 1, "one line"
    assert offer in said
    assert not (place / "run").exists() and not (place / "model").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [("--version", 0), ("-h", 0), ("generate -h", 0), ("check cif --processes 1", 0)],
)
def test_what_is_right_works(
    words: str, code: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    assert answer(words, monkeypatch)[0] == code


def test_other_names_of_options_work(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "generate --formula NaCl --number 1 --space-group 225 --num_atoms 2 --sampling-steps 2"
    code, said = answer(words, monkeypatch)
    assert code == 0 and "225" in said


def test_a_pattern_makes_a_page_with_a_name(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    code, _ = answer("view 'cif/*.cif'", monkeypatch)
    assert code == 0 and (place / "cif.html").is_file()
    (place / "cif.html").unlink()


def test_capitals_that_may_be_wrong_are_pointed_out(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    _, said = answer("generate --formula SIO2 -n 1 --sampling-steps 2", monkeypatch)
    assert "SIO2 is read as S, I, O; did you mean SiO2?" in said
