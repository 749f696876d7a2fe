"""`visualize_crystal`: one crystal in three dimensions, in a notebook, a browser or a PNG."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.viewer import page
from crystal_diffusion.viewer.formulas import formula_html
from crystal_diffusion.viewer.scene import (
    Look,
    Scene,
    element_table,
    make_scene,
    supercell_of,
)

_KEYS = (
    "drag or arrow keys turn, shift and arrows roll, plus and minus or wheel zoom, "
    "a, b, c look along an axis, 0 resets; a click on two atoms measures their distance, on three "
    "the angle; n and p step through the atoms, Enter picks one"
)

_START_SINGLE = """
(() => {
  const read = id => JSON.parse(document.getElementById(id).textContent);
  const canvas = document.querySelector("canvas");
  const cell = new CrystalCell.Cell(canvas, read("scene"), read("elements"),
    { label: document.querySelector("output") });
  canvas.cell = cell;
  cell.onfacts = words => { document.getElementById("facts").textContent = words; };
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
        beside = f" <span>{formula_html(scene.subtitle)}</span>" if scene.subtitle else ""
        body = (
            f'<body>\n<main class="single{" framed" if framed else ""}">\n'
            f"<header><h1>{formula_html(scene.title)}{beside}</h1>"
            f'<span class="quiet" id="facts">{scene.facts}</span></header>\n'
            f'<canvas tabindex="0" role="application" aria-roledescription="3D cell" '
            f'aria-label="{page.escape(scene.description)} Keys: {_KEYS}."></canvas>\n'
            f"{page.legend_html(scene)}\n"
            '<div class="toolbar" role="toolbar" aria-label="View"></div>\n'
            f'<output aria-live="polite"></output>\n'
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

    def save(self, path: str | Path, *, width: int = 900) -> Path:
        """Write ``.html``, ``.png`` or ``.svg``, by the name's ending, and return the path.

        Args:
            path: of the file.
            width: of a picture in pixels.

        Raises:
            InputError: for another ending, or when the file cannot be written.
        """
        target = Path(path)
        ending = target.suffix.lower()
        if ending in (".html", ".htm"):
            return page.write_page(target, self.html())
        if ending == ".png":
            return self.png(target, width=width)
        if ending == ".svg":
            return self.svg(target, width=width)
        raise InputError(
            f"{target}: cannot save a picture with the ending {ending!r}; use .html for an "
            "interactive page, .svg or .png."
        )

    def png(self, path: str | Path, *, width: int = 900, height: int | None = None) -> Path:
        """Write a PNG and return the path.

        Args:
            path: of the file.
            width: pixels; 2000 and more for print.
            height: pixels; in proportion to the width if not given.
        """
        from crystal_diffusion.viewer.painting import save_png

        return save_png(self.scene, path, width=width, height=height or round(width * 76 / 90))

    def svg(self, path: str | Path, *, width: int = 900, height: int | None = None) -> Path:
        """Write an SVG, which can be scaled and edited, and return the path."""
        from crystal_diffusion.viewer.vector import save_svg

        return save_svg(self.scene, path, width=width, height=height or round(width * 76 / 90))

    def shown(self, **changes: Any) -> CrystalView:
        """The same crystal with another look, such as ``polyhedra=True`` or ``cell="given"``."""
        return CrystalView(self.scene.shown(**changes))

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
    cell: str = "conventional",
    supercell: int | str | Sequence[int] = 1,
    direction: str = "standard",
    bonds: bool = True,
    images: bool = True,
    complete: bool | None = None,
    polyhedra: bool = False,
    labels: bool = False,
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
        path: write the picture here: ``.html`` (interactive, needs no network), ``.svg`` or
            ``.png``.
        mask: ``(atoms,)``, 1 where there is an atom, 0 for padding.
        title: words above the picture; the formula if not given.
        cell: ``"conventional"`` shows the conventional standard cell (no atom is moved),
            ``"given"`` the cell as it is.
        supercell: repeat the cell: ``2``, ``"2x2x1"`` or ``(2, 2, 1)``.
        direction: ``"standard"``, or look along ``"a"``, ``"b"`` or ``"c"``.
        bonds: draw bonds (see `bonds.periodic_bonds` for what counts as one).
        images: repeat atoms that lie on the border of the cell.
        complete: draw the neighbours of cations also outside of the cell; by default unless the
            bare cube shows every bond, as of rock salt.
        polyhedra: draw the coordination polyhedra of cations.
        labels: write the symbol on each atom (pictures; in pages by a button).
        show: open the page in a web browser.

    Returns:
        A `CrystalView` with ``save("x.html")``, ``svg("x.svg")`` and ``png("x.png")``.

    Raises:
        InputError: for shapes that do not fit, NaN, a cell without volume, a look that does not
            exist, a file that cannot be written.
    """
    look = Look(
        cell=cell,
        supercell=supercell_of(supercell),
        direction=direction,
        bonds=bonds,
        images=images,
        complete=complete,
        polyhedra=polyhedra,
        labels=labels,
    )
    view = CrystalView(
        make_scene(positions, lattice, atom_types, mask=mask, title=title, look=look)
    )
    if path is not None:
        view.save(path)
    if show:
        view.show()
    return view


def gallery_page(
    structures: Iterable[Any],
    captions: Sequence[str] | None = None,
    *,
    title: str | None = None,
    look: Look | None = None,
) -> str:
    """Many crystals side by side as a whole page that needs nothing else.

    Args:
        structures: pymatgen ``Structure`` or ASE ``Atoms`` objects.
        captions: one line each; formulas if not given.
        title: of the page; the number of crystals if not given.
        look: what is shown of each.

    Raises:
        InputError: when captions and structures differ in number.
    """
    scenes = [make_scene(structure, look=look) for structure in structures]
    texts = [scene.title for scene in scenes] if captions is None else list(captions)
    if len(texts) != len(scenes):
        raise InputError(
            f"captions has {len(texts)} entries for {len(scenes)} structures; give one each."
        )
    figures = "".join(
        f'<figure><canvas data-scene="{number}" tabindex="0" role="application" '
        f'aria-roledescription="3D cell" aria-label="{page.escape(scene.description)}"></canvas>'
        f"<figcaption>{formula_html(text)}</figcaption></figure>\n"
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
