"""Evaluation: figures with their definition, number of cases and interval; benchmarks; baselines.

The names below are loaded when they are first used, so importing this room costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crystal_diffusion.evaluation.baselines import NearestNeighbourCopy, RandomPlacement
    from crystal_diffusion.evaluation.benchmark import evaluate_predictions, run_benchmark
    from crystal_diffusion.evaluation.generation import evaluate_generation
    from crystal_diffusion.evaluation.metrics import MetricResult
    from crystal_diffusion.evaluation.table import EvaluationTable

_HOMES = {
    "EvaluationTable": "table",
    "MetricResult": "metrics",
    "NearestNeighbourCopy": "baselines",
    "RandomPlacement": "baselines",
    "evaluate_generation": "generation",
    "evaluate_predictions": "benchmark",
    "run_benchmark": "benchmark",
}

__all__ = [
    "EvaluationTable",
    "MetricResult",
    "NearestNeighbourCopy",
    "RandomPlacement",
    "evaluate_generation",
    "evaluate_predictions",
    "run_benchmark",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
