"""Potentials by name: what relaxes a structure and says what it costs.

A potential is anything with a name, a version, the elements it knows and a maker of ASE
calculators. ``POTENTIALS`` holds the makers; add to it, or hand your own object to `relax`.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from crystal_diffusion.errors import InputError, MissingDependencyError

log = logging.getLogger(__name__)


@runtime_checkable
class Potential(Protocol):
    """What screening needs to know of a potential."""

    @property
    def name(self) -> str:
        """Short name, the key of results and reference files."""

    @property
    def version(self) -> str:
        """Version of the code and weights; energies of two versions are never mixed."""

    @property
    def functional(self) -> str:
        """Density functional it was trained on, or 'none'."""

    @property
    def elements(self) -> frozenset[str] | None:
        """Symbols it knows; None where it does not say."""

    def calculator(self) -> Any:
        """A fresh ASE calculator with energy, forces and stress."""


@dataclass(frozen=True)
class NamedPotential:
    """A potential made of a function that returns an ASE calculator.

    To reach other processes, ``make`` must be importable (a function of a module, not a lambda).
    """

    name: str
    version: str
    functional: str
    elements: frozenset[str] | None
    make: Callable[[], Any]

    def calculator(self) -> Any:
        """A fresh ASE calculator."""
        return self.make()


def _need(package: str, name: str) -> str:
    """Version of an installed package.

    Raises:
        MissingDependencyError: the package is not installed.
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise MissingDependencyError(
            f"potential {name!r} needs the package {package}, which is not installed: "
            f"pip install {package}"
        ) from None


def _single_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _make_pair() -> Any:
    from crystal_diffusion.energy.pair_potential import PairPotential

    return PairPotential()


def _pair() -> NamedPotential:
    from crystal_diffusion.energy.pair_potential import PAIR_ELEMENTS, PAIR_VERSION

    return NamedPotential("pair", PAIR_VERSION, "none", PAIR_ELEMENTS, _make_pair)


def _make_diep() -> Any:
    _single_thread()
    from diep.pretrained import make_calculator

    from crystal_diffusion.energy.shared_triangles import share_maps

    return share_maps(make_calculator())


#: Elements of the released diep weights: H to Bi and Ac to Pu without Po (MatPES-r2SCAN).
_DIEP_WITHOUT = frozenset({"Po", "At", "Rn", "Fr", "Ra"})


def _diep() -> NamedPotential:
    from ase.data import chemical_symbols

    version = _need("diep", "diep")
    elements = frozenset(chemical_symbols[1:95]) - _DIEP_WITHOUT
    return NamedPotential("diep", version, "r2SCAN", elements, _make_diep)


def _chgnet(weights: str) -> Any:
    _single_thread()
    with contextlib.redirect_stdout(io.StringIO()) as said:
        from chgnet.model.dynamics import CHGNetCalculator
        from chgnet.model.model import CHGNet

        model = CHGNet.load(model_name=weights, use_device="cpu", verbose=False)
        calculator = CHGNetCalculator(model, use_device="cpu", on_isolated_atoms="error")
    log.debug("chgnet: %s", said.getvalue().strip())
    return calculator


def _make_chgnet() -> Any:
    return _chgnet("0.3.0")


def _make_chgnet_r2scan() -> Any:
    return _chgnet("r2scan")


#: CHGNet embeds H to Pu without Po, At, Rn, Fr, Ra.
def _chgnet_potential(name: str, weights: str, functional: str) -> NamedPotential:
    from ase.data import chemical_symbols

    version = f"{_need('chgnet', name)}-{weights}"
    elements = frozenset(chemical_symbols[1:95]) - _DIEP_WITHOUT
    make = _make_chgnet_r2scan if weights == "r2scan" else _make_chgnet
    return NamedPotential(name, version, functional, elements, make)


def _make_sevennet() -> Any:
    _single_thread()
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator(model="7net-mf-0", modal="R2SCAN", device="cpu")


def _sevennet() -> NamedPotential:
    from ase.data import chemical_symbols

    version = f"{_need('sevenn', 'sevennet')}-7net-mf-0"
    elements = frozenset(chemical_symbols[1:95]) - _DIEP_WITHOUT
    return NamedPotential("sevennet", version, "r2SCAN", elements, _make_sevennet)


#: name -> maker of the potential; making it checks that its package is there, no weights loaded.
POTENTIALS: dict[str, Callable[[], Potential]] = {
    "pair": _pair,
    "diep": _diep,
    "chgnet": lambda: _chgnet_potential("chgnet", "0.3.0", "PBE+U"),
    "chgnet-r2scan": lambda: _chgnet_potential("chgnet-r2scan", "r2scan", "r2SCAN"),
    "sevennet": _sevennet,
}


def get_potential(name: str | Potential) -> Potential:
    """The potential of that name; an object that already is one comes back as it is.

    Raises:
        InputError: an unknown name.
        MissingDependencyError: its package is not installed; the message says how to install it.
    """
    if not isinstance(name, str):
        return name
    if name not in POTENTIALS:
        raise InputError(
            f"potentials: {name!r} is not known; choose from {', '.join(sorted(POTENTIALS))}"
        )
    return POTENTIALS[name]()


def default_potential() -> str | None:
    """``diep`` where it is installed, else none: what has no meaning as an energy is no default."""
    return "diep" if importlib.util.find_spec("diep") is not None else None


def installed_second(first: str) -> str | None:
    """A potential to ask for a second opinion: the first installed one of other weights."""
    for name, package in (
        ("sevennet", "sevenn"),
        ("chgnet-r2scan", "chgnet"),
        ("diep", "diep"),
    ):
        if name != first and importlib.util.find_spec(package) is not None:
            return name
    return None


#: What to say where energies are wanted and no potential is installed.
NO_POTENTIAL = "no potential is installed, so there are no energies; for energies type: " + (
    "pip install diep"
)


def has_energy(potential: Potential) -> bool:
    """Whether its numbers are energies: the built-in pair potential only has good distances."""
    return potential.functional != "none"


def wrap_calculator(
    name: str, version: str, make: Callable[[], Any], *, functional: str = "unknown"
) -> NamedPotential:
    """Your own ASE calculator as a potential: ``wrap_calculator("emt", "1", EMT)``."""
    return NamedPotential(name, version, functional, None, make)
