"""Shipped assets and their cards: weights, tables and the library of crystals.

Beside each asset lies a card of the same name that ends in ``.md``. It begins with a block of TOML
between lines of ``+++``: file, sha256, license, source, recipe, inputs and the minutes that making
it took. This is the one place that knows where assets lie.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from crystal_diffusion.errors import InputError

FOLDER = Path(__file__).parent
#: Files of this folder that are no assets.
_OTHERS = (".py", ".md", ".pyc")


@dataclass(frozen=True)
class Asset:
    """What the card of a shipped file says.

    Attributes:
        file: its name.
        sha256: of its bytes.
        license: SPDX name.
        source: where its content comes from, with the license of that.
        recipe: the script that makes it, from the root of the repository.
        inputs: files that the recipe reads.
        minutes: of one core that making it took; None where it was not taken down.
    """

    file: str
    sha256: str
    license: str
    source: str
    recipe: str
    inputs: tuple[str, ...] = ()
    minutes: float | None = None

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return FOLDER / self.file

    @property
    def intact(self) -> bool:
        """Whether the file is there and is the one that the card describes."""
        return self.path.is_file() and sha256(self.path) == self.sha256


def sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def asset_path(name: str) -> Path:
    """Where a shipped file of that name lies, whether or not it is there."""
    return FOLDER / name


def asset_files() -> tuple[Path, ...]:
    """All shipped files, by name, without their cards."""
    return tuple(
        path
        for path in sorted(FOLDER.iterdir())
        if path.is_file() and path.suffix not in _OTHERS and not path.name.startswith(".")
    )


def card_of(asset: Path) -> Path:
    """The card that belongs to a shipped file."""
    return asset.with_suffix(".md")


def read_card(card: Path) -> Asset:
    """The block at the head of a card.

    Raises:
        InputError: no card, or its head lacks a field.
    """
    import tomllib

    try:
        _, head, _ = card.read_text(encoding="utf-8").split("+++\n", 2)
        fields = tomllib.loads(head)
        return Asset(**{**fields, "inputs": tuple(fields.get("inputs", ()))})
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{card}: is no card of a shipped file ({error}); begin it with lines of +++ around "
            "file, sha256, license, source and recipe, as the other cards do."
        ) from error


def assets() -> tuple[Asset, ...]:
    """Every shipped file as its card describes it.

    Raises:
        InputError: a file without card, or a card that cannot be read.
    """
    return tuple(read_card(card_of(path)) for path in asset_files())


def model_path() -> Path:
    """The pretrained weights."""
    return asset_path("model.safetensors")


def student_path() -> Path:
    """The weights distilled from the pretrained ones for at most four steps."""
    return asset_path("student.safetensors")
