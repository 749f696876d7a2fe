"""Make the element and contact tables of the package from their sources; print what was fitted.

    python recipes/element_tables.py ../shared/data/mp_2025

Writes ``crystal_diffusion/elements.csv`` (masses, radii, electronegativity, oxidation states and
bond valence parameters as tabulated in pymatgen, ASE and SMACT; volumes fitted here) and
``crystal_diffusion/physics/contacts.csv`` (typical nearest distance of each pair of elements,
fitted here). One row in ten (CRC-32 of the identifier divisible by ten) is left out of every fit:
`benchmarks/validator_real_world.py` reports on those rows only.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy.optimize import nnls

from crystal_diffusion.physics.distances import neighbour_pairs

ROOT = Path(__file__).resolve().parents[1] / "crystal_diffusion"
LAST = 103
COLUMNS = ["a", "b", "c", "alpha", "beta", "gamma"]


def cell_matrix(parameters: np.ndarray) -> np.ndarray:
    """Rows a along x, b in xy, c above, in Å."""
    a, b, c = parameters[:3]
    ca, cb, cg = np.cos(np.radians(parameters[3:]))
    sg = np.sin(np.radians(parameters[5]))
    cy = (ca - cb * cg) / sg
    return np.array(
        [[a, 0, 0], [b * cg, b * sg, 0], [c * cb, c * cy, c * np.sqrt(1 - cb * cb - cy * cy)]]
    )


def read(folder: Path) -> list[dict[str, Any]]:
    """Every crystal that may be used for a fit: atoms, volume, nearest neighbour of each atom."""
    crystals = []
    for path in sorted(folder.glob("train_*.parquet")):
        for row in pq.read_table(path).to_pylist():
            if zlib.crc32(row["material_id"].encode()) % 10 == 0:
                continue
            cell = cell_matrix(np.array([row[name] for name in COLUMNS]))
            numbers = np.array(row["atomic_numbers"], np.int64)
            frac = np.reshape(np.array(row["frac_coords"], np.float64), (-1, 3))
            for cutoff in (3.2, 5.0):
                pairs = neighbour_pairs(frac, cell, cutoff, "cell list")
                if len(np.unique(pairs.first)) == len(numbers):
                    break
            order = np.argsort(-pairs.distance, kind="stable")
            nearest = np.full(len(numbers), np.nan)
            kind = np.zeros(len(numbers), np.int64)
            nearest[pairs.first[order]] = pairs.distance[order]
            kind[pairs.first[order]] = numbers[pairs.second[order]]
            volume = abs(np.linalg.det(cell)) / len(numbers)
            crystals.append(
                {
                    "numbers": numbers,
                    "volume": volume,
                    "nearest": nearest,
                    "kind": kind,
                    "frac": frac.astype(np.float32),
                    "cell": cell,
                }
            )
    return crystals


def fit_volumes(crystals: list[dict[str, Any]], metal: np.ndarray) -> dict[str, np.ndarray]:
    """Least-squares volume of each element, apart in all-metal crystals and in the others."""
    shares = np.array([np.bincount(c["numbers"], minlength=LAST + 1) for c in crystals], float)
    shares /= shares.sum(1, keepdims=True)
    volumes = np.array([c["volume"] for c in crystals])
    metallic = shares[:, ~metal].sum(1) == 0
    out: dict[str, np.ndarray] = {}
    for name, chosen in (("metallic", metallic), ("compound", ~metallic)):
        x, y = shares[chosen], volumes[chosen]
        use = np.ones(len(y), bool)
        fitted = np.zeros(LAST + 1)
        for _ in range(8):
            fitted, _ = nnls(x[use] / y[use, None], np.ones(use.sum()))
            use = np.abs(np.log(y / np.maximum(x @ fitted, 1e-9))) < 0.35
        ratio = y / np.maximum(x @ fitted, 1e-9)
        spread = np.std(np.log(ratio[use]))
        print(f"volumes, {name}: n = {len(y)}, {use.mean():.1%} within 35 %, spread {spread:.3f}")
        quantiles = " ".join(f"{q:g}:{np.quantile(ratio, q):.3f}" for q in (0.001, 0.01, 0.5, 0.99))
        print(f"  quantiles of volume / fit {quantiles}")
        low, high = np.zeros(LAST + 1), np.zeros(LAST + 1)
        part = x * fitted / np.maximum(x @ fitted, 1e-9)[:, None]
        for z in range(1, LAST + 1):
            # The range is told by crystals in which the element takes a good part of the space.
            own = ratio[(part[:, z] > 0.25) & (ratio < 3)]
            if len(own) >= 20:
                low[z], high[z] = fitted[z] * np.quantile(own, [0.001, 0.999])
            elif fitted[z] > 0:
                low[z], high[z] = 0.55 * fitted[z], 2.0 * fitted[z]
        out |= {f"volume_{name}": fitted, f"volume_{name}_low": low, f"volume_{name}_high": high}
    for suffix in ("", "_low", "_high"):
        one, other = out[f"volume_metallic{suffix}"], out[f"volume_compound{suffix}"]
        one[one == 0], other[other == 0] = other[one == 0], one[other == 0]
    return out


def fit_contacts(crystals: list[dict[str, Any]]) -> dict[tuple[int, int], tuple[float, int]]:
    """Median over crystals of the mean nearest distance of each pair of elements."""
    found = defaultdict(list)
    for crystal in crystals:
        here = defaultdict(list)
        for z, other, distance in zip(
            crystal["numbers"], crystal["kind"], crystal["nearest"], strict=True
        ):
            if np.isfinite(distance):
                here[min(z, other), max(z, other)].append(distance)
        for pair, distances in here.items():
            found[pair].append(np.mean(distances))
    return {pair: (float(np.median(v)), len(v)) for pair, v in sorted(found.items())}


def fit_neighbours(crystals: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Range of the number of first-shell neighbours of each element, 30,000 crystals."""
    from crystal_diffusion.physics.crystal_geometry import CrystalView

    found: dict[int, list[int]] = defaultdict(list)
    chosen = np.random.default_rng(0).permutation(len(crystals))[:30000]
    for index in chosen:
        c = crystals[index]
        view = CrystalView.from_arrays(c["frac"], c["cell"], c["numbers"])
        if view.squeezed or view.contact.max() > 1.3:
            continue
        for z in np.unique(c["numbers"]):
            found[int(z)] += sorted(set(view.coordination[c["numbers"] == z].tolist()))
    low, high = np.full(LAST + 1, np.nan), np.full(LAST + 1, np.nan)
    for z, counts in found.items():
        if len(counts) >= 30:
            low[z] = np.floor(np.quantile(counts, 0.001))
            high[z] = np.ceil(np.quantile(counts, 0.999))
    return {"neighbours_low": low, "neighbours_high": high}


def smact_states() -> dict[str, tuple[list[int], list[int]]]:
    """Usual and known oxidation states of each element from counts of the ICSD of 2024 (SMACT).

    Known: more than five reports. Usual: at least 5 % of the reports with a charge.
    """
    import smact

    path = Path(smact.__file__).parent / "data" / "oxidation_states_icsd24_counts.json"
    counts: dict[str, dict[int, int]] = defaultdict(dict)
    for entry in json.loads(path.read_text()):
        if entry["oxidation_state"] and entry["results_count"] > 5:
            counts[entry["element"]][entry["oxidation_state"]] = entry["results_count"]
    out = {}
    for symbol, found in counts.items():
        total = sum(found.values())
        usual = [q for q, n in found.items() if n >= 0.05 * total]
        out[symbol] = (sorted(usual), sorted(found))
    return out


def write_elements(fitted: dict[str, np.ndarray]) -> None:
    """One row an element."""
    import pymatgen.core
    import yaml  # type: ignore[import-untyped]
    from ase.data import covalent_radii
    from pymatgen.core import Element

    folder = Path(pymatgen.core.__file__).parent
    valence = yaml.safe_load((folder / "bvparam_1991.yaml").read_text())
    states = smact_states()
    rows = []
    for z in range(1, LAST + 1):
        e = Element.from_Z(z)
        usual, known = states.get(e.symbol, ([], []))
        # pymatgen's list of common states adds those that are well known but rarely refined.
        common = sorted(
            {*usual, *(q for q in e.common_oxidation_states if q in known or not known)}
        )
        known = sorted({*known, *common})
        pauling = e.data["X"] if isinstance(e.data.get("X"), int | float) else ""
        rows.append(
            {
                "number": z,
                "symbol": e.symbol,
                "mass": f"{float(e.atomic_mass):.4f}",
                "covalent_radius": f"{covalent_radii[z]:.2f}" if z <= 96 else "",
                "electronegativity": pauling,
                "mendeleev_number": int(e.mendeleev_no),
                "metal": int(e.is_metal),
                "common_states": " ".join(map(str, common)),
                "known_states": " ".join(map(str, known)),
                "bond_valence_r": valence.get(e.symbol, {}).get("r", ""),
                "bond_valence_c": valence.get(e.symbol, {}).get("c", ""),
                **{
                    n: f"{v[z]:.4g}" if v[z] >= 0.01 or (n.startswith("n") and v[z] == v[z]) else ""
                    for n, v in fitted.items()
                },
            }
        )
    write_csv(ROOT / "elements.csv", rows)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Whole or not at all."""
    part = path.with_suffix(".csv.part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, path)
    print(f"wrote {path.name}: {len(rows)} rows")


def main() -> None:
    """Read, fit, write."""
    if len(sys.argv) != 2:
        sys.exit("give the folder with the mp_2025 Parquet files, e.g. ../shared/data/mp_2025")
    from pymatgen.core import Element

    metal = np.array([False] + [Element.from_Z(z).is_metal for z in range(1, LAST + 1)])
    crystals = read(Path(sys.argv[1]))
    print(f"{len(crystals)} crystals used, one row in ten left out")
    volumes = fit_volumes(crystals, metal)
    contacts = fit_contacts(crystals)
    rows = [
        {"first": a, "second": b, "distance": f"{d:.3f}", "crystals": n}
        for (a, b), (d, n) in contacts.items()
    ]
    write_csv(ROOT / "physics" / "contacts.csv", rows)
    write_elements(volumes | fit_neighbours(crystals))


if __name__ == "__main__":
    main()
