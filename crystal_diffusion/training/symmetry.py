"""The symmetry of training crystals, found once before the first step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.parallel import map_chunks
from crystal_diffusion.symmetry.cells import Cell
from crystal_diffusion.symmetry.orbits import CrystalSymmetry, SymmetryTable, crystal_symmetry


def find_symmetry(
    data: CrystalBatch, symprec: float = 0.1, processes: int = 1
) -> tuple[CrystalBatch, SymmetryTable]:
    """The crystals made exactly symmetric, and the symmetry of each in its own cell.

    Crystals without symmetry stay as they are; rotations of the cells are dropped, which no
    network here sees.

    Args:
        data: on the CPU, primitive cells.
        symprec: Å; at 0.1 Å crystals of the Materials Project move by less than 0.001 Å on average.
        processes: that share the search.
    """
    coords, lattice = data.frac_coords.clone(), data.lattice.clone()
    counts = data.num_atoms.tolist()
    cells = [
        Cell(
            data.lattice[row].double().numpy(),
            data.frac_coords[row, :count].double().numpy(),
            data.atomic_numbers[row, :count].numpy(),
        )
        for row, count in enumerate(counts)
    ]
    symmetries = map_chunks(_symmetries, cells, processes, symprec, chunk=500, parallel_from=5000)
    for row, (count, found) in enumerate(zip(counts, symmetries, strict=True)):
        if found is not None:
            coords[row, :count] = torch.from_numpy(found.cell.frac_coords.astype(np.float32))
            lattice[row] = torch.from_numpy(found.cell.lattice.astype(np.float32))
    # Rounding to float32 can give exactly 1.
    coords = torch.where(coords >= 1.0, torch.zeros_like(coords), coords)
    return CrystalBatch(coords, lattice, data.atomic_numbers), SymmetryTable(symmetries, counts)


def _symmetries(cells: Sequence[Cell], symprec: float) -> list[CrystalSymmetry | None]:
    return [crystal_symmetry(cell, symprec) for cell in cells]
