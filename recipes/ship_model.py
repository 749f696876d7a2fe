"""Put a trained model into the package: half-precision weights with a header that explains them.

Run: python recipes/ship_model.py MODEL_FOLDER TRAIN.parquet [STEPS_BEFORE]
     python recipes/ship_model.py --header-only TRAIN.parquet   # weights stay as they are

STEPS_BEFORE: steps of the weights that training started from, where its header does not say it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.pretrained import model_path
from crystal_diffusion.training.checkpoint import load_model, save_model
from crystal_diffusion.workflows.data_card import describe_data


def main() -> None:
    """Write ``pretrained/model.safetensors`` and say what is in it."""
    same_weights = sys.argv[1] == "--header-only"
    model, header = load_model(model_path() if same_weights else Path(sys.argv[1]))
    dataset = CrystalStructureDataset(sys.argv[2], reduce=True)
    extra = describe_data(dataset, dataset.arrays, np.zeros(0, np.int64))
    if same_weights and extra["data_sha256"] != header["data_sha256"]:
        raise SystemExit(f"{sys.argv[2]}: not the file these weights were trained on")
    before = int(sys.argv[3]) if len(sys.argv) > 3 else int(header.get("steps_before", 0))
    extra.update(
        steps=header["steps"],
        steps_before=before,
        loss=header["loss"],
        trained_on=(
            "Materials Project v2025.02.12, ordered crystals of at most 20 sites (CC-BY 4.0), "
            "without any row of the validation and test splits of MP-20, MPTS-52, Perov-5, "
            "Carbon-24"
        ),
        licence="weights MIT, data CC-BY 4.0",
    )
    weights = {name: p.half() for name, p in model.named_parameters()}
    save_model(model_path(), model, weights, extra)
    print(f"{model_path().stat().st_size / 1e6:.1f} MB, {header['steps']} steps")


if __name__ == "__main__":
    main()
