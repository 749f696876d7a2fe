"""Extensions 2, 5, 6 and 7 of the original design on small models of the demo crystals.

Ask for a property, ask in words, see how sure the answer is, predict a property. Run it with
`python examples/extensions.py`; it takes some twenty seconds on one core. The models are far too
small to be believed; `cd.load()` gives the pretrained one.
"""

import logging
from collections.abc import Sequence

import torch
from torch.utils.data import DataLoader

from crystal_diffusion import (
    ConditionalDiffusion,
    CrystalBatch,
    CrystalStructureDataset,
    PropertyPredictor,
    create_demo_dataset,
    train,
)
from crystal_diffusion.errors import MissingDependencyError

torch.manual_seed(0)
logging.disable(logging.WARNING)
dataset = CrystalStructureDataset(create_demo_dataset())
batch = next(iter(DataLoader(dataset, batch_size=len(dataset))))
structures = CrystalBatch(batch["positions"], batch["lattice"], batch["atom_types"]).to_structures()
density = torch.tensor([structure.density for structure in structures])

# 2. Conditional generation: told the density of each crystal, now and then nothing
model = ConditionalDiffusion({"density": density}, timesteps=50, hidden_dim=32, device="cpu")
for epoch in range(100):
    loss = model.train_step({**batch, "labels": {"density": density}})
    if epoch % 33 == 0:
        print(f"Conditional loss: {loss:.4f}")
made = {"batch_size": 4, "max_atoms": 2, "lattice": 4.0 * torch.eye(3).unsqueeze(0), "seed": 0}
light = model.sample_conditional({"density": 3.0}, guidance_scale=1.5, **made)
free = model.sample_conditional({"density": 3.0}, guidance_scale=0.0, **made)
print(f"Asked for a density: {tuple(light.shape)}, moved by {(light - free).abs().mean():.4f}")

# 5. Multi-modal conditioning: told one sentence of each crystal, as the vector of an encoder
texts = [f"{c['name']}, {c['formula']}, of {c['prototype']} type" for c in create_demo_dataset()]


def letters(sentences: Sequence[str]) -> list[list[int]]:
    """An encoder of one's own: how often each letter occurs."""
    return [[text.lower().count(chr(97 + k)) for k in range(26)] for text in sentences]


settings = {"timesteps": 50, "hidden_dim": 32, "device": "cpu"}
try:
    model = ConditionalDiffusion(text_encoder="sentence", **settings)
except MissingDependencyError as error:
    print(error)
    model = ConditionalDiffusion(text_encoder=letters, **settings)
for _ in range(60):
    model.train_step({**batch, "text": texts})
asked = model.sample(prompt="cubic silicon crystal", guidance_scale=1.5, **made)
free = model.sample(**made)
print(f"Asked in words: {tuple(asked.shape)}, moved by {(asked - free).abs().mean():.4f}")

# 6. Uncertainty: several samples of one composition, laid on each other before averaging
generator, _ = train(dataset, "extensions_model", from_scratch=True, dim=64, layers=2, steps=300)
found = generator.sample_with_uncertainty("NaCl", n_samples=10, num_atoms=(2, 2))
mean, spread = found
print(f"{mean.composition.reduced_formula}: {found.together} of {found.samples} samples alike")
print(f"Spread of a site: {spread.max():.3f} Å at most")  # not known where only one is alike

# 7. Property prediction: a linear head on the encoder of a denoiser
predictor = PropertyPredictor()
optimizer = torch.optim.Adam(predictor.parameters(), lr=1e-3)
for epoch in range(60):
    said = predictor(batch["positions"], batch["lattice"], mask=batch["mask"]).squeeze(-1)
    error = (said - density).square().mean()
    optimizer.zero_grad()
    error.backward()
    optimizer.step()
    if epoch % 59 == 0:
        print(f"Squared error from positions alone: {error.item():.2f}")
shared = PropertyPredictor(generator.model).fit_head(structures, density.tolist())
with torch.no_grad():
    said = shared(batch["positions"], batch["lattice"], batch["atom_types"], batch["mask"])
error = (said.squeeze(-1) - density).abs().mean()
guess = (density - density.mean()).abs().mean()
print(f"Head on the generator's encoder: {error:.2f} g/cm3 off, the mean {guess:.2f}")
