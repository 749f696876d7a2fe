"""Symmetric subspaces of crystals in the cells they come in: for training on symmetric noise.

Atom i of an orbit is W_i y + w_i, y its representative; A is the mean rotation of the operations
that leave y in place. A displacement field v is symmetric when v_i = W_i A u for one u an orbit,
and the projection on such fields is the mean over the group. Rotations act on columns.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crystal_diffusion.cell_geometry import symmetry_search
from crystal_diffusion.errors import InputError
from crystal_diffusion.symmetry.cells import Cell
from crystal_diffusion.symmetry.groups import Floats, Integers

# It remarks on every cell that is not primitive; what it leaves out is no symmetry of the cell.
logging.getLogger("moyo").setLevel(logging.ERROR)

#: Å; an operation has to bring an atom this close to another one of its element.
_SLACK = 0.5


@dataclass(frozen=True, eq=False)
class CrystalSymmetry:
    """A crystal made exactly symmetric in its own cell, with what makes each orbit.

    Attributes:
        cell: lattice and coordinates that the operations leave exactly alone.
        first: ``(atoms,)`` representative of each atom's orbit.
        rotations: ``(atoms, 3, 3)`` integer W_i.
        sites: ``(atoms, 3, 3)`` A of the atom's orbit, at the representative.
        point_group: ``(operations, 3, 3)`` the distinct rotations.
    """

    cell: Cell
    first: Integers
    rotations: Integers
    sites: Floats
    point_group: Integers


def crystal_symmetry(cell: Cell, symprec: float = 0.1) -> CrystalSymmetry | None:
    """The symmetry of a crystal in its own cell; None where it has none, or the search fails.

    Args:
        cell: any cell; a primitive one has the most to gain.
        symprec: Å, tolerance of the search.
    """
    try:
        found = symmetry_search(cell.lattice, cell.frac_coords, cell.numbers, symprec).operations
    except ValueError:
        return None
    rotations = np.asarray(found.rotations, np.float64)
    translations = np.asarray(found.translations, np.float64)
    if len(rotations) < 2:
        return None
    images = _images(cell, rotations, translations)
    if images is None:
        return None
    inverse = np.round(np.linalg.inv(rotations))
    atoms = len(cell)
    first = np.full(atoms, -1)
    own = np.zeros((atoms, 3, 3))
    sites = np.zeros((atoms, 3, 3))
    coords = np.zeros((atoms, 3))
    for atom in range(atoms):
        if first[atom] >= 0:
            continue
        reached = images[:, atom]
        point = cell.frac_coords[atom]
        # Every image, brought back: their mean is the representative's exact place.
        back = np.einsum("kij,kj->ki", inverse, cell.frac_coords[reached] - translations) - point
        point = point + (back - np.round(back)).mean(0)
        still = rotations[reached == atom].mean(0)
        for other in np.unique(reached):
            operation = int(np.argmax(reached == other))
            first[other] = atom
            own[other] = rotations[operation]
            sites[other] = still
            coords[other] = rotations[operation] @ point + translations[operation]
    metric = np.einsum("kai,ab,kbj->ij", rotations, cell.lattice @ cell.lattice.T, rotations)
    exact = Cell(_cell_of(metric / len(rotations)), coords % 1.0, cell.numbers)
    return CrystalSymmetry(
        exact, first, np.round(own).astype(np.int64), sites, np.unique(rotations, axis=0)
    )


def _images(cell: Cell, rotations: Floats, translations: Floats) -> Integers | None:
    """``(operations, atoms)`` which atom each operation brings each atom to; None if unclear."""
    moved = np.einsum("kij,nj->kni", rotations, cell.frac_coords) + translations[:, None]
    away = moved[:, :, None] - cell.frac_coords
    away -= np.round(away)
    distance = np.linalg.norm(away @ cell.lattice, axis=-1)
    distance[:, cell.numbers[:, None] != cell.numbers] = np.inf
    images: Integers = np.argmin(distance, -1)
    whole = np.all(np.sort(images, -1) == np.arange(len(cell)))
    near = np.take_along_axis(distance, images[..., None], -1).max() < _SLACK
    return images if whole and near else None


def _cell_of(metric: Floats) -> Floats:
    """The cell exp(S) of a metric G = exp(2 S): symmetric, right-handed."""
    values, vectors = np.linalg.eigh(0.5 * (metric + metric.T))
    out: Floats = (vectors * np.sqrt(values)) @ vectors.T
    return out


class OrbitProjection:
    """Linear projections on the symmetric subspaces of a batch of crystals, as padded tensors.

    Inside, everything is double precision where the device has it; answers have the dtype and
    device of what is given. Crystals without symmetry have orbits of one atom: the identity.

    Args:
        first: ``(crystals, atoms)`` int64 representative of each atom's orbit.
        rotations: ``(crystals, atoms, 3, 3)`` W_i; the identity on padding.
        sites: ``(crystals, atoms, 3, 3)`` A; zero on padding.
        laue: ``(crystals, 9, 9)`` mean of Wᵀ G W on flat metrics.
        mask: ``(crystals, atoms)`` bool.
    """

    def __init__(
        self,
        first: Tensor,
        rotations: Tensor,
        sites: Tensor,
        laue: Tensor,
        mask: Tensor,
    ) -> None:
        self.device = mask.device
        self._dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self.first, self.mask = first, mask
        self._rotations = rotations.to(self._dtype)
        # Integer matrices: what is left of rounding is taken off.
        self._back = torch.round(torch.linalg.inv(self._rotations))
        self._sites = sites.to(self._dtype)
        self._laue = laue.to(self._dtype)
        same = (first.unsqueeze(-1) == first.unsqueeze(-2)) & mask.unsqueeze(-1)
        same = (same & mask.unsqueeze(-2)).to(self._dtype)
        self._averages = same / same.sum(-1, keepdim=True).clamp_min(1)

    def __len__(self) -> int:
        return len(self.first)

    def displacement(self, displacement: Tensor) -> Tensor:
        """Linear projection of a fractional vector field ``(crystals, atoms, 3)``."""
        field = self._take(displacement)
        means = self._averages @ _act(self._back, field)
        out = _act(self._rotations, _act(self._sites, means))
        return self._give(out * self.mask.unsqueeze(-1), displacement)

    def freedom(self) -> Tensor:
        """``(crystals, atoms)`` directions in which each atom may move: 3 at a general place."""
        trace = self._sites.diagonal(dim1=-2, dim2=-1).sum(-1)
        return torch.round(trace) * self.mask

    def spread(self, lattice: Tensor) -> Tensor:
        """``(crystals,)`` sum over atoms of |v|² in Å2 for unit noise in the free directions.

        3·N·a² in a cubic cell of edge a without symmetry; much more where the only free
        direction is the long axis of a layered crystal.

        Args:
            lattice: ``(crystals, 3, 3)`` rows in Å.
        """
        cell = lattice.to(self.device, self._dtype)
        lengths = (self._sites.mT @ cell.unsqueeze(1)).square().sum((-1, -2))
        return self._give((lengths * self.mask).sum(-1), lattice)

    def noise(self, uniform: Tensor, metric: Tensor) -> Tensor:
        """Symmetric velocities whose end points x_0 + v are uniform in the free parameters.

        An orbit uses the numbers of its representative: the point of its subspace nearest to a
        uniform one on the torus is uniform too, and the shortest way there is taken.

        Args:
            uniform: ``(crystals, atoms, 3)`` in [-0.5, 0.5).
            metric: ``(crystals, 3, 3)`` Å2, decides what is near.
        """
        points = self._take(uniform)
        shifts = torch.from_numpy(_SHIFTS).to(self.device, self._dtype)
        trial = points.unsqueeze(-2) - shifts
        inside = trial @ self._sites.mT
        rest = trial - inside
        gram = metric.to(self.device, self._dtype).unsqueeze(1)
        away, along = (_squared(x, gram) for x in (rest, inside))
        # Nearest sheet first; of the same point on it, the image that is nearest to the crystal.
        scale = gram.diagonal(dim1=-2, dim2=-1).amax(-1, keepdim=True)
        best = torch.argmin(torch.round(away / scale, decimals=7) * 1e6 + along / scale, -1)
        picked = torch.gather(inside, 2, best[..., None, None].expand(-1, -1, 1, 3)).squeeze(2)
        own = torch.gather(picked, 1, self.first.unsqueeze(-1).expand(-1, -1, 3))
        return self._give(_act(self._rotations, own) * self.mask.unsqueeze(-1), uniform)

    def lattice(self, lattice: Tensor) -> Tensor:
        """Allowed cells of the same volume near ``(crystals, 3, 3)`` rows in Å.

        The rotation U of L = exp(S)·U is kept, so L = exp(S) stays of that form.
        """
        cell = lattice.to(self.device, self._dtype)
        metric = cell @ cell.transpose(-1, -2)
        rotation = _power(metric, -0.5) @ cell
        out = _power(self.metric(metric), 0.5) @ rotation
        return out.to(lattice.device, lattice.dtype)

    def metric(self, metric: Tensor) -> Tensor:
        """Allowed metrics of the same determinant near ``(crystals, 3, 3)``, Å2."""
        given = metric.to(self.device, self._dtype)
        mean = self.mean_metric(given)
        root, inverse = _power(mean, 0.5), _power(mean, -0.5)
        values, vectors = torch.linalg.eigh(_symmetric(inverse @ given @ inverse))
        logarithm = (vectors * torch.log(values.clamp_min(1e-30)).unsqueeze(-2)) @ vectors.mT
        averaged = inverse @ self.mean_metric(root @ logarithm @ root) @ inverse
        values, vectors = torch.linalg.eigh(_symmetric(averaged))
        scale = (vectors * torch.exp(values).unsqueeze(-2)) @ vectors.mT
        return self.mean_metric(root @ scale @ root).to(metric.device, metric.dtype)

    def mean_metric(self, metric: Tensor) -> Tensor:
        """The mean of Wᵀ G W over the point group: exact and linear, does not keep the volume."""
        flat = metric.to(self.device, self._dtype).reshape(-1, 9, 1)
        out = _symmetric((self._laue @ flat).reshape(-1, 3, 3))
        return out.to(metric.device, metric.dtype)

    def share(self, values: Tensor) -> Tensor:
        """Mean of ``(crystals, atoms, features)`` over each orbit, the same for all its atoms."""
        means: Tensor = self._averages.to(values.device, values.dtype) @ values
        return means

    def in_basis(self, change: Tensor) -> OrbitProjection:
        """The same subspaces in the cells M @ L, ``(crystals, 3, 3)`` integer M.

        Columns change as x' = M⁻ᵀ x, so W' = M⁻ᵀ W Mᵀ.
        """
        matrix = change.to(self.device, self._dtype)
        right = matrix.mT
        left = torch.linalg.inv(right)
        metric = torch.linalg.inv(matrix)
        kron = torch.einsum("cij,ckl->cikjl", matrix, matrix).reshape(-1, 9, 9)
        back = torch.einsum("cij,ckl->cikjl", metric, metric).reshape(-1, 9, 9)
        return OrbitProjection(
            self.first,
            torch.round(left.unsqueeze(1) @ self._rotations @ right.unsqueeze(1)),
            left.unsqueeze(1) @ self._sites @ right.unsqueeze(1),
            kron @ self._laue @ back,
            self.mask,
        )

    def part(self, rows: slice | Tensor, width: int, device: torch.device) -> OrbitProjection:
        """Some of the crystals, cut to ``width`` atoms, on a device."""
        return OrbitProjection(
            self.first[rows, :width].to(device),
            self._rotations[rows, :width].to(device),
            self._sites[rows, :width].to(device),
            self._laue[rows].to(device),
            self.mask[rows, :width].to(device),
        )

    def _take(self, values: Tensor) -> Tensor:
        expected = (*self.mask.shape, 3)
        if values.shape != expected:
            raise InputError(
                f"expected a tensor of shape {tuple(expected)} for these templates, got "
                f"{tuple(values.shape)}; pad all crystals to the longest template."
            )
        return values.to(self.device, self._dtype)

    def _give(self, values: Tensor, like: Tensor) -> Tensor:
        return values.to(like.device, like.dtype)


class SymmetryTable:
    """The symmetry of many crystals in flat arrays, ready to make projections of any batch.

    Args:
        symmetries: one a crystal; None for a crystal without symmetry.
        num_atoms: ``(crystals,)``.
    """

    def __init__(
        self, symmetries: Iterable[CrystalSymmetry | None], num_atoms: Sequence[int]
    ) -> None:
        counts = np.asarray(num_atoms, np.int64)
        self._offsets = np.concatenate([[0], np.cumsum(counts)])
        total = int(self._offsets[-1])
        self._first = np.concatenate([np.arange(n) for n in counts]) if len(counts) else counts
        self._rotations = np.tile(np.eye(3, dtype=np.int8), (total, 1, 1))
        self._sites = np.tile(np.eye(3, dtype=np.float32), (total, 1, 1))
        self._laue: list[Floats] = [_laue(np.eye(3)[None])]
        self._group = np.zeros(len(counts), np.int64)
        index: dict[bytes, int] = {}
        for row, found in enumerate(symmetries):
            if found is None:
                continue
            rows = slice(self._offsets[row], self._offsets[row + 1])
            self._first[rows] = found.first
            self._rotations[rows] = found.rotations
            self._sites[rows] = found.sites
            key = np.round(found.point_group).astype(np.int8).tobytes()
            if key not in index:
                index[key] = len(self._laue)
                self._laue.append(_laue(found.point_group.astype(np.float64)))
            self._group[row] = index[key]
        self._metrics = np.stack(self._laue)

    def __len__(self) -> int:
        return len(self._group)

    def symmetric(self, rows: np.ndarray) -> np.ndarray:
        """``(rows,)`` bool: crystals with an operation beside the identity."""
        chosen: np.ndarray = self._group[rows] > 0
        return chosen

    def batch(self, rows: np.ndarray, use: np.ndarray, width: int) -> OrbitProjection:
        """Projections of some crystals padded to ``width`` atoms.

        Args:
            rows: which crystals.
            use: ``(rows,)`` bool; the others get the identity.
        """
        crystals = len(rows)
        first = np.tile(np.arange(width), (crystals, 1))
        rotations = np.tile(np.eye(3), (crystals, width, 1, 1))
        sites = np.zeros((crystals, width, 3, 3))
        mask = np.zeros((crystals, width), bool)
        laue = self._metrics[np.where(use, self._group[rows], 0)]
        for at, row in enumerate(rows):
            place = slice(self._offsets[row], self._offsets[row + 1])
            atoms = place.stop - place.start
            mask[at, :atoms] = True
            sites[at, :atoms] = self._sites[place] if use[at] else np.eye(3)
            if use[at]:
                first[at, :atoms] = self._first[place]
                rotations[at, :atoms] = self._rotations[place]
        arrays = (first, rotations, sites, laue, mask)
        return OrbitProjection(*(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays))


def _laue(rotations: Floats) -> Floats:
    """``(9, 9)``: (Wᵀ G W)_ij = W_ki G_kl W_lj, the mean over the rotations."""
    total: Floats = np.einsum("nki,nlj->ijkl", rotations, rotations).reshape(9, 9)
    return total / len(rotations)


def lattice_shifts() -> Floats:
    """Integer shifts, shortest first, ``(27, 3)``: enough to reach every sheet (tested)."""
    grid = np.arange(-1, 2)
    shifts = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), -1).reshape(-1, 3)
    return shifts[np.argsort(np.abs(shifts).sum(1), kind="stable")].astype(float)


_SHIFTS = lattice_shifts()


def _squared(vectors: Tensor, gram: Tensor) -> Tensor:
    """xᵀ G x of ``(crystals, atoms, shifts, 3)``."""
    return (vectors @ gram * vectors).sum(-1)


def _act(matrices: Tensor, vectors: Tensor) -> Tensor:
    """``(crystals, atoms, 3, 3)`` on ``(crystals, atoms, 3)``."""
    out: Tensor = (matrices @ vectors.unsqueeze(-1)).squeeze(-1)
    return out


def _symmetric(matrix: Tensor) -> Tensor:
    return 0.5 * (matrix + matrix.transpose(-1, -2))


def _power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(_symmetric(matrix))
    out: Tensor = (vectors * values.clamp_min(1e-30).pow(exponent).unsqueeze(-2)) @ vectors.mT
    return out
