"""An E(3)-equivariant network: messages along every periodic image within a smooth cut-off.

After Satorras et al. (2021), "E(n) equivariant graph neural networks", made periodic: an edge is a
pair of atoms *and* the image of the second, so nothing depends on the choice of the cell. Scalars
are made from distances only, vectors are sums of edge vectors with scalar weights:

    m_e  = φ(A h_i + B h_j + C·RBF(d_e)) · u(d_e)          (their eq. 3)
    Δx_i = Σ_e s(m_e) · r_e / (d_e + 1)                    (eq. 4, smooth at d = 0)
    h_i ← h_i + ψ(h_i, Σ_e m_e, |Σ_e w(m_e) r_e/(d_e + 1)|)   (eqs. 5 and 6, with direction)

u is a polynomial that brings the edge to zero, with two derivatives, at the cut-off (Gasteiger et
al. 2020, DimeNet, eq. 8), so that no atom enters with a jump. The lattice is moved by the strain
Σ s(m) r̂ r̂ᵀ, turned into the change of the log-strain numbers of the cell at hand.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from crystal_diffusion import geometry
from crystal_diffusion.networks.embeddings import ElementEmbedding, SinusoidalPositionEmbeddings
from crystal_diffusion.networks.protocol import Encoded, NoisyCrystals, Prediction
from crystal_diffusion.shapes import Bool, Float, Int

#: Images further than this many cells are not looked for, so that a flat cell cannot fill memory.
_FARTHEST = 4


@dataclass(frozen=True, eq=False)
class Edges:
    """Pairs of atoms within the cut-off, every periodic image by itself.

    Attributes:
        receiver: ``(edges,)`` index into the flat atoms.
        sender: ``(edges,)`` likewise.
        vector: ``(edges, 3)`` from receiver to sender, Å.
        distance: ``(edges,)`` Å.
    """

    receiver: Int[Tensor, " pairs"]
    sender: Int[Tensor, " pairs"]
    vector: Float[Tensor, "pairs 3"]
    distance: Float[Tensor, " pairs"]


def periodic_edges(
    frac_coords: Float[Tensor, "crystals atoms 3"],
    lattice: Float[Tensor, "crystals 3 3"],
    mask: Bool[Tensor, "crystals atoms"],
    cutoff: float,
) -> Edges:
    """All pairs within ``cutoff`` Å, of ``(crystals, atoms, 3)`` in ``(crystals, 3, 3)`` cells.

    Images up to four cells away in a reduced basis are looked for; atoms do not meet themselves in
    their own place.
    """
    atoms = mask.shape[1]
    basis = geometry.reduction(lattice)
    cell = basis @ lattice
    reduced = frac_coords @ torch.linalg.inv(basis)
    apart = geometry.wrap_displacement(reduced.unsqueeze(1) - reduced.unsqueeze(2))
    # Rows of L⁻ᵀ are one over the distance of lattice planes.
    planes = torch.linalg.vector_norm(torch.linalg.inv(cell), dim=-2).detach()
    reach = torch.ceil(cutoff * planes + 0.5).amax(0).clamp(1, _FARTHEST).int().tolist()
    ranges = [range(-n, n + 1) for n in reach]
    shifts = torch.tensor(list(itertools.product(*ranges)), dtype=apart.dtype, device=apart.device)
    vectors = (apart.unsqueeze(-2) + shifts) @ cell[:, None, None]
    squared = vectors.square().sum(-1)
    pair = (mask.unsqueeze(-1) & mask.unsqueeze(-2)).unsqueeze(-1)
    own = torch.eye(atoms, dtype=torch.bool, device=mask.device)[None, :, :, None]
    own = own & (shifts.abs().sum(-1) == 0)
    crystal, receiver, sender, image = torch.nonzero(
        (squared < cutoff**2) & pair & ~own, as_tuple=True
    )
    vector = vectors[crystal, receiver, sender, image]
    first = crystal * atoms
    # The gradient of a square root at zero is not finite.
    distance = vector.square().sum(-1).clamp_min(1e-12).sqrt()
    return Edges(first + receiver, first + sender, vector, distance)


class E3EquivariantLayer(nn.Module):
    """One round of messages: features stay invariant, positions move with the crystal.

    Translation f(x + c) = f(x) + c, rotation and reflection f(x R) = f(x) R.

    Args:
        dim: features of an atom.
        radial: Gaussian features of a distance.
        cutoff: Å.
    """

    def __init__(self, dim: int = 64, radial: int = 16, cutoff: float = 6.0) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer("centres", torch.linspace(0.0, cutoff, radial), persistent=False)
        self.centres: Tensor
        self.receiver = nn.Linear(dim, dim)
        self.sender = nn.Linear(dim, dim, bias=False)
        self.radial = nn.Linear(radial, dim, bias=False)
        self.message = nn.Sequential(nn.SiLU(), nn.Linear(dim, dim), nn.SiLU())
        self.weights = nn.Linear(dim, 2 + dim // 4, bias=False)
        self.update = nn.Sequential(
            nn.Linear(2 * dim + dim // 4, dim), nn.SiLU(), nn.Linear(dim, dim)
        )

    def forward(
        self,
        positions: Float[Tensor, "crystals atoms 3"],
        features: Float[Tensor, "crystals atoms features"],
        lattice: Float[Tensor, "crystals 3 3"] | None = None,
    ) -> tuple[Float[Tensor, "crystals atoms 3"], Float[Tensor, "crystals atoms features"]]:
        """Moved positions and new features.

        Args:
            positions: ``(crystals, atoms, 3)``: Å for molecules, fractional with a lattice.
            features: ``(crystals, atoms, dim)``.
            lattice: ``(crystals, 3, 3)`` rows in Å; None for no periodicity.

        Returns:
            Positions in the units they came in, and features.
        """
        crystals, atoms, dim = features.shape
        mask = torch.ones(crystals, atoms, dtype=torch.bool, device=features.device)
        if lattice is None:
            edges = _open_edges(positions, self.cutoff)
        else:
            edges = periodic_edges(positions, lattice, mask, self.cutoff)
        flat, step, _ = self.exchange(edges, features.reshape(-1, dim))
        step = step.view(crystals, atoms, 3)
        moved = step if lattice is None else step @ torch.linalg.inv(lattice)
        return positions + moved, flat.view(crystals, atoms, dim)

    def exchange(
        self, edges: Edges, features: Float[Tensor, "atoms features"]
    ) -> tuple[
        Float[Tensor, "atoms features"], Float[Tensor, "atoms 3"], Float[Tensor, "atoms 3 3"]
    ]:
        """Features ``(atoms, dim)``, steps ``(atoms, 3)`` in Å, strains ``(atoms, 3, 3)``."""
        away = (edges.distance.unsqueeze(-1) - self.centres) * (len(self.centres) / self.cutoff)
        waves = torch.exp(-away.clamp(-9.0, 9.0).square())
        hidden = (
            self.receiver(features)[edges.receiver]
            + self.sender(features)[edges.sender]
            + self.radial(waves)
        )
        fade = _envelope(edges.distance / self.cutoff).unsqueeze(-1)
        message = self.message(hidden) * fade
        weight = self.weights(message)
        direction = edges.vector / (edges.distance + 1).unsqueeze(-1)
        atoms = len(features)
        step = _sum(weight[:, :1] * direction, edges.receiver, atoms)
        squares = direction.unsqueeze(-1) * direction.unsqueeze(-2)
        strain = _sum((weight[:, 1, None, None] * squares).flatten(1), edges.receiver, atoms)
        vectors = _sum(
            (weight[:, 2:, None] * direction.unsqueeze(1)).flatten(1), edges.receiver, atoms
        ).view(atoms, -1, 3)
        lengths = vectors.square().sum(-1)
        gathered = _sum(message, edges.receiver, atoms)
        change = self.update(torch.cat([features, gathered, torch.log1p(lengths)], -1))
        return features + change, step, strain.view(atoms, 3, 3)


class EquivariantNetwork(nn.Module):
    """The equivariant network behind the protocol of the joint model.

    Coordinates and strain come from :class:`E3EquivariantLayer` and need no choice of cell, origin
    or orientation. The six lattice numbers that the process asks for are those of one cell, so the
    head adds what their own noisy values say.

    Args:
        dim: features of an atom.
        layers: rounds of messages.
        radial: Gaussian features of a distance.
        cutoff: Å.
    """

    def __init__(
        self, dim: int = 64, layers: int = 4, radial: int = 16, cutoff: float = 6.0
    ) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.level = SinusoidalPositionEmbeddings(64, max_period=1000.0)
        self.elements = ElementEmbedding(dim)
        self.atom_level = nn.Linear(64, dim)
        self.condition = nn.Sequential(nn.Linear(3 * 64, dim), nn.SiLU(), nn.Linear(dim, dim))
        rounds = [E3EquivariantLayer(dim, radial, cutoff) for _ in range(layers)]
        self.layers = nn.ModuleList(rounds)
        self.told = nn.ModuleList(nn.Linear(dim, dim) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.speed = nn.Linear(dim, 1)
        self.swelling = nn.Linear(dim, 1)
        self.strain_scale = nn.Linear(dim, 6)
        self.lattice_own = nn.Linear(dim, 12)
        self.elements_out = nn.Linear(dim, 100)
        for head in (self.lattice_own, self.elements_out, self.swelling):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, noisy: NoisyCrystals) -> Prediction:
        """See :class:`NoisyCrystals` and :class:`Prediction` for shapes."""
        if noisy.conditions is not None or noisy.target_level is not None:
            raise ValueError("the equivariant network knows neither conditions nor long steps.")
        encoded, steps, strain = self._rounds(noisy)
        lattice = _cell(noisy.metric)
        change = log_strain_change(noisy.metric, strain)
        scale, own = self.strain_scale(encoded.crystal), self.lattice_own(encoded.crystal)
        return Prediction(
            coords=steps @ torch.linalg.inv(lattice),
            lattice=change * scale + noisy.lattice_state * own[:, :6] + own[:, 6:],
            element_logits=self.elements_out(encoded.atoms),
        )

    def encode(self, noisy: NoisyCrystals) -> Encoded:
        """Invariant features of atoms and their mean."""
        return self._rounds(noisy)[0]

    def strain(self, noisy: NoisyCrystals) -> Float[Tensor, "crystals 3 3"]:
        """``(crystals, 3, 3)`` symmetric strain in the frame of the cell √(L Lᵀ)."""
        return self._rounds(noisy)[2]

    def _rounds(self, noisy: NoisyCrystals) -> tuple[Encoded, Tensor, Tensor]:
        """Features, steps in Å, and the strain of each crystal."""
        mask = noisy.mask
        crystals, atoms = mask.shape
        count = mask.sum(-1).clamp_min(1)
        edges = periodic_edges(noisy.frac_coords, _cell(noisy.metric), mask, self.cutoff)
        mean_level = (noisy.coord_level * mask).sum(-1) / count
        levels = torch.stack([mean_level, noisy.lattice_level, noisy.element_level], -1)
        told = self.condition(self.level(levels * 1000).flatten(-2))
        hidden = self.elements(noisy.atomic_numbers) + self.atom_level(
            self.level(noisy.coord_level * 1000)
        )
        dim = hidden.shape[-1]
        flat = hidden.reshape(-1, dim)
        steps = flat.new_zeros(len(flat), 3)
        strain = flat.new_zeros(len(flat), 3, 3)
        layers = [layer for layer in self.layers if isinstance(layer, E3EquivariantLayer)]
        for layer, tell in zip(layers, self.told, strict=True):
            flat = flat + tell(told).unsqueeze(1).expand(-1, atoms, -1).reshape(-1, dim)
            flat, step, bend = layer.exchange(edges, flat)
            steps, strain = steps + step, strain + bend
        features = self.norm(flat).view(crystals, atoms, dim) * mask.unsqueeze(-1)
        crystal = features.sum(1) / count.unsqueeze(-1)
        moved = steps.view(crystals, atoms, 3) * (1 + self.speed(features)) * mask.unsqueeze(-1)
        mean = strain.view(crystals, atoms, 3, 3).sum(1) / count[:, None, None]
        one = torch.eye(3, dtype=mean.dtype, device=mean.device)
        mean = mean + self.swelling(crystal).unsqueeze(-1) * one
        return Encoded(features, crystal), moved, mean


def log_strain_change(
    metric: Float[Tensor, "crystals 3 3"], strain: Float[Tensor, "crystals 3 3"]
) -> Float[Tensor, "crystals 6"]:
    """Change of the six log-strain numbers when the crystal is strained: L → L (1 + ε).

    With L = exp(S) and G = L L = exp(2 S) the change of G is 2 L ε L; the derivative of the matrix
    logarithm in that direction is taken in the eigenbasis of G (Daleckii and Krein 1965).

    Args:
        metric: ``(crystals, 3, 3)`` G in Å2.
        strain: ``(crystals, 3, 3)`` symmetric, in the frame of L.

    Returns:
        ``(crystals, 6)``: S11, S22, S33, S23, S13, S12.
    """
    with torch.no_grad():
        values, vectors = torch.linalg.eigh(metric.double())
        values = values.clamp_min(1e-9)
        logs = values.log()
        gap = values.unsqueeze(-1) - values.unsqueeze(-2)
        near = gap.abs() < 1e-6 * values.amax(-1)[:, None, None]
        middle = 0.5 * (values.unsqueeze(-1) + values.unsqueeze(-2))
        slope = (logs.unsqueeze(-1) - logs.unsqueeze(-2)) / torch.where(near, 1.0, gap)
        slope = torch.where(near, 1 / middle, slope)
        roots = values.sqrt()
        factor = slope * roots.unsqueeze(-1) * roots.unsqueeze(-2)
        factor, frame = factor.to(strain.dtype), vectors.to(strain.dtype)
    turned = frame.mT @ strain @ frame
    change = frame @ (turned * factor) @ frame.mT
    picked = [change[:, i, j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))]
    return torch.stack(picked, -1)


def _cell(metric: Float[Tensor, "crystals 3 3"]) -> Float[Tensor, "crystals 3 3"]:
    """The symmetric cell with this metric, ``(crystals, 3, 3)`` rows in Å."""
    with torch.no_grad():
        values, vectors = torch.linalg.eigh(metric.double())
        out = (vectors * values.clamp_min(1e-9).sqrt().unsqueeze(-2)) @ vectors.mT
    return out.to(metric.dtype)


def _open_edges(positions: Float[Tensor, "crystals atoms 3"], cutoff: float) -> Edges:
    """Pairs of a molecule: no periodicity, all atoms real."""
    atoms = positions.shape[1]
    vectors = positions.unsqueeze(1) - positions.unsqueeze(2)
    near = vectors.square().sum(-1) < cutoff**2
    near = near & ~torch.eye(atoms, dtype=torch.bool, device=positions.device)
    molecule, receiver, sender = torch.nonzero(near, as_tuple=True)
    vector = vectors[molecule, receiver, sender]
    distance = vector.square().sum(-1).clamp_min(1e-12).sqrt()
    return Edges(molecule * atoms + receiver, molecule * atoms + sender, vector, distance)


def _envelope(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """1 - 28 x⁶ + 48 x⁷ - 21 x⁸ on [0, 1]: zero with two derivatives at 1 (p = 6)."""
    inside = x.clamp(max=1.0)
    power = inside.pow(6)
    return 1 - 28 * power + 48 * power * inside - 21 * power * inside.square()


def _sum(
    values: Float[Tensor, " pairs *shape"], index: Int[Tensor, " pairs"], rows: int
) -> Float[Tensor, " atoms *shape"]:
    """Sum of ``(edges, features)`` over the edges of each atom."""
    return values.new_zeros(rows, values.shape[-1]).index_add_(0, index, values)
