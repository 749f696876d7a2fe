"""Training lists for the ranker: candidates of library crystals, labelled by structure matching.

Part of ``train_ranker.py``. The votes of all crystals of the same formula are left out, and lists
without any matching candidate are not kept. Stored as flat arrays in one ``.npz`` file.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crystal_diffusion.matching.matcher import StructureMatch
from crystal_diffusion.proposals.environments import Environments
from crystal_diffusion.proposals.prototypes import PrototypeProposer
from crystal_diffusion.proposals.ranker import (
    element_fingerprint,
    environments_of,
    feature_matrix,
)

#: Candidates whose neighbour distances differ by more than this are not matched at all; of the
#: matches found without this rule on 200 rows of MP-20 97 % had less.
NEAR = 0.2


@dataclass(frozen=True, eq=False)
class Example:
    """One composition: its candidates, and which of them are the crystal."""

    features: np.ndarray
    right: np.ndarray
    crystals: list[Environments]


def collate(examples: list[Example]) -> dict[str, Any]:
    """Several lists as flat tensors."""
    crystals = [crystal for example in examples for crystal in example.crystals]
    sizes = [len(crystal.numbers) for crystal in crystals]
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int)
    lengths = [len(example.right) for example in examples]
    return {
        "numbers": torch.tensor(np.concatenate([c.numbers for c in crystals])),
        "share": torch.tensor(np.concatenate([c.share for c in crystals])),
        "distance": torch.tensor(np.concatenate([c.distance for c in crystals])),
        "neighbour": torch.tensor(
            np.concatenate([c.neighbour + o for c, o in zip(crystals, offsets, strict=True)])
        ),
        "candidate": torch.tensor(np.repeat(np.arange(len(crystals)), sizes)),
        "list": torch.tensor(np.repeat(np.arange(len(examples)), lengths)),
        "features": torch.tensor(
            np.concatenate([e.features for e in examples]), dtype=torch.float32
        ),
        "right": torch.tensor(np.concatenate([e.right for e in examples])),
        "candidates": len(crystals),
        "lists": len(examples),
    }


def make_examples(n: int, options: int, seed: int, out: Path) -> None:
    """Build and save lists for ``n`` library crystals of different composition."""
    proposer = PrototypeProposer()
    library, matcher = proposer.library, StructureMatch()
    codes = library.composition_codes
    atoms = library.type_counts.sum(1)[library.entry_type]
    start = time.process_time()
    found: list[Example] = []
    seen: set[tuple[int, int]] = set()
    tried = 0
    for entry in np.random.default_rng(seed).permutation(len(library)).tolist():
        key = (int(codes[entry]), int(atoms[entry]))
        if key in seen or key[0] % 20 == 0:
            continue
        seen.add(key)
        crystal = library.structure(entry)
        cell = dict(Counter(int(number) for number in crystal.atomic_numbers))
        proposals = proposer.propose(cell, n=options, known=False)
        if len(proposals) < 2:
            continue
        tried += 1
        own = element_fingerprint(crystal)
        right = np.array(
            [
                float(np.abs(element_fingerprint(p.structure) - own).mean()) < NEAR
                and matcher.fit(crystal, p.structure)
                for p in proposals
            ]
        )
        if right.any():
            crystals = [environments_of(p.structure) for p in proposals]
            found.append(Example(feature_matrix(proposals), right, crystals))
        if len(found) % 500 == 1:
            print(f"{len(found)} lists of {tried}, {time.process_time() - start:.0f} s", flush=True)
        if len(found) >= n:
            break
    print(f"{len(found)} of {tried} compositions have a match among {options} candidates")
    crystals = [crystal for example in found for crystal in example.crystals]
    np.savez_compressed(
        out,
        features=np.concatenate([e.features for e in found]).astype(np.float32),
        right=np.concatenate([e.right for e in found]),
        list_sizes=np.array([len(e.right) for e in found]),
        crystal_sizes=np.array([len(c.numbers) for c in crystals]),
        numbers=np.concatenate([c.numbers for c in crystals]).astype(np.uint8),
        share=np.concatenate([c.share for c in crystals]),
        neighbour=np.concatenate([c.neighbour for c in crystals]).astype(np.uint8),
        distance=np.concatenate([c.distance for c in crystals]).astype(np.float16),
    )


def read_examples(path: Path) -> list[Example]:
    """Lists written by :func:`make_examples`."""
    with np.load(path, allow_pickle=False) as data:
        arrays = {name: data[name] for name in data.files}
    ends = np.cumsum(arrays["crystal_sizes"])
    crystals = [
        Environments(
            arrays["numbers"][end - size : end].astype(np.int64),
            arrays["share"][end - size : end],
            arrays["neighbour"][end - size : end].astype(np.int64),
            arrays["distance"][end - size : end].astype(np.float32),
        )
        for size, end in zip(arrays["crystal_sizes"], ends, strict=True)
    ]
    stops = np.cumsum(arrays["list_sizes"])
    return [
        Example(
            arrays["features"][stop - size : stop],
            arrays["right"][stop - size : stop],
            crystals[stop - size : stop],
        )
        for size, stop in zip(arrays["list_sizes"], stops, strict=True)
    ]
