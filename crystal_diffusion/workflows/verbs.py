"""Verbs of the command line for Python: check, validate, screen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_diffusion.data.check import CheckTable, check_source
from crystal_diffusion.errors import InputError, refuse_unknown
from crystal_diffusion.physics.report import ValidationReport
from crystal_diffusion.physics.validator import PhysicsValidator

if TYPE_CHECKING:
    from crystal_diffusion.screening.rows import ScreenOutcome


def check(source: Any, **options: Any) -> CheckTable:
    """What is wrong or odd with crystals, before training on them.

    Args:
        source: path, glob, folder, pymatgen ``Structure``, ASE ``Atoms``, or a list of these.
        **options: ``disorder``, ``left_handed``, ``min_distance``, ``duplicates``, ``processes``;
            see :func:`crystal_diffusion.data.check.check_source`.

    Raises:
        InputError: a source that cannot be read, or an unknown keyword.
    """
    known = ("disorder", "left_handed", "min_distance", "duplicates", "processes", "progress")
    refuse_unknown("check", options, known)
    return check_source(source, **options)


def validate(
    source: Any, *, profile: str = "default", limits: Any = None
) -> dict[str, ValidationReport]:
    """Check crystals from anywhere against physics and chemistry, in this process.

    Args:
        source: path, glob, folder, pymatgen ``Structure``, ASE ``Atoms``, or a list of these.
        profile: "default", "strict" or "permissive"; limits: see :class:`PhysicsValidator`.

    Returns:
        A report for each crystal, by id.

    Raises:
        InputError: a crystal that cannot be read, with the reason.
    """
    validator = PhysicsValidator(profile=profile, limits=limits)
    return {name: validator.validate(s) for name, s in _structures(source).items()}


def screen(
    source: Any,
    out: str | Path | None = None,
    *,
    potential: str | Iterable[str] | None = None,
    relax_steps: int = 100,
    fmax: float = 0.05,
    smax: float = 0.1,
    fix_cell: bool = False,
    time_limit: float = 600.0,
    progress: Callable[[str, int, int], None] | None = None,
    **settings: Any,
) -> ScreenOutcome:
    """From candidates to a short list: relax, energies, hull, novelty, rank.

    Args:
        source: a run folder, whatever :func:`check` reads, or crystals in memory (then ``out`` is
            needed).
        out: folder of the results; the run folder itself, else ``NAME-screened`` beside the source.
        potential: name of one or more potentials (``potentials`` is the same); the installed one
            if left out.
        relax_steps: most relaxation steps; fmax: largest force (eV/Å) and smax: stress (GPa) of a
            converged structure; fix_cell: move atoms only; time_limit: seconds for one structure.
        progress: called with stage, done, total.
        **settings: other fields of :class:`~crystal_diffusion.screening.settings.ScreenSettings`,
            for example ``top=10``, ``executor="here"``, ``stages=("validate", "rank")``.

    Raises:
        InputError: settings or a source that cannot be used, or an unknown keyword.
    """
    from crystal_diffusion.energy.potentials import default_potential
    from crystal_diffusion.energy.relaxation import RelaxLimits
    from crystal_diffusion.screening.pipeline import screen as run
    from crystal_diffusion.screening.settings import Candidates, ScreenSettings, read_candidates

    own = ("source", "out", "potential", "relax_steps", "fmax", "smax", "fix_cell", "time_limit")
    refuse_unknown("screen", settings, [*ScreenSettings.__dataclass_fields__, *own])
    potential = settings.pop("potentials", potential)
    if potential is None:
        names = tuple(name for name in [default_potential()] if name)
    else:
        names = (potential,) if isinstance(potential, str) else tuple(potential)
    limits = RelaxLimits(
        fmax=fmax, smax=smax, max_steps=relax_steps, time_limit_s=time_limit, fix_cell=fix_cell
    )
    wanted: dict[str, Any] = {"potentials": names, "limits": limits, **settings}
    own_known = wanted.get("reference", ())
    listed = [own_known] if isinstance(own_known, str | Path) else own_known
    wanted["reference"] = tuple(Path(path) for path in listed)
    folder = None if out is None else Path(out)
    if isinstance(source, str | Path):
        candidates = read_candidates(Path(source), folder)
    elif folder is None:
        raise InputError("screen: crystals in memory need a folder; give it as out.")
    else:
        candidates = Candidates(_structures(source), {}, folder, False)
    more: dict[str, Any] = {} if progress is None else {"progress": progress}
    return run(candidates, ScreenSettings(**wanted), **more)


def _structures(source: Any) -> dict[str, Any]:
    """Structures by id of any source; those that carry an id keep it."""
    from crystal_diffusion.data.readers import iter_crystals

    if isinstance(source, Mapping) and source and "lattice" not in source:
        return dict(source)
    found: dict[str, Any] = {}
    listed = source if isinstance(source, list | tuple) else [source]
    for one in listed:
        for record in iter_crystals(one):
            if record.structure is None:
                raise InputError(f"{record.id}: {record.problem}")
            carried = getattr(one, "properties", None) or getattr(one, "info", None) or {}
            name = str(carried.get("id") or record.id)
            while name in found:
                name = f"{record.id}-{len(found)}"
            found[name] = record.structure
    return found
