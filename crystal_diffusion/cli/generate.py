"""The verb `generate`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crystal_diffusion.cli.console import err, out, progress
from crystal_diffusion.cli.made import tell
from crystal_diffusion.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.generation.request import Request


def generate(
    model: Annotated[
        str | None, typer.Argument(help="Model folder; leave out for the pretrained model.")
    ] = None,
    formula: Annotated[str | None, typer.Option(help="Exact composition, e.g. LiFePO4.")] = None,
    z: Annotated[str | None, typer.Option("--z", help="Formula units, e.g. 2 or 1-4.")] = None,
    text: Annotated[
        str | None,
        typer.Option(help='In words: "a stable cubic lithium oxide with a band gap above 3 eV".'),
    ] = None,
    elements: Annotated[str | None, typer.Option(help="Elements to use, all of them.")] = None,
    exclude: Annotated[str | None, typer.Option(help="Elements that must not appear.")] = None,
    num_atoms: Annotated[
        str | None,
        typer.Option("--natoms", "--num-atoms", help="Atoms per cell, e.g. 8 or 8-16."),
    ] = None,
    lattice: Annotated[
        str | None, typer.Option(help="Given cell: a,b,c,alpha,beta,gamma (Å, degrees).")
    ] = None,
    spacegroup: Annotated[
        str | None,
        typer.Option("--spacegroup", "--space-group", help="Number, symbol or any."),
    ] = None,
    crystal_system: Annotated[str | None, typer.Option(help="For example cubic.")] = None,
    point_group: Annotated[str | None, typer.Option(help="For example m-3m.")] = None,
    symmetry: Annotated[
        str | None,
        typer.Option(help="Groups of noise starts: learned, free, or the share that gets one."),
    ] = None,
    idealise: Annotated[
        float,
        typer.Option(help="Å; free crystals this near to more symmetry get it exactly; 0: never."),
    ] = 0.1,
    wyckoff: Annotated[str | None, typer.Option(help="For example Sr:1a,Ti:1b,O:3c.")] = None,
    cell: Annotated[str, typer.Option(help="primitive, conventional or niggli.")] = "niggli",
    charge_neutral: Annotated[
        bool, typer.Option("--charge-neutral", help="Generated elements balance their charges.")
    ] = False,
    host: Annotated[Path | None, typer.Option(help="Structure file that stays as it is.")] = None,
    add: Annotated[str | None, typer.Option(help="Atoms to add to the host, e.g. Li2.")] = None,
    properties: Annotated[
        list[str] | None,
        typer.Option("--property", help='"band_gap=1.5..2.5", "density<4"; may be repeated.'),
    ] = None,
    guidance: Annotated[
        float, typer.Option(help="How strongly properties steer; 0: not, 1: as learned.")
    ] = 1.5,
    select: Annotated[
        int, typer.Option(help="Candidates per crystal kept, where properties are asked; 1: all.")
    ] = 4,
    tries: Annotated[
        int, typer.Option(help="Draws per crystal from noise; the lowest predicted energy stays.")
    ] = 3,
    n: Annotated[int, typer.Option("-n", "--number", help="Number of crystals.")] = 10,
    first: Annotated[int, typer.Option(help="Index of the first crystal of the seed.")] = 0,
    seed: Annotated[int, typer.Option(help="Crystal i of a seed is always the same.")] = 0,
    folder: Annotated[Path, typer.Option("--out", "-o", help="Run folder.")] = Path("run"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write into a used folder.")
    ] = False,
    sampling_steps: Annotated[
        int | None,
        typer.Option(
            help="Network calls per crystal; by default 8 with a given composition, else 20."
        ),
    ] = None,
    eta: Annotated[float, typer.Option(help="0: deterministic (DDIM), 1: ancestral (DDPM).")] = 0.0,
    repulsion: Annotated[
        float, typer.Option(help="Pair and cell limits while sampling; 0: both off.")
    ] = 1.0,
    noise_share: Annotated[
        float | None, typer.Option(help="Share that starts from noise, not from a prototype.")
    ] = None,
    known_last: Annotated[
        bool, typer.Option("--known-last", help="Structures known for the composition come last.")
    ] = False,
    symmetrise: Annotated[
        float | None, typer.Option(help="Also write symmetrised versions at this tolerance, Å.")
    ] = None,
    scorer: Annotated[
        str, typer.Option(help="What orders: score, none, or a potential such as diep.")
    ] = "score",
    profile: Annotated[
        str, typer.Option(help="Checks: strict, default or permissive.")
    ] = "default",
    max_attempts: Annotated[int, typer.Option(help="Tries per crystal.")] = 8,
    like_training: Annotated[
        float | None,
        typer.Option(help="0 to 1: how near to your crystals, where no formula is given."),
    ] = None,
    library: Annotated[
        str | None, typer.Option(help="Prototypes from own, shipped or both crystals.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    executor: Annotated[
        str | None,
        typer.Option(help="Several workers on processors: local, ray or ray:ADDRESS."),
    ] = None,
    processes: Annotated[int | None, typer.Option(help="Workers of the executor.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors.")] = False,
) -> None:
    """Generate crystals that pass the physical checks, and write a run folder.

    Example: crystal-diffusion generate --formula LiFePO4 -n 20 --seed 1 --out run/
    """
    from crystal_diffusion.diffusion.sampler import SamplerSettings
    from crystal_diffusion.generation.asking import asked_properties
    from crystal_diffusion.generation.loading import load
    from crystal_diffusion.generation.request import Request, parse_lattice, parse_range
    from crystal_diffusion.generation.settings import GenerationSettings
    from crystal_diffusion.physics.validator import PhysicsValidator
    from crystal_diffusion.workflows.generate import generate_run

    if executor is not None and device not in ("auto", "cpu"):
        raise InputError(
            f"--executor works on processors, --device {device} was asked for; give one of them."
        )
    if host is not None and not add:
        raise InputError("--host needs what is to be added to it; give for example --add Li2.")
    generator = load(model, device, library)
    request = Request(
        formula=formula,
        z=parse_range(z, "--z") if z else None,
        elements=_symbols(elements, "--elements"),
        exclude=_symbols(exclude, "--exclude"),
        num_atoms=parse_range(num_atoms, "--natoms") if num_atoms else None,
        lattice=parse_lattice(lattice) if lattice else None,
        spacegroup=spacegroup,
        crystal_system=crystal_system,
        point_group=point_group,
        wyckoff=wyckoff,
        cell=cell,
        charge_neutral=charge_neutral,
        host=_host(host),
        add=add,
        # The judge is read from disk only where it is asked.
        properties=(
            asked_properties(properties, generator.knowledge.properties) if properties else {}
        ),
    )
    if text is not None:
        request = _with_text(request, text, quiet)
    if formula and not quiet:
        _say_formula(formula)
    settings = GenerationSettings(
        sampler=SamplerSettings.of(sampling_steps, eta, repulsion),
        noise_share=noise_share,
        known_last=known_last,
        scorer=scorer,
        symmetry=symmetry,
        idealise=idealise,
        max_attempts=max_attempts,
        like_training=like_training,
        guidance=guidance,
        select=select,
        tries=tries,
        validator=None if profile == "default" else PhysicsValidator(profile=profile),
    )
    bar = progress(quiet)
    task = bar.add_task("generating", total=n)
    with bar:
        run, result = generate_run(
            generator,
            request,
            n,
            folder,
            seed=seed,
            first=first,
            settings=settings,
            overwrite=overwrite,
            command=["crystal-diffusion", *sys.argv[1:]],
            progress=lambda done: bar.update(task, completed=done),
            executor=executor,
            processes=processes,
        )
    if symmetrise is not None:
        from crystal_diffusion.generation.symmetric import write_symmetrised

        write_symmetrised(run, symmetrise)
    raise typer.Exit(tell(run, result, n, max_attempts, quiet))


def _say_formula(formula: str) -> None:
    """How a formula was read, where it could be meant otherwise."""
    from crystal_diffusion.generation.request import formula_as_taken, is_rewritten, parse_formula

    if is_rewritten(formula):
        out.print(f"{formula} is taken as {formula_as_taken(formula)}", highlight=False)
    if formula.isupper():
        from crystal_diffusion.generation.spelling import meant_formula

        meant, read = meant_formula(formula), parse_formula(formula)
        if meant and len(parse_formula(meant)) < len(read) > 2:
            out.print(
                f"{formula} is read as {', '.join(read)}; did you mean {meant}?", highlight=False
            )


def _symbols(text: str | None, option: str) -> tuple[str, ...]:
    found = tuple(part for part in re.split(r"[,;/\s]+", text or "") if part)
    if text is not None and not found:
        raise InputError(f"{option} {text!r} names no element; give symbols such as Li,Fe.")
    return found


def _with_text(request: Request, text: str, quiet: bool) -> Request:
    """The request with what a sentence asks for; how it was understood is printed first."""
    from crystal_diffusion.generation.words import read_text

    reading = read_text(text)
    for line in reading.lines():
        if not quiet or reading.contradictory:
            out.print(line, highlight=False, markup=False, soft_wrap=True)
    return reading.joined(request)


def _host(path: Path | None) -> Structure | None:
    if path is None:
        return None
    from crystal_diffusion.data import iter_crystals

    record = next(iter(iter_crystals(path)))
    if record.structure is None:
        raise InputError(f"{path}: {record.problem}; give one ordered structure as host.")
    for note in record.notes:
        err.print(f"{path.name}: {note}", highlight=False, markup=False)
    return record.structure
