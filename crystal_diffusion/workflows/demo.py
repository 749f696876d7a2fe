"""The demonstration: train on the built-in crystals, generate compositions that are not in them."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from crystal_diffusion.data.demo import create_demo_dataset
from crystal_diffusion.generation.request import Request
from crystal_diffusion.generation.result import GenerationResult
from crystal_diffusion.generation.rows import GeneratedRow
from crystal_diffusion.generation.settings import GenerationSettings
from crystal_diffusion.workflows.estimate import TrainingSummary
from crystal_diffusion.workflows.train import train

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Compositions of the structure types in the demo set that are not in it, all of them real.
NEW_COMPOSITIONS = (
    "LiF",
    "MgS",
    "KF",
    "GaP",
    "AlP",
    "CaO",
    "SrS",
    "BN",
    "AlN",
    "CaSi2",
    "KMgF3",
    "CdF2",
    "ZrS2",
    "KNbO3",
    "NaTaO3",
    "LiTaO3",
    "MgTiO3",
    "NaCoO2",
    "ZnAl2O4",
    "Li2O",
)
#: Crystals in the picture.
_PICTURES = 12
#: Columns of a row that say whether a crystal is known.
_OF_KNOWN = ("novel", "known_by", "nearest_known_id", "nearest_known_distance")

LookUp: TypeAlias = Callable[[Sequence["Structure"]], tuple[Sequence[Mapping[str, Any]], str]]


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration made."""

    summary: TrainingSummary
    crystals: int
    result: GenerationResult
    new_valid: int
    path: Path
    known: str = ""

    @property
    def page(self) -> Path:
        """The report of the run, to be opened in a browser."""
        return self.path / "report.html"

    @property
    def symmetric(self) -> int:
        """Crystals with more symmetry than P1, at 0.1 Å."""
        return sum((row.space_group_loose or 1) > 1 for row in self.result.rows)

    def lines(self) -> list[str]:
        """What a person wants to know, in sentences."""
        return [
            f"Trained on {self.crystals} real crystals for {self.summary.result.seconds:.0f} s. "
            f"{self.summary.verdict}",
            f"{self.symmetric} of {len(self.result)} new crystals have more symmetry than P1, "
            f"{self.new_valid} are valid and of a structure that is not in the training set.",
            *([self.known] if self.known else []),
            _redrawn(self.result.rejected),
            f"Files: {self.path} (picture.png shows the best of them; structures.csv and cif/ hold "
            "all).",
            f"Open {self.page.resolve().as_uri()} in a browser, or type: "
            f"crystal-diffusion report {shlex.quote(str(self.path))} --open",
        ]


def run_demo(
    out: Path | str,
    *,
    n: int = 24,
    seconds: float = 75.0,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
    on_step: Callable[[int, int, float], None] | None = None,
    look_up: LookUp | None = None,
) -> DemoResult:
    """Train on :func:`create_demo_dataset` and generate ``n`` crystals of new compositions.

    Args:
        out: folder; a former demonstration in it is replaced.
        seconds: training time, about, at least 5.
        look_up: what is known of crystals: columns of each, and a sentence about all. Handed in,
            because nothing that makes crystals may know the index of known ones.
    """
    folder = Path(out)
    for old in (folder / "model", folder / "run"):
        if old.exists():
            shutil.rmtree(old)
    crystals = create_demo_dataset()
    say(f"{len(crystals)} real crystals: " + ", ".join(str(c["formula"]) for c in crystals))
    generator, summary = train(
        crystals,
        folder / "model",
        minutes=max(5.0, seconds) / 60,
        seed=seed,
        patience=0,
        from_scratch=True,
        on_step=on_step,
        on_estimate=lambda e: say(
            f"training {e.steps} steps, about {e.seconds:.0f} s on this machine"
        ),
    )
    say(summary.verdict)
    known = set(generator.known_elements)
    from crystal_diffusion import chemistry
    from crystal_diffusion.generation.request import parse_formula

    asked = [
        text
        for text in NEW_COMPOSITIONS
        if all(chemistry.atomic_number(el) in known for el in parse_formula(text))
    ]
    # Every crystal gets a space group first, as likely crystals of its composition have it.
    settings = GenerationSettings(symmetry=1.0)
    folder_run = folder / "run"
    rows: list[GeneratedRow] = []
    merged = GenerationResult({}, [], {}, {}, {}, {})
    each = max(1, -(-n // (len(asked) + 1)))
    requests = [Request(formula=text, z=(1, 1)) for text in asked] + [Request()]
    for number, request in enumerate(requests):
        count = min(each, n - len(merged.structures))
        if count < 1:
            break
        part = generator.run(request, count, seed=seed, settings=settings)
        for name, structure in part.structures.items():
            new_name = f"{number:02d}-{name}"
            merged.structures[new_name] = structure
            merged.plans[new_name] = part.plans[name]
        for row in part.rows:
            rows.append(replace(row, id=f"{number:02d}-{row.id}"))
        for reason, times in part.rejected.items():
            merged.rejected[reason] = merged.rejected.get(reason, 0) + times
        for stage, took in part.seconds.items():
            merged.seconds[stage] = merged.seconds.get(stage, 0.0) + took
    said = ""
    if look_up is not None:
        found, said = look_up([merged.structures[str(row.id)] for row in rows])
        rows = [
            replace(row, more={**row.more, **{name: of[name] for name in _OF_KNOWN}})
            for row, of in zip(rows, found, strict=True)
        ]
    merged.rows = rows
    from crystal_diffusion.runs.folder import RunFolder
    from crystal_diffusion.viewer.report import write_report
    from crystal_diffusion.workflows.generate import versions, write_result

    run = RunFolder.create(folder_run, overwrite=True)
    write_result(
        run,
        merged,
        {
            "command": ["crystal-diffusion", "demo"],
            "seed": seed,
            "request": {"formula": asked},
            "versions": versions(),
        },
    )
    _picture(rows, merged, run.path / "picture.png")
    write_report(run)
    new_valid = sum(row.valid and not row.copy_of_training for row in rows)
    return DemoResult(summary, len(crystals), merged, new_valid, run.path, said)


def _redrawn(rejected: Mapping[str, int]) -> str:
    """What did not pass the checks, in a sentence."""
    if not rejected:
        return "No candidate had to be drawn again."
    named = [f"{times} for {name.replace('_', ' ')}" for name, times in sorted(rejected.items())]
    return f"Candidates that failed a physical check and were drawn again: {', '.join(named)}."


def _picture(rows: Sequence[GeneratedRow], result: GenerationResult, path: Path) -> None:
    """The best symmetric crystal of each composition, conventional cell, highest groups first."""
    from crystal_diffusion.symmetry.groups import SpaceGroup
    from crystal_diffusion.viewer.painting import save_gallery
    from crystal_diffusion.viewer.scene import make_scene

    best: dict[str, GeneratedRow] = {}
    for row in rows:
        held = best.get(row.formula)
        first = held is None or (row.rank or 0) < (held.rank or 0)
        if (row.space_group_loose or 1) > 1 and first:
            best[row.formula] = row
    chosen = sorted(best.values(), key=lambda row: -(row.space_group_loose or 1))[:_PICTURES]
    scenes = [
        make_scene(
            result.structures[str(row.id)],
            title=row.formula,
            subtitle=SpaceGroup.from_number(row.space_group_loose or 1).symbol,
        )
        for row in chosen
    ]
    if scenes:
        save_gallery(scenes, path)


def main() -> DemoResult:
    """The training pipeline of the original design, from data to checked crystals."""
    return run_demo(Path("run_demo"))
