"""`visualize_crystal`: one crystal in three dimensions, in a notebook, a browser or a PNG."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crystal_diffusion.cell_geometry import cell_angles, edge_lengths
from crystal_diffusion.errors import InputError
from crystal_diffusion.viewer import page
from crystal_diffusion.viewer.scene import Scene, element_table, make_scene

_KEYS = (
    "drag or arrow keys turn, shift and arrows roll, plus and minus or wheel zoom, "
    "a, b, c look along an axis, 0 resets"
)

_START_SINGLE = """
(() => {
  const read = id => JSON.parse(document.getElementById(id).textContent);
  const canvas = document.querySelector("canvas");
  const cell = new CrystalCell.Cell(canvas, read("scene"), read("elements"),
    { label: document.querySelector("output") });
  canvas.cell = cell;
  CrystalCell.toolbar(document.querySelector(".toolbar"), cell);
})();
"""

_START_GALLERY = """
(() => {
  const read = id => JSON.parse(document.getElementById(id).textContent);
  const scenes = read("scenes");
  CrystalCell.lazily(document, key => scenes[Number(key)], read("elements"));
})();
"""


class CrystalView:
    """A picture of one crystal that can be turned.

    In a notebook it shows itself; `save` writes a page that opens from disk without network, and
    `png` a picture without a browser.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def __repr__(self) -> str:
        return f"<CrystalView {self.scene.description}>"

    def _repr_html_(self) -> str:
        return page.framed(self.html(framed=True), self.scene.description, 460)

    def html(self, *, framed: bool = False) -> str:
        """The whole page as text.

        Args:
            framed: for a small frame: the picture takes the height that is left.
        """
        scene = self.scene
        edges, angles = edge_lengths(scene.lattice), cell_angles(scene.lattice)
        facts = (
            f"{len(scene.numbers)} atoms · a, b, c = "
            + ", ".join(f"{e:.3f}" for e in edges)
            + " Å · α, β, γ = "
            + ", ".join(f"{x:.2f}" for x in angles)
            + f"° · {abs(np.linalg.det(scene.lattice)):.2f} Å³"
        )
        body = (
            f'<body>\n<main class="single{" framed" if framed else ""}">\n'
            f'<header><h1>{page.formula_html(scene.title)}</h1><span class="quiet">{facts}</span>'
            "</header>\n"
            f'<canvas tabindex="0" role="application" aria-roledescription="3D cell" '
            f'aria-label="{page.escape(scene.description)} Keys: {_KEYS}."></canvas>\n'
            f"{page.legend_html(scene)}\n"
            '<div class="toolbar" role="toolbar" aria-label="View"></div>\n'
            f"<output></output>\n"
            f'<p class="hidden">{page.escape(scene.description)}</p>\n</main>\n'
            f"{page.data_block('scene', scene.to_dict())}\n"
            f"{page.data_block('elements', element_table(scene.numbers))}\n</body>"
        )
        return page.document(
            scene.title,
            body,
            styles=page.asset("base.css"),
            scripts=page.asset("cell.js") + _START_SINGLE,
        )

    def save(self, path: str | Path) -> Path:
        """Write ``.html`` or ``.png``, by the name's ending, and return the path.

        Raises:
            InputError: for another ending, or when the file cannot be written.
        """
        target = Path(path)
        ending = target.suffix.lower()
        if ending in (".html", ".htm"):
            return page.write_page(target, self.html())
        if ending == ".png":
            return self.png(target)
        raise InputError(
            f"{target}: cannot save a picture with the ending {ending!r}; use .html for an "
            "interactive page or .png."
        )

    def png(self, path: str | Path, *, width: int = 900, height: int = 760) -> Path:
        """Write a PNG, ``width`` by ``height`` pixels, and return the path."""
        from crystal_diffusion.viewer.painting import save_png

        return save_png(self.scene, path, width=width, height=height)

    def show(self) -> Path:
        """Open the page in the web browser of this machine; returns the temporary file."""
        import webbrowser

        folder = Path(tempfile.mkdtemp(prefix="crystal-"))
        path = self.save(folder / "crystal.html")
        webbrowser.open(path.as_uri())
        return path


def visualize_crystal(
    positions: Any,
    lattice: Any = None,
    atom_types: Any = None,
    *,
    path: str | Path | None = None,
    mask: Any = None,
    title: str | None = None,
    bonds: bool = True,
    images: bool = True,
    show: bool = False,
) -> CrystalView:
    """Look at one crystal.

    ``visualize_crystal(generated[0].numpy(), lattice[0].numpy())`` as the last line of a notebook
    cell shows it; in a script give ``path``. No window is opened unless ``show`` is true.

    Args:
        positions: fractional coordinates ``(atoms, 3)``; or a pymatgen ``Structure`` or ASE
            ``Atoms``, then ``lattice`` and ``atom_types`` are not needed.
        lattice: ``(3, 3)`` rows a, b, c in Å.
        atom_types: ``(atoms,)`` atomic numbers or symbols; without them all atoms are grey.
        path: write the picture here: ``.html`` (interactive, needs no network) or ``.png``.
        mask: ``(atoms,)``, 1 where there is an atom, 0 for padding.
        title: words above the picture; the formula if not given.
        bonds: draw bonds (see `scene.periodic_bonds` for what counts as one).
        images: repeat atoms that lie on the border of the cell.
        show: open the page in a web browser.

    Returns:
        A `CrystalView` with ``save("x.html")`` and ``png("x.png")``.

    Raises:
        InputError: for shapes that do not fit, NaN, a cell without volume, a file that cannot be
            written.
    """
    view = CrystalView(
        make_scene(
            positions, lattice, atom_types, mask=mask, title=title, bonds=bonds, images=images
        )
    )
    if path is not None:
        view.save(path)
    if show:
        view.show()
    return view


def gallery_page(
    structures: Iterable[Any], captions: Sequence[str] | None = None, *, title: str | None = None
) -> str:
    """Many crystals side by side as a whole page that needs nothing else.

    Args:
        structures: pymatgen ``Structure`` or ASE ``Atoms`` objects.
        captions: one line each; formulas if not given.
        title: of the page; the number of crystals if not given.

    Raises:
        InputError: when captions and structures differ in number.
    """
    scenes = [make_scene(structure) for structure in structures]
    texts = [scene.title for scene in scenes] if captions is None else list(captions)
    if len(texts) != len(scenes):
        raise InputError(
            f"captions has {len(texts)} entries for {len(scenes)} structures; give one each."
        )
    figures = "".join(
        f'<figure><canvas data-scene="{number}" tabindex="0" role="application" '
        f'aria-roledescription="3D cell" aria-label="{page.escape(scene.description)}"></canvas>'
        f"<figcaption>{page.formula_html(text) if captions is None else page.escape(text)}"
        "</figcaption></figure>\n"
        for number, (scene, text) in enumerate(zip(scenes, texts, strict=True))
    )
    numbers = np.concatenate([scene.numbers for scene in scenes]) if scenes else np.zeros(0, int)
    body = (
        f'<body>\n<main class="grid">\n{figures or "No structures."}</main>\n'
        f"{page.data_block('scenes', [scene.to_dict() for scene in scenes])}\n"
        f"{page.data_block('elements', element_table(numbers))}\n</body>"
    )
    return page.document(
        title or f"{len(scenes)} crystals",
        body,
        styles=page.asset("base.css"),
        scripts=page.asset("cell.js") + _START_GALLERY,
    )


def gallery_html(
    structures: Iterable[Any], captions: Sequence[str] | None = None, *, height: int = 480
) -> str:
    """Many crystals side by side for a notebook: `gallery_page` in a frame that scrolls.

    Args:
        structures: pymatgen ``Structure`` or ASE ``Atoms`` objects.
        captions: one line each; formulas if not given.
        height: of the frame in pixels.

    Raises:
        InputError: when captions and structures differ in number.
    """
    items = list(structures)
    return page.framed(gallery_page(items, captions), f"{len(items)} crystals", height)
