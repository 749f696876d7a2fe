"""What the Materials Project's formation energies became when its corrections changed in 2021.

Formation energies of the density functional are corrected by so much an atom of each anion, and
of each transition metal in oxides and fluorides. The labels of the training tables follow the
corrections in use until 2020 (Jain et al., Phys. Rev. B 84, 045115 (2011); pymatgen's
``MPCompatibility.yaml``), those of MP-20 and of the database of today the corrections of 2021 (Wang
et al., Sci. Rep. 11, 15496 (2021); ``MP2020Compatibility.yaml``). The difference depends on the
composition alone.
"""

from __future__ import annotations

import warnings
from functools import cache

from pymatgen.core import Composition, Element

#: eV per atom of an anion, corrections of 2021 minus those before. Until 2020 bromides, iodides,
#: selenides, tellurides, antimonides and silicides had none; H, N, F and Cl were corrected by
#: fitted energies of their elements, here against H2 (-3.393), N2 (-8.337), F2 (-1.912) and Cl2
#: (-1.849 eV/atom).
ANIONS = {
    "O": -0.687 + 0.70229,
    "S": -0.503 + 0.66346,
    "Se": -0.472,
    "Te": -0.422,
    "Br": -0.534,
    "I": -0.379,
    "Sb": -0.192,
    "Si": 0.071,
    "H": -0.179 + 0.153,
    "N": -0.361 + 0.384,
    "F": -0.462 + 0.491,
    "Cl": -0.614 + 0.595,
}
#: eV per atom of a metal that is treated with a Hubbard U, in oxides and fluorides.
METALS = {
    "V": -1.7 + 1.682,
    "Cr": -1.999 + 2.013,
    "Mn": -1.668 + 1.68085,
    "Fe": -2.256 + 2.733,
    "Co": -1.638 + 1.874,
    "Ni": -2.541 + 2.164,
    "W": -4.438 + 4.351,
    "Mo": -3.202 + 3.531,
}


@cache
def label_change(formula: tuple[tuple[int, int], ...]) -> float:
    """eV/atom to add to a formation energy corrected as before 2021.

    Args:
        formula: pairs of atomic number and count.
    """
    counts = {Element.from_Z(z).symbol: count for z, count in formula}
    if len(counts) < 2:
        return 0.0
    most = max(counts, key=_electronegativity)
    change = ANIONS.get(most, 0.0) * counts[most]
    open_ones = [name for name in counts if name in ANIONS and name != most]
    if open_ones:
        charges = _charges(counts)
        change += sum(ANIONS[name] * counts[name] for name in open_ones if charges.get(name, 0) < 0)
    if most in ("O", "F"):
        change += sum(METALS.get(name, 0.0) * count for name, count in counts.items())
    return change / sum(counts.values())


def _charges(counts: dict[str, int]) -> dict[str, float]:
    """The likeliest oxidation states; empty where none balance."""
    try:
        guesses = Composition(counts).oxi_state_guesses(max_sites=-20)
    except ValueError:
        return {}
    return dict(guesses[0]) if guesses else {}


@cache
def _electronegativity(name: str) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = float(Element(name).X)
    return value if value == value else 0.0
