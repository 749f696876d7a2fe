"""The files of a run for a screened folder whose crystals come from elsewhere.

With them the other verbs (`report`, `view`, `evaluate`, `dft`, `screen` again) work on the results
as on a run of this library. A run that is screened into another folder keeps its own tables.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crystal_diffusion.physics.facts import CrystalFacts, crystal_facts
from crystal_diffusion.runs.folder import RunFolder
from crystal_diffusion.screening.settings import Candidates


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadRow(CrystalFacts):
    """What ``structures.jsonl`` says of a crystal that came from elsewhere."""

    source: str | None = None
    valid: bool | None = None
    warnings: list[str] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)


def write_run_files(
    candidates: Candidates, checked: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]
) -> None:
    """Write ``structures.*``, ``cif/`` and ``manifest.json`` into the folder of the results.

    Args:
        candidates: what was read; its folder is written to.
        checked: rows of the stage validate, by id.
        settings: of the screening, for the manifest.

    Raises:
        InputError: the disk is full or the folder cannot be written.
    """
    folder, origin = RunFolder(candidates.folder), candidates.run
    if origin is not None:
        rows = origin.rows()
        manifest = origin.manifest | {"screened_from": str(candidates.source)}
        folder.write_rejected(origin.rejected())
    else:
        rows = [
            ReadRow.from_dict(
                {
                    **checked.get(key, {}),
                    **crystal_facts(structure),
                    "id": key,
                    "source": candidates.sources.get(key),
                }
            ).to_dict()
            for key, structure in candidates.structures.items()
        ]
        manifest = {
            "screened_from": str(candidates.source),
            "command": sys.argv,
            "settings": {
                name: value for name, value in settings.items() if value not in (None, ())
            },
            "read": len(candidates.structures),
            "unreadable": dict(candidates.unreadable),
        }
    folder.begin()
    folder.write_structures(candidates.structures, rows)
    folder.write_manifest(manifest)
