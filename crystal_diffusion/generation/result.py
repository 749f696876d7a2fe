"""What a run made: structures, rows and the rest; and the list that `generate` returns."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crystal_diffusion.crystal import to_atoms
from crystal_diffusion.generation.asking import PropertySelection
from crystal_diffusion.generation.finishing import Original
from crystal_diffusion.generation.plan import Plan

if TYPE_CHECKING:
    import pandas as pd
    from pymatgen.core import Structure

    from crystal_diffusion.generation.confidence import HowMany
    from crystal_diffusion.generation.rows import GeneratedRow
    from crystal_diffusion.ranking.candidates import Pool

#: What each structure carries in ``.properties``, and ``Atoms`` in ``.info``.
CARRIED = ("id", "score", "rank", "start", "confidence")


class Clock:
    """Wall seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """The time since the last lap, or since the start, belongs to ``stage``."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


@dataclass(repr=False)
class GenerationResult:
    """What a run made.

    Attributes:
        structures: by id, best rank first.
        rows: one table row each, the same order.
        rejected: how many candidates failed, by reason.
        missing: indices of crystals that were given up, with the last reason.
        plans: the plan of each structure.
        seconds: wall time by stage.
        interrupted: whether Ctrl-C ended it before all crystals were made.
        originals: crystals as sampled, by id, where their symmetry was made exact.
        pools: prototype candidates that those of a reduced formula are judged against.
        how_many: for each composition, how many first candidates hold the answer with 50, 80, 90 %.
        confidence_source: where the confidence comes from, in words; empty where there is none.
        formula_units: numbers of formula units per cell that were tried, where a formula was given.
        selection: what was asked of properties and how candidates were chosen; None for nothing.
    """

    structures: dict[str, Structure]
    rows: list[GeneratedRow]
    rejected: dict[str, int]
    missing: dict[int, str]
    plans: dict[str, Plan]
    seconds: dict[str, float]
    interrupted: bool = False
    originals: dict[str, Original] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)
    formula_units: tuple[int, ...] = ()
    how_many: list[HowMany] = field(default_factory=list)
    confidence_source: str = ""
    selection: PropertySelection | None = None

    def predictions(self, name: str) -> Mapping[str, float | None]:
        """Columns of what was predicted of a crystal; none where nothing was asked."""
        return {} if self.selection is None else self.selection.cells[name]

    def __len__(self) -> int:
        return len(self.structures)

    def __iter__(self) -> Iterator[Structure]:
        return iter(self.structures.values())

    def __getitem__(self, which: int | str) -> Structure:
        """A structure by its place from 0, best first, or by its id."""
        if isinstance(which, str):
            return self.structures[which]
        return list(self.structures.values())[which]

    def __repr__(self) -> str:
        return summary(self)

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each crystal, columns as in ``structures.csv``."""
        return table(self.rows)

    def _repr_html_(self) -> str:
        """A gallery for notebooks."""
        from crystal_diffusion.viewer.view import gallery_html

        captions = [f"{row.id} {row.formula}" for row in self.rows]
        return gallery_html(list(self.structures.values()), captions)


class Crystals(list[Any]):
    """Structures, best first; a list in every way, with the table of the run beside it.

    Args:
        result: of the run; as_atoms: ASE ``Atoms`` instead of pymatgen ``Structure``.
    """

    def __init__(self, result: GenerationResult, as_atoms: bool = False) -> None:
        found = []
        for structure, row in zip(result, result.rows, strict=True):
            carried = {name: row.get(name) for name in CARRIED}
            own = structure.copy()
            own.properties = {k: v for k, v in carried.items() if v is not None}
            if as_atoms:
                atoms = to_atoms(own)
                atoms.info.update(own.properties)
                own = atoms
            found.append(own)
        super().__init__(found)
        self.result = result

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each crystal, columns as in ``structures.csv``."""
        return self.result.to_dataframe()

    def __repr__(self) -> str:
        return summary(self.result)

    def _repr_html_(self) -> str:
        return self.result._repr_html_()


def summary(result: GenerationResult, most: int = 5) -> str:
    """A few lines on what was made."""
    lines = [f"{len(result)} crystals, best first"]
    for row in list(result.rows)[:most]:
        score = "" if row.score is None else f", score {row.score:.2f}"
        known = f", known as {row.nearest_train_id}" if row.copy_of_training else ""
        group = row.get("space_group_0.1")
        lines.append(
            f"  {row.id} {row.formula}, {row.num_atoms} atoms, group {group}, from {row.start}"
            f"{score}{known}"
        )
    if len(result) > most:
        lines.append(f"  … and {len(result) - most} more; to_dataframe() has all of them")
    if result.missing:
        lines.append(f"  {len(result.missing)} could not be made")
    return "\n".join(lines)


def table(rows: Sequence[Any]) -> pd.DataFrame:
    """Rows as a data frame, checks left out."""
    import pandas as pd

    plain = [{k: v for k, v in row.to_dict().items() if k != "checks"} for row in rows]
    return pd.DataFrame(plain)
