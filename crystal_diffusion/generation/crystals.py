"""What `CrystalGenerator.generate` returns: a list of structures that knows what each one is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crystal_diffusion.crystal import to_atoms

if TYPE_CHECKING:
    import pandas as pd

    from crystal_diffusion.generation.settings import GenerationResult

#: What each structure carries in ``.properties``, and ``Atoms`` in ``.info``.
CARRIED = ("id", "score", "rank", "start", "confidence")


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
