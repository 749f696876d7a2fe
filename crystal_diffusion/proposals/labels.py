"""Labels of the crystals of a library, by name of the property.

The shipped ones are those of the Materials Project as far as known, made by
``recipes/make_library_labels.py``; a trained model adds the columns of the user's own crystals.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion import chemistry
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import atomic_write
from crystal_diffusion.pretrained import asset_path

if TYPE_CHECKING:
    from crystal_diffusion.proposals.library import CrystalLibrary

Floats = NDArray[np.float64]

#: g/cm3 of 1 u per Å3.
_DENSITY_UNIT = 1.66053906660
#: How numbers of two bytes are stored: the smallest step of every property, in its unit.
_STEPS = {
    "band_gap": 0.01,
    "formation_energy": 0.002,
    "energy_above_hull": 0.002,
    "magnetization": 1e-4,
    "bulk_modulus": 1.0,
    "shear_modulus": 1.0,
}
_UNKNOWN = -32768


@dataclass(frozen=True, eq=False)
class LibraryLabels:
    """Labels by identifier.

    Attributes:
        numbers: ``(crystals,)`` ascending, of ``mp-NUMBER`` identifiers.
        values: by property, ``(crystals,)``, NaN where unknown.
        own: by property, labels of the user's own crystals by identifier; they come first.
    """

    numbers: NDArray[np.int32]
    values: Mapping[str, Floats]
    own: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def of(self, library: CrystalLibrary, name: str) -> Floats:
        """``(entries,)`` labels of a library's crystals, NaN where unknown."""
        if name == "density":
            return density_of(library)
        found = np.full(len(library), np.nan)
        if name in self.values and len(self.numbers):
            place = np.searchsorted(self.numbers, library.numbers)
            place = np.minimum(place, len(self.numbers) - 1)
            same = self.numbers[place] == library.numbers
            found = np.where(same, self.values[name][place], np.nan)
        own = self.own.get(name, {})
        if own and library.own is not None:
            for entry in np.flatnonzero(library.own):
                found[entry] = own.get(library.id_of(int(entry)), found[entry])
        return found

    def with_own(self, ids: Sequence[str], columns: Mapping[str, Floats]) -> LibraryLabels:
        """With columns of the user's own crystals."""
        own = {
            name: {
                str(each): float(value)
                for each, value in zip(ids, values, strict=True)
                if np.isfinite(value)
            }
            for name, values in columns.items()
        }
        return LibraryLabels(self.numbers, self.values, {**self.own, **own})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one ``.npz`` file of whole numbers."""
        coded: dict[str, Any] = {}
        for name, values in self.values.items():
            steps = np.clip(np.rint(np.nan_to_num(values) / _STEPS[name]), -32767, 32767)
            coded[name] = np.where(np.isfinite(values), steps, _UNKNOWN).astype(np.int16)
        with atomic_write(Path(path)) as part, part.open("wb") as stream:
            gaps = np.diff(self.numbers, prepend=0).astype(np.int32)
            np.savez_compressed(stream, gaps=gaps, **coded)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> LibraryLabels:
        """Read labels; without ``path``, those that are shipped.

        Raises:
            InputError: no such file, or not such labels.
        """
        source = asset_path("library_labels.npz") if path is None else Path(path)
        try:
            with np.load(source, allow_pickle=False) as data:
                numbers = np.cumsum(data["gaps"], dtype=np.int32)
                values = {
                    name: np.where(data[name] == _UNKNOWN, np.nan, data[name] * step)
                    for name, step in _STEPS.items()
                }
        except (OSError, ValueError, KeyError) as problem:
            raise InputError(
                f"{source} holds no labels of a library ({problem}); give a file written by "
                "save(), or reinstall the package."
            ) from problem
        return cls(numbers, values)


def density_of(library: CrystalLibrary) -> Floats:
    """``(entries,)`` g/cm3."""
    counts = library.type_counts[library.entry_type].astype(float)
    masses = np.asarray(chemistry.ATOMIC_MASSES)[library.elements]
    mass = np.where(library.elements > 0, masses * counts, 0.0).sum(1)
    return np.asarray(_DENSITY_UNIT * mass / (library.volume_per_atom * counts.sum(1)), float)


@lru_cache(maxsize=1)
def default_labels() -> LibraryLabels:
    """The shipped labels, read once per process."""
    return LibraryLabels.load()
