"""How right the property predictions are, and how often their intervals hold.

    python benchmarks/properties.py mp_20/val.parquet mp_2025/train_le20.parquet
        mp_2025/train_21_52.parquet --shift mpts_52/val.parquet

Energies and gaps: validation rows of MP-20 whose identifier has an odd checksum (the even ones set
the ends of the intervals); by crystal, and those whose reduced formula no labelled crystal has.
Moduli and magnetisation: formulas kept back from training, each fifth judged with intervals from
the others (the shipped ones come from all of them). ``--denoiser`` the predictor of the original
design, on the encoder of the pretrained generator, to that many crystals.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.prediction.formulas import Formula, formula_code, reduced_counts
from crystal_diffusion.prediction.model import NetworkAnswer, default_properties
from crystal_diffusion.prediction.predictor import PropertyPredictor

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
from train_properties import PROPERTIES, Asked, Labelled, change_of, some

#: Groups of fewer crystals have no line of their own.
FEWEST = 200


def bounds(wrong: np.ndarray) -> str:
    """Mean with its 95 % interval."""
    half = 1.96 * wrong.std() / np.sqrt(max(1, len(wrong)))
    return f"{wrong.mean():.4f} ± {half:.4f}"


def trained_formulas(path: Path) -> set[Formula]:
    """Reduced formulas of a table that were trained on."""
    arrays = CrystalStructureDataset(path).arrays
    spans = (slice(*arrays.offsets[row : row + 2]) for row in range(len(arrays)))
    crystals = (arrays.atomic_numbers[span] for span in spans)
    return {reduced_counts(numbers) for numbers in crystals if formula_code(numbers) != 0}


def line(name: str, said: NetworkAnswer, values: np.ndarray, rows: np.ndarray) -> str:
    """One property on some crystals."""
    head = next(h for h in default_properties().heads if h.name == name)
    guess = head.guess(NetworkAnswer(said.outputs[rows], said.encoded[rows], said.elements[rows]))
    truth = values[rows]
    calibration = head.calibration
    assert calibration is not None
    low, high = calibration.interval(guess)
    inside = (truth >= low) & (truth <= high)
    said_values = calibration.value(guess)
    if calibration.logarithmic:
        wrong = np.abs(np.log10(said_values) - np.log10(truth))
    else:
        wrong = np.abs(said_values - truth)
    text = f"n {len(truth)}, MAE {bounds(wrong)}, inside {100 * inside.mean():.1f} %"
    if head.zero >= 0:
        kind = (guess.nonzero > 0.5) == (truth > 0)
        text += f", kind right {100 * kind.mean():.1f} %"
    return text + f", median width {np.median(high - low):.3f}"


def table(name: str, label: int, source: Labelled, use: np.ndarray, known: np.ndarray) -> None:
    """All lines of one property."""
    rows = np.flatnonzero(use & np.isfinite(source.labels[:, label]))
    values = source.labels[:, label]
    print(f"{name}: {line(name, source.said, values, rows)}")
    for group, member in groups(source, values, known).items():
        part = rows[member[rows]]
        if FEWEST <= len(part) < len(rows):
            print(f"  {group}: {line(name, source.said, values, part)}", flush=True)


def left_out(asked: Asked, label: int, source: Labelled) -> None:
    """All lines of a property that no validation row has, each fifth judged by the others."""
    rows = np.flatnonzero(np.isfinite(source.labels[:, label]))
    values = source.labels[:, label]
    if asked.logarithmic:
        rows = rows[(values[rows] > 1) & (values[rows] < 700)]
    wrong, inside = asked.left_out(some(source.said, rows), values[rows])
    everything = {"all": np.ones(len(values), dtype=bool)}
    known = np.zeros(len(values), dtype=bool)
    for group, member in (everything | groups(source, values, known)).items():
        part = member[rows]
        if part.sum() >= FEWEST and (group == "all" or part.sum() < len(rows)):
            print(
                f"{asked.name}, {group}: n {part.sum()}, MAE {bounds(wrong[part])}, inside "
                f"{100 * inside[part].mean():.1f} %",
                flush=True,
            )


def groups(source: Labelled, values: np.ndarray, known: np.ndarray) -> dict[str, np.ndarray]:
    """Which crystals belong to each group."""
    return {
        "formula left out": ~known,
        "formula known": known,
        "one or two elements": source.said.elements <= 2,
        "three elements": source.said.elements == 3,
        "four and more": source.said.elements >= 4,
        "up to 6 atoms": source.sizes <= 6,
        "7 to 12 atoms": (source.sizes > 6) & (source.sizes <= 12),
        "13 and more": source.sizes > 12,
        "zero": values == 0,
        "not zero": values != 0,
    }


def denoiser(train: Path, validation: Path, crystals: int) -> None:
    """The predictor of the original design on the encoder of the pretrained generator."""
    from crystal_diffusion import load

    rng = np.random.default_rng(0)
    predictor = PropertyPredictor(load().model)
    level = 0.0
    for path, held in ((train, False), (validation, True)):
        arrays = CrystalStructureDataset(path).arrays
        energy = arrays.properties["formation_energy_per_atom"]
        good = np.flatnonzero(np.isfinite(energy) & (np.abs(energy) < 6))
        rows = rng.choice(good, min(crystals, len(good)), replace=False)
        structures = [arrays.crystal(int(row)).to_structure() for row in rows]
        labels = energy[rows]
        if not held:
            formulas = [reduced_counts(np.array(one.atomic_numbers)) for one in structures]
            labels = labels + np.array([change_of(formula) for formula in formulas])
            level = labels.mean()
            predictor.fit_head(structures, labels)
        else:
            weights = predictor.property_head.weight.detach().numpy()[0].astype(float)
            offset = predictor.property_head.bias.item()
            said = predictor.features(structures) @ weights + offset
            error, plain = (bounds(np.abs(each - labels)) for each in (said, level))
            print(
                f"PropertyPredictor, formation energy: n {len(rows)}, MAE {error}; the mean of the "
                f"labels: {plain}"
            )


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("validation", type=Path)
    parser.add_argument("tables", type=Path, nargs="+", help="what was trained on")
    parser.add_argument("--shift", type=Path, default=None, help="MPTS-52 validation rows")
    parser.add_argument("--denoiser", type=int, default=0, help="crystals its head is fitted to")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = default_properties()
    trained = set().union(*map(trained_formulas, args.tables))
    start = time.process_time()
    validation = Labelled([args.validation], model, range(20))
    seconds = time.process_time() - start
    print(
        f"{len(validation.even)} crystals judged in {seconds:.1f} s of one core, reading included"
    )
    kept, elastic = (Labelled(args.tables, model, range(n)) for n in (1, 3))
    heads = {head.name: head for head in model.heads}
    for name, label, column, zero, unit, lowest, logarithmic, in_validation in PROPERTIES:
        if in_validation:
            known = np.array([f in trained for f in validation.formulas])
            table(name, label, validation, ~validation.even, known)
            continue
        ends = heads[name].calibration
        assert ends is not None
        asked = Asked(name, column, zero, unit, lowest, logarithmic, ends.low, ends.high)
        left_out(asked, label, elastic if logarithmic else kept)
    if args.shift is not None:
        later = Labelled([args.shift], model, range(20))
        known = np.array([f in trained for f in later.formulas])
        print("MPTS-52, crystals of later years:")
        for name, label, *_ in PROPERTIES[:2]:
            table(name, label, later, np.ones(len(later.even), dtype=bool), known)
    if args.denoiser:
        denoiser(args.tables[0], args.validation, args.denoiser)


if __name__ == "__main__":
    main()
