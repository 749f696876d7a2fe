"""A whole run: generate, then write the run folder with its manifest."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from crystal_diffusion.files import locked, new_folder, uninterrupted
from crystal_diffusion.generation.generator import CrystalGenerator, check_numbers
from crystal_diffusion.generation.loading import model_hash
from crystal_diffusion.generation.request import Request
from crystal_diffusion.generation.result import GenerationResult
from crystal_diffusion.generation.settings import GenerationSettings
from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.parallel import usable_cores
from crystal_diffusion.physics.validator import PhysicsValidator
from crystal_diffusion.runs.folder import RunFolder
from crystal_diffusion.runs.rows import structure_row

_PACKAGES = ("crystal-diffusion", "torch", "numpy", "pymatgen", "ase", "moyopy", "spglib")


def versions() -> dict[str, str]:
    """Versions of this package and those it stands on; "absent" where not installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def generate_run(
    generator: CrystalGenerator,
    request: Request,
    n: int,
    out: Path | str,
    *,
    seed: int = 0,
    first: int = 0,
    settings: GenerationSettings | None = None,
    overwrite: bool = False,
    command: list[str] | None = None,
    progress: Callable[[int], None] | None = None,
    executor: str | None = None,
    processes: int | None = None,
) -> tuple[RunFolder, GenerationResult]:
    """Generate and write everything: see :class:`RunFolder` for the files.

    With an ``executor`` ("local", "ray", ...) the crystals are made by several workers. Without,
    Ctrl-C ends the run with the crystals that are finished.

    Raises:
        InputError: when the folder is in use or cannot be written.
        RequestError: when no crystal can meet the request.
    """
    check_numbers(n, first, seed)
    folder = Path(out)
    with new_folder(folder), locked(folder):
        RunFolder.check(folder, overwrite)
        return _generate(
            generator,
            request,
            n,
            folder,
            overwrite,
            seed=seed,
            first=first,
            settings=settings or GenerationSettings(),
            command=command,
            progress=progress,
            executor=executor,
            processes=processes,
        )


def _generate(
    generator: CrystalGenerator,
    request: Request,
    n: int,
    out: Path,
    overwrite: bool,
    *,
    seed: int,
    first: int,
    settings: GenerationSettings,
    command: list[str] | None,
    progress: Callable[[int], None] | None,
    executor: str | None,
    processes: int | None,
) -> tuple[RunFolder, GenerationResult]:
    began = time.time()
    if executor is None:
        result = generator.run(
            request, n, seed=seed, first=first, settings=settings, progress=progress, keep=True
        )
    else:
        from crystal_diffusion.generation.spread import run_spread

        result = run_spread(
            generator,
            request,
            n,
            seed=seed,
            first=first,
            settings=settings,
            executor=executor,
            processes=processes,
            progress=progress,
        )
    # Only now: a request that is refused, or a run that is stopped, leaves what was there.
    folder = RunFolder.create(out, overwrite)
    write_result(
        folder,
        result,
        {
            "command": command or sys.argv,
            "request": _request(request),
            "n": n,
            "first": first,
            "seed": seed,
            "settings": _settings(settings, request),
            "model": {
                "name": generator.address,
                "sha256": model_hash(generator) if generator.path else None,
                "data_sha256": generator.header.get("data_sha256"),
                "steps": generator.header.get("steps"),
                "trained_on": generator.header.get("trained_on"),
                "verdict": generator.header.get("verdict"),
            },
            "tolerances": _tolerances(),
            "versions": versions(),
            "machine": machine(),
            "device": str(generator.model.device),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(began)),
            "training_statistics": generator.header.get("training_statistics"),
        },
    )
    return folder, result


def write_result(folder: RunFolder, result: GenerationResult, manifest: Mapping[str, Any]) -> None:
    """Write structures, tables and manifest; the manifest last, so it marks a whole run.

    Ctrl-C waits until all is written: what took minutes to make is not lost in the last second.
    """
    with uninterrupted():
        folder.write_structures(result.structures, result.rows)
        folder.write_originals({name: o.structure for name, o in result.originals.items()})
        folder.write_rejected(result.rejected)
        folder.write_manifest(
            {
                **manifest,
                **({} if result.selection is None else {"properties": result.selection.to_dict()}),
                "made": len(result),
                "formula_units": list(result.formula_units),
                "interrupted": result.interrupted,
                "rejected": result.rejected,
                "missing": {str(k): v for k, v in result.missing.items()},
                "first_candidates_to_take": [str(many) for many in result.how_many],
                "confidence_source": result.confidence_source,
                "seconds": {k: round(v, 3) for k, v in result.seconds.items()},
            }
        )


def _settings(settings: GenerationSettings, request: Request) -> dict[str, Any]:
    """The settings as plain values, as they were used, with the limits crystals were judged by."""
    steps = settings.sampler.calls(composition_given=request.composition_given)
    plain = {name: value for name, value in vars(settings).items() if name != "validator"}
    return {
        **plain,
        "sampler": {**asdict(settings.sampler), "steps": steps},
        "validator": (settings.validator or PhysicsValidator()).to_dict(),
    }


def _request(request: Request) -> dict[str, Any]:
    """What was asked for; a host with its cell, elements and coordinates."""
    asked = request.as_dict()
    if request.host is not None:
        asked["host"] = {"formula": asked["host"], **structure_row(request.host)}
    return asked


def _tolerances() -> dict[str, Any]:
    """Within which structures count as equal, and space groups as found."""
    matcher = StructureMatch()
    return {
        "space_group_A": [0.1, 0.01],
        "same_structure": {
            "ltol": matcher.ltol,
            "stol": matcher.stol,
            "angle_tol_deg": matcher.angle_tol,
        },
    }


def machine() -> dict[str, Any]:
    """What a run was made on: system, processor, cores that it may use, threads of PyTorch."""
    import torch

    return {
        "host": platform.node(),
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "torch_threads": torch.get_num_threads(),
    }
