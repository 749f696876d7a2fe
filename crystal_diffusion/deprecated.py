"""Old names that go on working for one version, each with a warning that tells the new one."""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar

Class = TypeVar("Class", bound=type)

#: Modules that were moved, without the name of the package.
MOVED = {
    "data.cif_origin": "data.sources.cif_origin",
    "data.demo_types": "data.demo_table",
    "data.disorder_groups": "data.disorder",
    "data.run_folder": "runs.folder",
    "diffusion.reference": "diffusion.original",
    "generation.benchmark": "workflows.benchmark",
    "generation.clock": "generation.result",
    "generation.crystals": "generation.result",
    "generation.data_card": "workflows.data_card",
    "generation.demo": "workflows.demo",
    "generation.reference": "generation.nearest",
    "generation.run": "workflows.generate",
    "generation.training": "workflows.train",
    "networks.unet_body": "networks.unet",
    "networks.unet_chain": "networks.unet",
    "physics.batch": "physics.files",
    "proposals.ranker": "ranking.learned",
    "proposals.scoring_network": "ranking.network",
    "screening.batch": "energy.pooled_relaxation",
    "screening.batched": "energy.batched_relaxation",
    "screening.dft_inputs": "dft.inputs",
    "screening.dft_results": "dft.results",
    "screening.executors": "parallel.executors",
    "screening.hull": "energy.hull",
    "screening.pair_potential": "energy.pair_potential",
    "screening.outcome": "screening.rows",
    "screening.potentials": "energy.potentials",
    "screening.references": "energy.reference_energies",
    "screening.relaxation": "energy.relaxation",
}


def warn(old: str, new: str, stacklevel: int = 3) -> None:
    """Say that a name was changed."""
    warnings.warn(
        f"{old} is now {new}; the old name goes in the next version.",
        DeprecationWarning,
        stacklevel=stacklevel,
    )


def renamed(**names: str) -> Callable[[Class], Class]:
    """A class whose fields had other names: old keywords and attributes work, with a warning.

    Args:
        **names: new name by old one.
    """

    def decorate(cls: Class) -> Class:
        init = cls.__init__  # type: ignore[misc]

        def with_old_names(self: Any, *args: Any, **kwargs: Any) -> None:
            for old, new in names.items():
                if old in kwargs:
                    warn(f"{cls.__name__}({old}=...)", f"{new}=...")
                    kwargs[new] = kwargs.pop(old)
            init(self, *args, **kwargs)

        def reader(old: str, new: str) -> property:
            def read(self: Any) -> Any:
                warn(f"{cls.__name__}.{old}", new)
                return getattr(self, new)

            return property(read)

        # The class tells its new keywords; its __init__ takes the old ones, too.
        parameters = list(inspect.signature(init).parameters.values())[1:]
        cls.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        cls.__init__ = with_old_names  # type: ignore[misc]
        for old, new in names.items():
            setattr(cls, old, reader(old, new))
        return cls

    return decorate


def old_names(module: str, **names: str) -> Callable[[str], Any]:
    """A module's ``__getattr__`` that finds what it held under another name or elsewhere.

    Args:
        module: its ``__name__``.
        **names: new home by old name: a name of this module, or ``other.module:name``.
    """

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = names[name].rpartition(":")
        place = f"crystal_diffusion.{home}" if home else module
        warn(f"{module}.{name}", f"{place}.{new}")
        return getattr(importlib.import_module(place), new)

    return find


class _Moved:
    """Finds modules under their old names, after all other finders have failed.

    A finder and loader by its methods: their base classes cost a tenth of the time of `--help`.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, inside = name.partition(".")
        if package != "crystal_diffusion" or inside not in MOVED:
            return None
        return ModuleSpec(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = f"crystal_diffusion.{MOVED[spec.name.partition('.')[2]]}"
        warn(spec.name, new, stacklevel=2)
        module = importlib.import_module(new)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the module has run under its new name; it keeps that."""
        own = module.__spec__
        if own is not None and own.loader_state is not None:
            module.__spec__ = own.loader_state


def find_moved_modules() -> None:
    """Let `import` find modules under their old names."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.append(_Moved())
