"""The limits of all checks: three profiles, a dict or a TOML file to change any of them."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from crystal_diffusion.errors import InputError
from crystal_diffusion.physics.report import Severity


@dataclass(frozen=True)
class Limits:
    """Numbers that the checks compare with.

    Outside a ``_warning`` limit a crystal is odd, outside an ``_error`` limit it is invalid.

    Attributes:
        min_distance: smallest distance between any two atoms, Å.
        pair_error, pair_warning: smallest distance over the typical distance of the pair.
        crowding_error, crowding_warning: largest sum, over the neighbours of an atom, of
            (0.85 - distance / typical)² where that is positive.
        contact_error, contact_warning: mean over the atoms of nearest distance over typical.
        contact_high_error, contact_high_warning: the same, upper limit.
        edge_low_error: shortest lattice vector, Å.
        edge_high_error, edge_high_warning: longest cell edge, Å.
        angle_low_error, angle_low_warning: smallest distance of a cell angle from 0 or 180 degrees.
        volume_low_error, volume_low_warning: volume per atom over the low end of the tables.
        volume_high_error, volume_high_warning: volume per atom over the mean of the tables.
        density_low_error, density_low_warning, density_high_warning, density_high_error: g/cm3.
        bond_angle_warning: smallest angle between two bonds of an atom, degrees.
        bond_valence_warning: root mean square of bond valence sum less charge (Brown's global
            instability index), valence units.
        like_charge_warning: largest share of ions whose nearest neighbour has a charge of the
            same sign.
        coordination_tolerance: neighbours that an atom may have more or fewer than the range of
            its element.
        electronegativity_warning: least electronegativity of an anion less that of a cation.
        severity: severities changed by the user, by name of check.
    """

    min_distance: float = 0.7
    pair_error: float = 0.61
    pair_warning: float = 0.75
    crowding_error: float = 0.15
    crowding_warning: float = 0.03
    contact_error: float = 0.755
    contact_warning: float = 0.86
    contact_high_error: float = math.inf
    contact_high_warning: float = 1.25
    edge_low_error: float = 1.9
    edge_high_error: float = 150.0
    edge_high_warning: float = 60.0
    angle_low_error: float = 3.0
    angle_low_warning: float = 14.0
    volume_low_error: float = 0.9
    volume_low_warning: float = 1.0
    volume_high_error: float = 60.0
    volume_high_warning: float = 2.0
    density_low_error: float = 0.02
    density_low_warning: float = 0.5
    density_high_warning: float = 20.0
    density_high_error: float = 30.0
    bond_angle_warning: float = 22.0
    bond_valence_warning: float = 1.6
    like_charge_warning: float = 0.5
    coordination_tolerance: float = 0.0
    electronegativity_warning: float = -0.01
    severity: Mapping[str, Severity] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All numbers by name, for a manifest; None where there is no limit."""
        return {
            name: None if isinstance(value, float) and math.isinf(value) else value
            for name, value in asdict(self).items()
        }


#: ``default`` passes at least 99.5 % of the deposited crystals of Materials Project, failed
#: relaxations among them; ``strict`` is for crystals that were generated; ``permissive`` refuses
#: only what cannot be a crystal.
PROFILES: dict[str, Limits] = {
    "default": Limits(),
    "strict": Limits(
        pair_error=0.68,
        pair_warning=0.8,
        crowding_error=0.07,
        crowding_warning=0.015,
        contact_error=0.82,
        contact_warning=0.9,
        contact_high_error=1.4,
        contact_high_warning=1.15,
        edge_high_error=80.0,
        edge_high_warning=50.0,
        volume_low_error=1.0,
        volume_low_warning=1.05,
        volume_high_error=2.5,
        volume_high_warning=1.6,
        density_low_error=0.2,
        density_high_error=24.0,
        bond_angle_warning=33.0,
        bond_valence_warning=1.0,
        like_charge_warning=0.25,
    ),
    "permissive": Limits(
        pair_error=0.45,
        pair_warning=0.6,
        crowding_error=0.4,
        crowding_warning=0.15,
        contact_error=0.6,
        contact_warning=0.75,
        contact_high_warning=1.4,
        edge_high_error=500.0,
        edge_high_warning=150.0,
        angle_low_error=1.0,
        angle_low_warning=5.0,
        volume_low_error=0.5,
        volume_low_warning=0.8,
        volume_high_error=math.inf,
        volume_high_warning=5.0,
        density_low_error=0.0,
        density_low_warning=0.2,
        density_high_error=45.0,
        bond_angle_warning=15.0,
        bond_valence_warning=2.5,
        like_charge_warning=0.75,
    ),
}


def make_limits(
    profile: str = "default",
    changes: Mapping[str, Any] | str | Path | None = None,
    *,
    checks: frozenset[str] = frozenset(),
) -> Limits:
    """The limits of a profile with some of them changed.

    Args:
        profile: ``default``, ``strict`` or ``permissive``.
        changes: limits by name, or a TOML file of them; a table ``severity`` gives the severity of
            a check by its name.
        checks: names of checks that a severity may be given for; empty allows any.

    Raises:
        InputError: for an unknown profile, limit, check or severity, a value that is no number, or
            a file that cannot be read.
    """
    if profile not in PROFILES:
        raise InputError(f"profile '{profile}' is unknown; use one of {', '.join(PROFILES)}.")
    base = PROFILES[profile]
    if changes is None:
        return base
    where = "limits"
    if isinstance(changes, str | Path):
        where = str(changes)
        changes = _read(Path(changes))
    known = {f.name for f in fields(Limits)}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise InputError(
            f"{where}: unknown limit '{unknown[0]}'; the limits are {', '.join(sorted(known))}."
        )
    values: dict[str, Any] = {}
    for name, value in changes.items():
        if name == "severity":
            values[name] = dict(base.severity) | _severities(value, where, checks)
        elif isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise InputError(f"{where}: limit '{name}' is {value!r}; give a number.")
        else:
            values[name] = float(value)
    return replace(base, **values)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a TOML file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no valid TOML ({error}); correct the file.") from None


def _severities(value: Any, where: str, checks: frozenset[str]) -> dict[str, Severity]:
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: severity is {value!r}; give a table of check = 'severity'.")
    for name, severity in value.items():
        if checks and name not in checks:
            raise InputError(
                f"{where}: severity of unknown check '{name}'; checks are "
                f"{', '.join(sorted(checks))}."
            )
        if severity not in get_args(Severity):
            raise InputError(
                f"{where}: severity of '{name}' is {severity!r}; use 'error', 'warning' or 'note'."
            )
    return dict(value)
