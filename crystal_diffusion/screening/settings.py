"""What a screening is asked to do, and where its candidates come from."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crystal_diffusion.energy.relaxation import RelaxLimits
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import file_name
from crystal_diffusion.parallel.executors import make_executor
from crystal_diffusion.runs.folder import MANIFEST, RunFolder

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Stages in their order; each can be run alone on what the earlier ones have left.
STAGES = ("validate", "group", "relax", "energies", "novelty", "hull", "rank", "report")
#: Stages that need a potential.
ENERGY_STAGES = ("relax", "energies", "hull")


@dataclass(frozen=True)
class ScreenSettings:
    """How to screen.

    Attributes:
        stages: which of `STAGES` to run.
        top: how many to name as the short list.
        potentials: the first relaxes and ranks; the others give the spread. With none, stages
            that need one are left out and the built-in score ranks.
        limits: of each relaxation.
        reference: folders or files of the user's own known crystals.
        db: database file or ``postgresql://…``; ``screening.db`` in the folder by default.
        executor: ``local``, ``here``, ``batch`` (``batch:cuda``), ``ray`` or ``ray:ADDRESS``.
        processes: workers; the usable cores by default.
        profile: limits of the physics checks (``default``, ``strict`` or ``permissive``).
        competing: most competing compounds for one chemical system, for potentials without a
            table of known crystals.
        refine_hull: relax the competing phases that are within this of the hull (eV/atom) and
            take their relaxed energies; None takes the table as it is.
        library: file of known crystals; the shipped index by default.
        cache: folder of computed reference energies; the user's cache folder by default.
    """

    stages: tuple[str, ...] = STAGES
    top: int = 5
    potentials: tuple[str, ...] = ()
    limits: RelaxLimits = field(default_factory=RelaxLimits)
    reference: tuple[Path, ...] = ()
    db: str | None = None
    executor: str = "local"
    processes: int | None = None
    profile: str = "default"
    competing: int = 30
    refine_hull: float | None = None
    library: Path | None = None
    cache: Path | None = None

    def __post_init__(self) -> None:
        unknown = [stage for stage in self.stages if stage not in STAGES]
        if unknown:
            raise InputError(
                f"stages: {', '.join(unknown)} unknown; choose from {', '.join(STAGES)}"
            )
        if not self.executor.startswith("batch"):
            make_executor(self.executor, self.processes)  # an unknown name is refused here
        for place in self.reference:
            if not glob.has_magic(str(place)) and not place.exists():
                raise InputError(f"reference: {place} does not exist; give a file or a folder.")
        if self.refine_hull is not None and not self.refine_hull > 0:
            raise InputError(f"refine_hull: {self.refine_hull} given, but it must be above 0 eV")
        if self.top < 0:
            raise InputError(f"top: {self.top} given, but it must be 0 or more")

    def key(self, stage: str, **more: Any) -> str:
        """What the results of a stage depend on, as a short text; other results are not reused."""
        used: dict[str, Any] = {"stage": stage}
        if stage == "validate":
            used["profile"] = self.profile
        if stage in ("relax", "energies", "hull"):
            limits = asdict(self.limits)
            limits.pop("time_limit_s")  # a longer limit does not undo what was finished in time
            used |= {"limits": limits, "potential": self.potentials[0] if self.potentials else None}
        if stage == "novelty":
            used |= {
                "reference": [content_of(p) for p in self.reference],
                "library": str(self.library),
            }
        used |= more
        text = json.dumps(used, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def content_of(source: Path) -> str:
    """SHA-256 of all crystal files of a source; its name where they cannot be read."""
    from crystal_diffusion.data.readers import find_files

    digest = hashlib.sha256()
    try:
        for path, name in find_files(source)[0]:
            digest.update(f"{name}\n".encode("utf-8", "surrogateescape"))
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    except (InputError, OSError):
        return str(source)
    return digest.hexdigest()


@dataclass(frozen=True)
class Candidates:
    """What is to be screened.

    Attributes:
        structures: by id, in order.
        unreadable: id → why there is no structure.
        folder: where results are written.
        is_run: whether that is the folder of a run (then its own files are left as they are).
        source: where they were read from; None where they come from memory.
        run: the run they were read from, where it is one.
        sources: id → file, for crystals from elsewhere.
    """

    structures: dict[str, Structure]
    unreadable: dict[str, str]
    folder: Path
    is_run: bool
    source: Path | None = None
    run: RunFolder | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


def read_candidates(
    source: Path, out: Path | None = None, disorder: Literal["skip", "order"] = "skip"
) -> Candidates:
    """Structures of a run folder, or of any file or folder of crystals.

    Args:
        source: a run folder (``manifest.json``), or whatever `data.readers.iter_crystals` reads.
        out: folder of the results; the run folder itself, else ``NAME-screened`` beside the source.
        disorder: partial occupancy is recorded as unreadable, or ordered (`data.disorder`).

    Raises:
        InputError: the source does not exist or holds no crystal at all.
    """
    from crystal_diffusion.data.readers import iter_crystals

    source = Path(source)
    if (source / MANIFEST).is_file():
        run = RunFolder.open(source)
        structures = run.structures()
        if not structures:
            raise InputError(f"{source}: the run holds no structures; generate some first")
        bad = run.manifest.get("unreadable") or {}  # of a screened folder from elsewhere
        return Candidates(structures, bad, out or source, out is None, source, run)
    found: dict[str, Structure] = {}
    unreadable: dict[str, str] = {}
    sources: dict[str, str] = {}
    for record in iter_crystals(source, disorder=disorder, left_handed="swap"):
        key = _free_name(file_name(record.id), sources)
        sources[key] = record.source
        if record.structure is None:
            unreadable[key] = f"unreadable: {record.problem} ({record.source})"
        else:
            found[key] = record.structure
    if not found and not unreadable:
        raise InputError(f"{source}: no crystal found; give a run folder or a folder of CIFs")
    plain = source.resolve()
    folder = out or plain.parent / f"{plain.name.split('.')[0] or 'crystals'}-screened"
    return Candidates(found, unreadable, folder, False, source, None, sources)


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    """An id that is a file name too, and not taken: ids are the same in all files of a folder."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}~{number}"
    return free
