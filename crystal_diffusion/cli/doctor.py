"""The verb `doctor`."""

from __future__ import annotations

import os
import platform
from typing import Annotated

import typer

from crystal_diffusion.cli.console import OK, PARTIAL, out, say_badly

_NEEDED = (
    "torch",
    "numpy",
    "scipy",
    "pymatgen",
    "ase",
    "moyopy",
    "spglib",
    "smact",
    "gemmi",
    "typer",
    "rich",
    "matplotlib",
    "safetensors",
    "pyarrow",
)
#: Packages for more, and what they bring.
_EXTRAS = {
    "diep": "energies, hulls",
    "chgnet": "a second opinion on energies",
    "sevenn": "a third opinion on energies",
    "ray": "several machines",
    "psycopg": "a PostgreSQL database",
}


def doctor(
    quiet: Annotated[bool, typer.Option("--quiet", help="Only what is missing.")] = False,
) -> None:
    """Say what is installed, what is missing, and what to type.

    Example: crystal-diffusion doctor
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title="crystal-diffusion doctor", title_justify="left")
    for name in ("package", "version", "what to type"):
        table.add_column(name)
    missing = []
    table.add_row("python", platform.python_version(), "")
    for name in _NEEDED:
        version = _version(name)
        if version is None:
            missing.append(name)
        shown = version or Text("missing", "red")
        table.add_row(name, shown, "" if version else f"pip install {name}")
    for name, brings in _EXTRAS.items():
        version = _version(name)
        hint = "" if version else f"pip install {name}  (for {brings})"
        table.add_row(name, version or "not installed", hint)
    if not quiet:
        out.print(table)
        _machine()
    if missing:
        say_badly("missing", ", ".join(missing))
        raise typer.Exit(PARTIAL)
    raise typer.Exit(OK)


def _version(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _machine() -> None:
    try:
        import torch
    except ImportError:
        return
    from crystal_diffusion.parallel import usable_cores
    from crystal_diffusion.pretrained import assets
    from crystal_diffusion.training.loop import use_bfloat16

    cores = usable_cores()
    out.print(f"cores: {cores}, PyTorch threads: {torch.get_num_threads()}", highlight=False)
    out.print(f"OMP_WAIT_POLICY: {os.environ.get('OMP_WAIT_POLICY', 'not set')}", highlight=False)
    cuda = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    out.print(f"CUDA device: {cuda}; MPS: {torch.backends.mps.is_available()}", highlight=False)
    bf16 = use_bfloat16("auto", torch.device("cpu"))
    out.print(f"bfloat16 on this processor: {'yes' if bf16 else 'no, float32 is used'}")
    for asset in assets():
        state = f"{asset.path.stat().st_size / 1e6:.2f} MB" if asset.intact else "damaged"
        out.print(f"{asset.file}: {state}, {asset.license}", highlight=False)
