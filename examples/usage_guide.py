"""The usage guide of the original design, line for line: train, generate, look, validate.

Run it with `python examples/usage_guide.py`; it takes about half a minute on one core.
"""

import numpy as np
import torch
from torch.utils.data import DataLoader

from crystal_diffusion import (
    CrystalDiffusionModel,
    CrystalStructureDataset,
    PhysicsValidator,
    create_demo_dataset,
    visualize_crystal,
)

# 1. Create dataset
crystal_data = create_demo_dataset()
dataset = CrystalStructureDataset(crystal_data)
dataloader = DataLoader(dataset, batch_size=4, shuffle=True)

# 2. Initialize model
model = CrystalDiffusionModel(timesteps=1000, beta_start=1e-4, beta_end=0.02, device="cpu")

# 3. Train
for epoch in range(100):
    for batch in dataloader:
        loss = model.train_step(batch)
    if epoch % 20 == 0:
        print(f"Loss: {loss:.4f}")

# 4. Generate
lattice = torch.tensor([[[5.0, 0, 0], [0, 5.0, 0], [0, 0, 5.0]]])
mask = torch.ones(1, 8)  # 8 atoms
generated = model.sample(batch_size=1, max_atoms=8, lattice=lattice, mask=mask)

# 5. Visualize
view = visualize_crystal(generated[0].numpy(), lattice[0].numpy())
view.save("usage_guide.html")

# Custom dataset
my_crystals = [
    {
        "positions": np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]),
        "atom_types": np.array([14, 14]),  # Silicon
        "lattice": np.array([[5.43, 0.0, 0.0], [0.0, 5.43, 0.0], [0.0, 0.0, 5.43]]),
    },
    # ... more structures
]

dataset = CrystalStructureDataset(my_crystals)
print(f"Custom dataset: {len(dataset)} crystal")

# Physics validation: check the generated structure
positions, lattice, mask = generated[0], lattice[0], mask[0]
validator = PhysicsValidator(min_distance=0.7)

valid, min_dist = validator.check_minimum_distance(positions, lattice, mask)
print(f"Valid: {valid}, Min distance: {min_dist:.2f} Å")

# Correct if needed
corrected = validator.correct_structure(positions, lattice, mask, max_iterations=10)
valid, min_dist = validator.check_minimum_distance(corrected, lattice, mask)
print(f"After correction: {valid}, Min distance: {min_dist:.2f} Å")
