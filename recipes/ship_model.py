"""Put a trained model into the package: half-precision weights with a header that explains them.

Run: python recipes/ship_model.py MODEL TRAIN.parquet [TRAIN.parquet ...] [--steps-before N]

``--steps-before``: steps of the weights that training started from, where its header does not say.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np

from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.pretrained import model_path
from crystal_diffusion.training.checkpoint import load_model, save_model
from crystal_diffusion.workflows.data_card import describe_data


def describe(files: list[str]) -> dict[str, object]:
    """What the header says of the data; distributions are those of the first file."""
    parts = []
    for file in files:
        dataset = CrystalStructureDataset(file, reduce=True)
        parts.append(describe_data(dataset, dataset.arrays, np.zeros(0, np.int64)))
    if len(parts) == 1:
        return parts[0]
    sizes: Counter[int] = Counter()
    for part in parts:
        sizes.update({int(n): int(k) for n, k in part["sizes"].items()})
    together = "".join(part["data_sha256"] for part in parts)
    return {
        **parts[0],
        "data_sha256": hashlib.sha256(together.encode()).hexdigest(),
        "crystals": sum(part["crystals"] for part in parts),
        "sizes": {str(n): sizes[n] for n in sorted(sizes)},
    }


def main() -> None:
    """Write ``pretrained/model.safetensors`` and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("train", nargs="+")
    parser.add_argument("--steps-before", type=int, default=0)
    options = parser.parse_args()
    model, header = load_model(options.model)
    extra = describe(options.train)
    extra.update(
        steps=header["steps"],
        steps_before=int(header.get("steps_before", 0)) or options.steps_before,
        loss=header["loss"],
        trained_on=(
            f"Materials Project v2025.02.12, ordered crystals of at most "
            f"{model.config.max_train_atoms} sites (CC-BY 4.0), without any row of the validation "
            "and test splits of MP-20, MPTS-52, Perov-5, Carbon-24"
        ),
        licence="weights MIT, data CC-BY 4.0",
    )
    weights = {name: p.half() for name, p in model.named_parameters()}
    save_model(model_path(), model, weights, extra)
    print(f"{model_path().stat().st_size / 1e6:.1f} MB, {header['steps']} steps")


if __name__ == "__main__":
    main()
