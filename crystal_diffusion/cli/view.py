"""The verb `view`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crystal_diffusion.cli.console import OK, PARTIAL, err, out

if TYPE_CHECKING:
    from pymatgen.core import Structure


def view(
    source: Annotated[
        Path,
        typer.Argument(help="File, folder or run with crystals.", show_default=False),
    ],
    name: Annotated[
        str | None, typer.Option("--id", help="Only this crystal.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Page (.html) or picture (.png, .svg); NAME.html here if not given.",
        ),
    ] = None,
    cell: Annotated[
        str, typer.Option(help="conventional, or given: the cell as the file has it.")
    ] = "conventional",
    supercell: Annotated[str, typer.Option(help="Repeat the cell: 2 or 2x2x1.")] = "1",
    direction: Annotated[str, typer.Option(help="standard, or look along a, b or c.")] = "standard",
    polyhedra: Annotated[
        bool, typer.Option("--polyhedra", help="Coordination polyhedra of cations.")
    ] = False,
    labels: Annotated[bool, typer.Option("--labels", help="The symbol on each atom.")] = False,
    bonds: Annotated[bool, typer.Option(help="Draw bonds.")] = True,
    complete: Annotated[
        bool | None,
        typer.Option(
            help="Neighbours of cations also outside of the cell; by default unless the bare cube "
            "shows every bond.",
            show_default=False,
        ),
    ] = None,
    width: Annotated[int, typer.Option(help="Of a picture in pixels; 2000 for print.")] = 900,
    relaxed: Annotated[
        bool, typer.Option("--relaxed", help="Of a run: the relaxed crystals.")
    ] = False,
    most: Annotated[int, typer.Option(help="At most this many crystals in a gallery.")] = 200,
    show: Annotated[
        bool, typer.Option("--open", help="Open it in the web browser of this machine.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing but errors.")] = False,
) -> None:
    """Look at crystals: one to turn, several as a gallery, or a picture of one.

    Exit code 0: written; 1: written, but some crystals could not be read; 2: nothing to show.

    Example: crystal-diffusion view POSCAR --out cell.svg --polyhedra
    """
    from crystal_diffusion.errors import InputError
    from crystal_diffusion.viewer.scene import Look, make_scene, supercell_of
    from crystal_diffusion.viewer.view import CrystalView, gallery_page

    if file is not None and file.suffix.lower() not in (".html", ".htm", ".png", ".svg"):
        raise InputError(
            f"{file}: unknown kind of picture; end the name of --out in .html, .png or .svg"
        )
    look = Look(
        cell=cell,
        supercell=supercell_of(supercell),
        direction=direction,
        bonds=bonds,
        complete=complete,
        polyhedra=polyhedra,
        labels=labels,
    )
    found, problems = _read(source, relaxed)
    if name is not None:
        if name not in found:
            known = ", ".join(list(found)[:5])
            raise InputError(f"{source}: holds no crystal {name!r}; the first ids are {known}")
        found, problems = {name: found[name]}, []
    if not found:
        reason = f" ({problems[0]})" if problems else ""
        raise InputError(f"{source}: holds no crystal that can be drawn{reason}")
    stem = source.resolve().name.split(".")[0]
    if any(sign in stem for sign in "*?["):
        stem = source.resolve().parent.name
    target = file or Path(f"{stem or 'crystals'}.html")
    if len(found) == 1:
        picture = CrystalView(make_scene(next(iter(found.values())), look=look))
        picture.save(target, width=width)
        text = picture.scene.description
    elif target.suffix.lower() in (".png", ".svg"):
        kind = target.suffix[1:].upper()
        raise InputError(
            f"{source}: holds {len(found)} crystals; choose one for a {kind} with --id"
        )
    else:
        from crystal_diffusion.viewer.page import write_page

        part = dict(list(found.items())[: max(most, 1)])
        captions = [f"{k}: {s.composition.reduced_formula}" for k, s in part.items()]
        title = source.resolve().name
        write_page(target, gallery_page(part.values(), captions, title=title, look=look))
        text = f"{len(part)} of {len(found)} crystals"
    for problem in problems:
        err.print(f"not drawn: {problem}", highlight=False, markup=False, soft_wrap=True)
    if not quiet:
        out.print(f"{text}\nwritten: {target}", highlight=False, markup=False, soft_wrap=True)
    if show:
        import webbrowser

        webbrowser.open(target.resolve().as_uri())
    raise typer.Exit(PARTIAL if problems else OK)


def _read(source: Path, relaxed: bool) -> tuple[dict[str, Structure], list[str]]:
    """Crystals by id, and what could not be read."""
    from crystal_diffusion.data.readers import iter_crystals
    from crystal_diffusion.runs.folder import MANIFEST, RunFolder

    if relaxed:
        source = source / "relaxed.extxyz"
    elif (source / MANIFEST).is_file():
        return dict(RunFolder.open(source).structures()), []
    found: dict[str, Structure] = {}
    problems = []
    for record in iter_crystals(source, disorder="order", left_handed="swap"):
        if record.structure is None:
            problems.append(f"{record.id}: {record.problem}")
        else:
            found[record.id] = record.structure
    return found, problems
