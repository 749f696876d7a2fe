"""What the charges of its ions say of a crystal: bond valence sums, neighbours of like charge."""

from __future__ import annotations

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.chemistry import Floats
from crystal_diffusion.physics import bonding
from crystal_diffusion.physics.crystal_geometry import CrystalGeometry


def mean_charges(crystal: CrystalGeometry) -> Floats:
    """``(atoms,)`` oxidation state of each atom, the mean of its element."""
    table = np.zeros(chemistry.LAST_ELEMENT + 1)
    for z, charge in crystal.assignment.mean_charges.items():
        table[z] = charge
    return np.asarray(table[crystal.atomic_numbers], np.float64)


def global_instability(crystal: CrystalGeometry) -> float | None:
    """Root mean square over the ions of bond valence sum less charge, in valence units.

    Only bonds between ions of opposite sign count, each exp((R - d) / 0.37 Å). The charge of an
    element with two states is their mean, so mixed valence does not count as an error.
    """
    charges = mean_charges(crystal)
    pairs = crystal.pairs
    opposite = charges[pairs.first] * charges[pairs.second] < 0
    first, second = pairs.first[opposite], pairs.second[opposite]
    length = bonding.bond_length(crystal.atomic_numbers[first], crystal.atomic_numbers[second])
    if np.isnan(length).any():
        return None
    valence = np.exp((length - pairs.distance[opposite]) / bonding.BOND_SOFTNESS)
    sums = np.bincount(first, weights=valence, minlength=crystal.atoms)
    deviation = sums - np.abs(charges)
    # The mean over the atoms of one element: their states are known as a mean only.
    squares = [
        float(deviation[crystal.atomic_numbers == z].mean()) ** 2
        * np.sum(crystal.atomic_numbers == z)
        if len(parts) > 1
        else float((deviation[crystal.atomic_numbers == z] ** 2).sum())
        for z, parts in crystal.assignment.states.items()
    ]
    return float(np.sqrt(sum(squares) / crystal.atoms))


def like_charge_share(crystal: CrystalGeometry) -> float:
    """Share of ions that have more first-shell neighbours of their own sign than of the other."""
    charges = mean_charges(crystal)
    pairs, ratios = crystal.pairs, crystal.ratios
    # Distances are compared as they are: an ion of the same sign must not be the nearer one.
    nearest = np.full(crystal.atoms, np.inf)
    np.minimum.at(nearest, pairs.first, pairs.distance)
    shell = (pairs.distance <= 1.1 * nearest[pairs.first]) & (ratios < 2.0)
    product = np.sign(charges[pairs.first] * charges[pairs.second])[shell]
    balance = np.bincount(pairs.first[shell], weights=product, minlength=crystal.atoms)
    return float((balance > 0).mean())
