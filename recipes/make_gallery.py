"""Make the gallery of the documentation: the first answer for a few compounds, as it came.

    python recipes/make_gallery.py docs

Writes ``DOCS/gallery.md`` and ``DOCS/pictures/gallery.png``. Nothing is picked by hand: each
picture is the crystal ranked first by the command that stands below it.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.image import imread

import crystal_diffusion as cd
from crystal_diffusion.generation.loading import load
from crystal_diffusion.workflows.generate import generate_run

#: Formula, and what a chemist calls the structure that is expected.
COMPOUNDS = (
    ("LiFePO4", "olivine"),
    ("SrTiO3", "perovskite"),
    ("MgAl2O4", "spinel"),
    ("TiNiSn", "half-Heusler"),
    ("CsPbBr3", "halide perovskite"),
    ("Na3SbS4", "solid electrolyte"),
    ("YBa2Cu3O7", "superconductor"),
    ("Ti3SiC2", "MAX phase"),
)
SEED, NUMBER = 1, 20
HEADINGS = (
    "compound",
    "expected",
    "space group of the first answer",
    "atoms in the file",
    "start",
    "nearest in the library",
)


@dataclass(frozen=True)
class Shown:
    """One picture with its words."""

    formula: str
    kind: str
    group: str
    start: str
    atoms: int
    known: str
    file: Path


def make(folder: Path) -> list[Shown]:
    """Ask for each compound and draw the crystal that is ranked first."""
    from pymatgen.core import Structure

    generator = load(None, "cpu")
    shown = []
    for formula, kind in COMPOUNDS:
        out = folder / formula
        run, result = generate_run(generator, cd.Request(formula=formula), NUMBER, out, seed=SEED)
        best = min(result.rows, key=lambda row: row["rank"] or 10**9)
        structure = Structure.from_file(out / "cif" / f"{best['id']}.cif")
        picture = folder / f"{formula}.png"
        cd.visualize_crystal(structure, path=picture, title=" ")
        symbol, number = structure.get_space_group_info(symprec=0.1)
        known = str(best["nearest_train_id"] or "–")
        group = f"{symbol} ({number})"
        shown.append(
            Shown(formula, kind, group, str(best["start"]), len(structure), known, picture)
        )
        print(shown[-1], run.path, flush=True)
    return shown


def subscripts(formula: str) -> str:
    """A formula with its digits below the line."""
    return formula.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("docs", type=Path)
    docs = parser.parse_args().docs
    with tempfile.TemporaryDirectory() as name:
        shown = make(Path(name))
        figure, axes = plt.subplots(2, 4, figsize=(12, 6.6), dpi=90)
        for axis, one in zip(axes.ravel(), shown, strict=True):
            axis.imshow(imread(one.file))
            axis.set_title(
                f"{subscripts(one.formula)}: {one.group}\nexpected: {one.kind}", fontsize=11
            )
            axis.axis("off")
        figure.tight_layout()
        figure.savefig(docs / "pictures" / "gallery.png")
    rows = "\n".join(
        f"| {subscripts(one.formula)} | {one.kind} | {one.group} | {one.atoms} | {one.start} | "
        f"{one.known} |"
        for one in shown
    )
    text = f"""# Gallery

The first answer of the pretrained model for eight compounds, as it came, and the structure that a
chemist expects. Where the space group is not that of the expected structure, the first answer is
not right: the spinel of MgAl₂O₄ (227) is further down in its table.
`recipes/make_gallery.py` made this page and the picture.

![The first answer for eight compounds](pictures/gallery.png)

Each was made by this command, with its formula:

```
crystal-diffusion generate --formula LiFePO4 -n {NUMBER} --seed {SEED} --out run/
```

| {" | ".join(HEADINGS)} |
|{"---|" * len(HEADINGS)}
{rows}
"""
    (docs / "gallery.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
