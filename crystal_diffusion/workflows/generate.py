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

from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.loading import model_hash
from crystal_diffusion.generation.request import Request
from crystal_diffusion.generation.settings import GenerationResult, GenerationSettings
from crystal_diffusion.runs.folder import RunFolder

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
    folder = RunFolder.create(out, overwrite)
    settings = settings or GenerationSettings()
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
    write_result(
        folder,
        result,
        {
            "command": command or sys.argv,
            "request": request.as_dict(),
            "n": n,
            "first": first,
            "seed": seed,
            "settings": _settings(settings),
            "model": {
                "name": generator.address,
                "sha256": model_hash(generator) if generator.path else None,
                "data_sha256": generator.header.get("data_sha256"),
                "steps": generator.header.get("steps"),
                "trained_on": generator.header.get("trained_on"),
            },
            "versions": versions(),
            "device": str(generator.model.device),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(began)),
            "training_statistics": generator.header.get("training_statistics"),
        },
    )
    return folder, result


def write_result(folder: RunFolder, result: GenerationResult, manifest: Mapping[str, Any]) -> None:
    """Write structures, tables and manifest; the manifest last, so it marks a whole run."""
    folder.write_structures(result.structures, result.rows)
    folder.write_rejected(result.rejected)
    folder.write_manifest(
        {
            **manifest,
            "made": len(result),
            "interrupted": result.interrupted,
            "rejected": result.rejected,
            "missing": {str(k): v for k, v in result.missing.items()},
            "seconds": {k: round(v, 3) for k, v in result.seconds.items()},
        }
    )


def _settings(settings: GenerationSettings) -> dict[str, Any]:
    plain = (
        asdict(settings)
        if settings.validator is None
        else {
            "sampler": asdict(settings.sampler),
            **{k: v for k, v in vars(settings).items() if k not in ("sampler", "validator")},
        }
    )
    plain.pop("validator", None)
    return plain
