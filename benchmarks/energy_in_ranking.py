"""Does the property network's formation energy help the ranking? Lists of left-out crystals.

    python benchmarks/energy_in_ranking.py lists --set both --n 200 --out both.npz
    python benchmarks/energy_in_ranking.py fit both.npz ranker.npz properties.npz

Targets are crystals of the shipped library with at most 20 atoms and at most 0.08 eV/atom above the
hull, whose formula was kept out of the training of the ranker (``ranker``), of the property network
(``properties``), or of both (``both``). Each composition gets the candidates of ``generate`` with
the crystal itself left out of the library, types that hold the composition last. ``fit`` adds
``-weight * (energy - lowest energy of the list) / 1 eV/atom`` to the log-odds of the ranker and
prints, for each weight, how often the true crystal is first, among 5 and among 20, and the mean
log-probability of the true one. No crystal of a validation or test split is touched.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe
from prototypes import interval

from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.prediction.formulas import formula_code
from crystal_diffusion.prediction.model import default_properties
from crystal_diffusion.prediction.sites import sites_of
from crystal_diffusion.proposals.library import CrystalLibrary
from crystal_diffusion.proposals.prototypes import PrototypeProposer
from crystal_diffusion.ranking.candidates import Candidate, Pool
from crystal_diffusion.ranking.learned import default_ranker
from crystal_diffusion.ranking.order import POOL

#: eV/atom above the hull, and atoms, up to which a crystal is asked for.
NEAR_HULL, MOST_ATOMS = 0.08, 20
#: Whether the formulas were kept out of the training of the ranker, and of the property network.
KEPT_OUT = {"ranker": (True, False), "properties": (False, True), "both": (True, True)}
WEIGHTS = (0.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0)
#: eV/atom above the lowest of a list beyond which nothing more is lost.
LIMITS = (0.15, 0.3, 0.5, 9.0)
#: The log-probability of the true crystal of one list counts no less than this.
LOST = -8.0


def structure_of(library: CrystalLibrary, entry: int) -> Any:
    """A crystal of the library."""
    from pymatgen.core import Lattice, Structure

    kind = int(library.entry_type[entry])
    numbers = library.elements[entry][library.roles_of(kind)]
    cell = Lattice.from_parameters(*library.parameters(np.array([entry]))[0])
    return Structure(cell, numbers.tolist(), library.frac_coords(kind, np.array([entry]))[0])


def targets(library: CrystalLibrary, which: str) -> list[int]:
    """Entries whose formula was kept out, in an order of chance."""
    codes, found = library.composition_codes, []
    atoms = library.type_counts.sum(1)[library.entry_type]
    hull = library.e_above_hull
    good = (atoms <= MOST_ATOMS) & (np.nan_to_num(hull, nan=9.0) <= NEAR_HULL)
    for entry in np.random.default_rng(0).permutation(np.flatnonzero(good)).tolist():
        kind = int(library.entry_type[entry])
        ranker = bool(codes[entry] % 20 == 0)
        properties = formula_code(library.elements[entry][library.roles_of(kind)]) == 0
        if (ranker, properties) != KEPT_OUT[which]:
            continue
        found.append(entry)
    return found


def make_lists(which: str, first: int, n: int, out: Path) -> None:
    """Candidates of each target, how they are judged, and which are right."""
    library = CrystalLibrary.load()
    proposer, ranker, model = PrototypeProposer(library), default_ranker(), default_properties()
    matcher = StructureMatch(ltol=0.3, stol=0.5, angle_tol=10)
    chosen = targets(library, which)[first : first + n]
    columns: dict[str, list[np.ndarray]] = {}
    began, seconds = time.process_time(), 0.0
    for row, entry in enumerate(chosen):
        truth = structure_of(library, entry)
        group = int(library.type_space_group[int(library.entry_type[entry])])
        formula = truth.composition.reduced_formula
        cell = dict(Counter(int(z) for z in truth.atomic_numbers))
        found = proposer.propose(cell, n=POOL, exclude={(formula, group)})
        if not found:
            continue
        candidates = [Candidate(p.structure, "prototype", p) for p in found]
        scores = ranker.score(candidates, known_last=True, pool=Pool(tuple(found)))
        start = time.process_time()
        said = model.said([sites_of(p.structure) for p in found]).outputs
        seconds += time.process_time() - start
        right = [matcher.rms(truth, p.structure) is not None for p in found]
        for name, values in (
            ("list", np.full(len(found), row)),
            ("score", scores),
            ("votes", np.array([p.features["log_share"] for p in found])),
            ("energy", said[:, 0]),
            ("hull", said[:, 1]),
            ("old_energy", ranker.formation_energy([p.structure for p in found])),
            ("known", np.array([p.features["known"] for p in found])),
            ("right", np.array(right)),
            ("atoms", np.full(len(found), len(truth))),
        ):
            columns.setdefault(name, []).append(values)
    np.savez(out, **{name: np.concatenate(values) for name, values in columns.items()})  # type: ignore[arg-type]
    print(
        f"{which}: {len(chosen)} lists, {time.process_time() - began:.0f} s of a core, of these "
        f"{seconds:.0f} s for the property network; {describe()}"
    )


def fit(paths: list[Path]) -> None:
    """How good the ranking is at each weight and limit."""
    for path in paths:
        with np.load(path) as data:
            table = {name: data[name] for name in data.files}
        rows = [np.flatnonzero(table["list"] == i) for i in np.unique(table["list"])]
        inside = np.mean([table["right"][mine].any() for mine in rows])
        print(f"\n{path.stem}: {len(rows)} lists, {100 * inside:.1f} % hold the crystal")
        base, _ = places(table, rows, 0.0, 1.0)
        for limit in LIMITS:
            for weight in WEIGHTS:
                hits, logs = places(table, rows, weight, limit)
                low, high = interval((hits - base)[:, 0])
                print(
                    f"  limit {limit:4.2f}, weight {weight:4.1f}: first {hits[:, 0].mean():.1f} "
                    f"(change {low:+.1f} to {high:+.1f}), of 5 {hits[:, 1].mean():.1f}, of 20 "
                    f"{hits[:, 2].mean():.1f} %, nats {-logs.mean():.3f}"
                )


def places(
    table: dict[str, np.ndarray], rows: list[np.ndarray], weight: float, limit: float
) -> tuple[np.ndarray, np.ndarray]:
    """``(lists, 3)`` per cent right first, among 5, among 20; log-probabilities of the right one.

    The latter only for lists that hold it.
    """
    firsts, logs = [], []
    for mine in rows:
        energy, right = table["energy"][mine], table["right"][mine].astype(bool)
        score = table["score"][mine] - weight * np.clip(energy - energy.min(), 0.0, limit)
        order = right[np.argsort(-score, kind="stable")]
        firsts.append([100.0 * order[:k].any() for k in (1, 5, 20)])
        if right.any():
            share = score - np.logaddexp.reduce(score)
            logs.append(max(LOST, np.logaddexp.reduce(share[right])))
    return np.array(firsts), np.array(logs)


def main() -> None:
    """One of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    making = steps.add_parser("lists")
    making.add_argument("--set", choices=sorted(KEPT_OUT), required=True)
    making.add_argument("--first", type=int, default=0)
    making.add_argument("--n", type=int, default=400)
    making.add_argument("--out", type=Path, required=True)
    fitting = steps.add_parser("fit")
    fitting.add_argument("lists", type=Path, nargs="+")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.step == "lists":
        make_lists(args.set, args.first, args.n, args.out)
    else:
        fit(args.lists)


if __name__ == "__main__":
    main()
