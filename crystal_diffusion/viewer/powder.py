"""Simulated X-ray powder pattern, all reflections of a crystal at once.

Intensity ``I = |F|² (1 + cos² 2θ) / (sin² θ cos θ)`` with ``F = Σ f_j exp(2πi h·x_j)`` summed over
all reflections of one angle (multiplicity), without thermal motion, absorption or texture: the
same formula and scattering factors as pymatgen's ``XRDCalculator`` (Ong et al., 2013; factors of
De Graef and McHenry, 2007), which a test compares with. It is written out here because a report of
1,000 crystals would wait half a minute for one crystal at a time.
"""

from __future__ import annotations

import functools
import json
from importlib import resources

import numpy as np

from crystal_diffusion.viewer import elements

#: Cu Kα wavelength in Å (mean of Kα1 and Kα2, as in pymatgen).
CU_KA = 1.54184
#: Reflections nearer than this (degrees of 2θ) are one peak: finer than any diffractometer.
_SAME_ANGLE = 1e-3


@functools.cache
def _scattering_factors() -> dict[str, np.ndarray]:
    """Four pairs (a, b) by symbol: ``f(s) = Z - 41.78214 s² Σ a exp(-b s²)``, s in 1/Å."""
    file = resources.files("pymatgen.analysis.diffraction") / "atomic_scattering_params.json"
    return {key: np.array(value) for key, value in json.loads(file.read_text("utf-8")).items()}


def powder_pattern(
    lattice: np.ndarray,
    frac_coords: np.ndarray,
    numbers: np.ndarray,
    *,
    wavelength: float = CU_KA,
    two_theta: tuple[float, float] = (10.0, 90.0),
    smallest: float = 0.1,
) -> tuple[np.ndarray, np.ndarray]:
    """Angles and heights of the peaks.

    Args:
        lattice: ``(3, 3)`` rows a, b, c in Å.
        frac_coords: ``(atoms, 3)``.
        numbers: ``(atoms,)`` atomic numbers.
        wavelength: in Å.
        two_theta: range of the diffraction angle in degrees.
        smallest: peaks below this height (the highest is 100) are left out.

    Returns:
        2θ ``(peaks,)`` in degrees, rising, and heights ``(peaks,)``, at most 100. Both empty where
        an element has no tabulated scattering factor.
    """
    table = _scattering_factors()
    present = np.unique(numbers)
    if any(elements.symbol(int(z)) not in table for z in present):
        return np.zeros(0), np.zeros(0)
    reciprocal = np.linalg.inv(lattice)  # columns a*, b*, c* in 1/Å
    low, high = (2 * np.sin(np.deg2rad(angle / 2)) / wavelength for angle in two_theta)
    most = np.floor(high * np.linalg.norm(lattice, axis=1) + 1e-9).astype(int)
    grid = np.indices(2 * most + 1).reshape(3, -1).T - most
    grid = grid[len(grid) // 2 + 1 :]  # one of each pair hkl, -h-k-l, which are equally strong
    length = np.linalg.norm(grid @ reciprocal.T, axis=1)
    keep = (length >= max(low, 1e-9)) & (length <= high)
    hkl, length = grid[keep], length[keep]
    if len(hkl) == 0:
        return np.zeros(0), np.zeros(0)
    s2 = (length / 2) ** 2
    amplitude = np.zeros(len(hkl), complex)
    for z in present:
        pairs = table[elements.symbol(int(z))]
        factor = float(z) - 41.78214 * s2 * (pairs[:, 0] * np.exp(-pairs[:, 1] * s2[:, None])).sum(
            1
        )
        phase = 2j * np.pi * (hkl @ frac_coords[numbers == z].T)
        amplitude += factor * np.exp(phase).sum(1)
    theta = np.arcsin(wavelength * length / 2)
    polarisation = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    intensity = np.abs(amplitude) ** 2 * polarisation
    angle = np.rad2deg(2 * theta)
    order = np.argsort(angle)
    angle, intensity = angle[order], intensity[order]
    first = np.flatnonzero(np.diff(angle, prepend=-1.0) > _SAME_ANGLE)
    heights = np.add.reduceat(intensity, first)
    heights *= 100 / max(float(heights.max()), 1e-30)
    seen = heights >= smallest
    return angle[first][seen], heights[seen]
