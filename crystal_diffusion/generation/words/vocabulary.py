"""The words that the grammar knows: elements, families, anions, structure types, loose words."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from crystal_diffusion import chemistry
from crystal_diffusion.symmetry.structure_types import STRUCTURE_TYPES


def split(text: str) -> tuple[str, ...]:
    """Words between blanks."""
    return tuple(text.split())


#: Families of elements. "chalcogenide" leaves oxygen out, as usage does.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "alkali": ("Li", "Na", "K", "Rb", "Cs"),
    "alkaline_earth": ("Be", "Mg", "Ca", "Sr", "Ba"),
    "lanthanide": split("La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu"),
    "rare_earth": split("Sc Y La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu"),
    "actinide": split("Ac Th Pa U Np Pu"),
    "transition_metal": split(
        "Sc Ti V Cr Mn Fe Co Ni Cu Zn Y Zr Nb Mo Tc Ru Rh Pd Ag Cd Hf Ta W Re Os Ir Pt Au Hg"
    ),
    "3d_metal": split("Sc Ti V Cr Mn Fe Co Ni Cu Zn"),
    "4d_metal": split("Y Zr Nb Mo Tc Ru Rh Pd Ag Cd"),
    "5d_metal": split("Hf Ta W Re Os Ir Pt Au Hg"),
    "platinum_group": ("Ru", "Rh", "Pd", "Os", "Ir", "Pt"),
    "noble_metal": ("Ru", "Rh", "Pd", "Ag", "Os", "Ir", "Pt", "Au"),
    "coinage_metal": ("Cu", "Ag", "Au"),
    "refractory_metal": ("Nb", "Mo", "Ta", "W", "Re"),
    "post_transition": ("Al", "Ga", "In", "Sn", "Tl", "Pb", "Bi"),
    "metalloid": ("B", "Si", "Ge", "As", "Sb", "Te"),
    "noble_gas": ("He", "Ne", "Ar", "Kr", "Xe"),
    "halide": ("F", "Cl", "Br", "I"),
    "chalcogenide": ("S", "Se", "Te"),
    "pnictide": ("N", "P", "As", "Sb", "Bi"),
}

#: How families are written; plurals are found without being listed.
FAMILY_NAMES: Mapping[str, str] = {
    "alkali metal": "alkali",
    "alkali": "alkali",
    "alkaline earth metal": "alkaline_earth",
    "alkaline earth": "alkaline_earth",
    "alkali earth": "alkaline_earth",
    "alkaline": "alkaline_earth",
    "group 1 element": "alkali",
    "group 2 element": "alkaline_earth",
    "lanthanide": "lanthanide",
    "lanthanoid": "lanthanide",
    "rare earth": "rare_earth",
    "rare earth metal": "rare_earth",
    "rare earth element": "rare_earth",
    "ree": "rare_earth",
    "actinide": "actinide",
    "actinoid": "actinide",
    "transition metal": "transition_metal",
    "transition element": "transition_metal",
    "d block metal": "transition_metal",
    "d block element": "transition_metal",
    "d metal": "transition_metal",
    "3d transition metal": "3d_metal",
    "3d metal": "3d_metal",
    "first row transition metal": "3d_metal",
    "4d transition metal": "4d_metal",
    "4d metal": "4d_metal",
    "5d transition metal": "5d_metal",
    "5d metal": "5d_metal",
    "platinum group": "platinum_group",
    "platinum group metal": "platinum_group",
    "pgm": "platinum_group",
    "pt group": "platinum_group",
    "pt group metal": "platinum_group",
    "pt group element": "platinum_group",
    "platinum group element": "platinum_group",
    "noble metal": "noble_metal",
    "precious metal": "noble_metal",
    "coinage metal": "coinage_metal",
    "refractory metal": "refractory_metal",
    "post transition metal": "post_transition",
    "poor metal": "post_transition",
    "metalloid": "metalloid",
    "noble gas": "noble_gas",
    "inert gas": "noble_gas",
    "halide": "halide",
    "halogenide": "halide",
    "halogen": "halide",
    "chalcogenide": "chalcogenide",
    "chalcogen": "chalcogenide",
    "chalcohalide": "chalcogenide",
    "pnictide": "pnictide",
    "pnictogen": "pnictide",
    **{
        f"{prefix}{name}": name
        for prefix in ("mono", "di", "tri", "tetra", "penta", "hexa", "sesqui")
        for name in ("halide", "chalcogenide", "pnictide")
    },
}

_ELEMENT_NAMES = split(
    "hydrogen helium lithium beryllium boron carbon nitrogen oxygen fluorine neon sodium magnesium "
    "aluminum silicon phosphorus sulfur chlorine argon potassium calcium scandium titanium "
    "vanadium chromium manganese iron cobalt nickel copper zinc gallium germanium arsenic selenium "
    "bromine krypton rubidium strontium yttrium zirconium niobium molybdenum technetium ruthenium "
    "rhodium palladium silver cadmium indium tin antimony tellurium iodine xenon cesium barium "
    "lanthanum cerium praseodymium neodymium promethium samarium europium gadolinium terbium "
    "dysprosium holmium erbium thulium ytterbium lutetium hafnium tantalum tungsten rhenium osmium "
    "iridium platinum gold mercury thallium lead bismuth polonium astatine radon francium radium "
    "actinium thorium protactinium uranium neptunium plutonium americium curium berkelium "
    "californium einsteinium fermium mendelevium nobelium lawrencium"
)
#: Element names to symbols.
ELEMENTS: Mapping[str, str] = (
    {name: chemistry.SYMBOLS[z] for z, name in enumerate(_ELEMENT_NAMES, start=1)}
    | {"aluminium": "Al", "sulphur": "S", "caesium": "Cs", "wolfram": "W", "columbium": "Nb"}
    | dict(
        pair.split(":")
        for pair in split(
            "natrium:Na kalium:K titan:Ti mangan:Mn chrom:Cr ferrum:Fe cuprum:Cu argentum:Ag "
            "aurum:Au plumbum:Pb stannum:Sn stibium:Sb niob:Nb tantal:Ta silizium:Si"
        )
    )
)

#: Element names with a numeral before them, as in diboron trioxide.
COUNTED_ELEMENTS: Mapping[str, tuple[str, int]] = {
    f"{prefix}{name}": (symbol, number)
    for prefix, number in (("di", 2), ("tri", 3), ("tetra", 4), ("penta", 5), ("hexa", 6))
    for name, symbol in ELEMENTS.items()
    if name not in ("tin", "lead", "iron", "gold")
}

#: Stems of "-ide" names, with the charge of the anion.
_IDES = {
    "ox": ("O", -2),
    "fluor": ("F", -1),
    "chlor": ("Cl", -1),
    "brom": ("Br", -1),
    "iod": ("I", -1),
    "sulf": ("S", -2),
    "sulph": ("S", -2),
    "selen": ("Se", -2),
    "tellur": ("Te", -2),
    "nitr": ("N", -3),
    "phosph": ("P", -3),
    "arsen": ("As", -3),
    "antimon": ("Sb", -3),
    "bismuth": ("Bi", 0),
    "carb": ("C", -4),
    "bor": ("B", 0),
    "hydr": ("H", -1),
    "silic": ("Si", 0),
    "german": ("Ge", 0),
    "stann": ("Sn", 0),
    "alumin": ("Al", 0),
    "gall": ("Ga", 0),
    "ind": ("In", 0),
    "plumb": ("Pb", 0),
    "beryll": ("Be", 0),
    "aur": ("Au", 0),
}
#: Charges of simple anions, where names give one.
ANION_CHARGES: Mapping[str, int] = {symbol: charge for symbol, charge in _IDES.values() if charge}
NUMERALS: Mapping[str, int] = {
    "mono": 1,
    "mon": 1,
    "di": 2,
    "tri": 3,
    "tetra": 4,
    "tetr": 4,
    "penta": 5,
    "pent": 5,
    "hexa": 6,
    "hex": 6,
    "hepta": 7,
    "octa": 8,
    "dodeca": 12,
}
_ATES = {
    "carbonate": "C O",
    "nitrate": "N O",
    "nitrite": "N O",
    "sulfate": "S O",
    "sulphate": "S O",
    "sulfite": "S O",
    "phosphate": "P O",
    "phosphite": "P O",
    "silicate": "Si O",
    "borate": "B O",
    "arsenate": "As O",
    "arsenite": "As O",
    "antimonate": "Sb O",
    "selenate": "Se O",
    "selenite": "Se O",
    "tellurate": "Te O",
    "tellurite": "Te O",
    "titanate": "Ti O",
    "zirconate": "Zr O",
    "hafnate": "Hf O",
    "vanadate": "V O",
    "niobate": "Nb O",
    "tantalate": "Ta O",
    "chromate": "Cr O",
    "chromite": "Cr O",
    "molybdate": "Mo O",
    "tungstate": "W O",
    "wolframate": "W O",
    "manganate": "Mn O",
    "manganite": "Mn O",
    "permanganate": "Mn O",
    "ferrite": "Fe O",
    "ferrate": "Fe O",
    "cobaltate": "Co O",
    "cobaltite": "Co O",
    "nickelate": "Ni O",
    "cuprate": "Cu O",
    "zincate": "Zn O",
    "aluminate": "Al O",
    "gallate": "Ga O",
    "indate": "In O",
    "germanate": "Ge O",
    "stannate": "Sn O",
    "plumbate": "Pb O",
    "bismuthate": "Bi O",
    "ruthenate": "Ru O",
    "rhodate": "Rh O",
    "iridate": "Ir O",
    "osmate": "Os O",
    "rhenate": "Re O",
    "uranate": "U O",
    "cerate": "Ce O",
    "chlorate": "Cl O",
    "perchlorate": "Cl O",
    "bromate": "Br O",
    "iodate": "I O",
    "periodate": "I O",
    "aluminosilicate": "Al Si O",
    "borosilicate": "B Si O",
    "borophosphate": "B P O",
    "aluminophosphate": "Al P O",
    "oxalate": "C O",
    "hydroxide": "O H",
    "oxyhydroxide": "O H",
    "hydroxyl": "O H",
    "peroxide": "O",
    "superoxide": "O",
    "cyanide": "C N",
    "carbodiimide": "C N",
    "amide": "N H",
    "imide": "N H",
    "azide": "N",
    "borohydride": "B H",
    "tetrahydroborate": "B H",
    "alanate": "Al H",
    "aluminohydride": "Al H",
    "carbonitride": "C N",
    "nitridosilicate": "Si N",
    "nitridophosphate": "P N",
    "nitridoborate": "B N",
    "nitridogermanate": "Ge N",
    "oxynitridosilicate": "Si O N",
    "oxonitridosilicate": "Si O N",
    "selenostannate": "Sn Se",
    "selenogermanate": "Ge Se",
    "fluoroborate": "B O F",
    "fluorosilicate": "Si F",
    "thiophosphate": "P S",
    "selenophosphate": "P Se",
    "thiosulfate": "S O",
    "thiosilicate": "Si S",
    "thiogermanate": "Ge S",
    "thiostannate": "Sn S",
    "thioantimonate": "Sb S",
    "thioborate": "B S",
    "fluorophosphate": "P O F",
    "hexafluorophosphate": "P F",
    "tetrafluoroborate": "B F",
    "hydrogenphosphate": "P O H",
    "bicarbonate": "C O H",
    "hydrate": "H O",
}
_OXY = ("oxy", "oxo", "hydroxy", "thio", "carbo", "nitro", "fluoro", "chloro", "bromo", "iodo")
_OXY_ELEMENTS = {
    "oxy": ("O",),
    "oxo": ("O",),
    "hydroxy": ("O", "H"),
    "thio": ("S",),
    "carbo": ("C",),
    "nitro": ("N",),
    "fluoro": ("F",),
    "chloro": ("Cl",),
    "bromo": ("Br",),
    "iodo": ("I",),
}

#: Molecules, which a crystal works on where other elements are named beside them.
MOLECULES = frozenset(split("CO2 CO H2O H2 N2 O2 NH3 CH4 NO NO2 N2O H2S SO2 O3 H2O2 CCl4 HF HCl"))
#: Abbreviations of capital letters that are formulas all the same.
CAPITAL_FORMULAS = frozenset(
    split("BN BP VN VC VO WC WN WB UN UC UP US YN YP YS KF KI KH HF CO KOH KCN HCN VS WS CN")
)

#: Common names of single compounds.
COMPOUNDS: Mapping[str, str] = {
    "silica": "SiO2",
    "quartz": "SiO2",
    "cristobalite": "SiO2",
    "alumina": "Al2O3",
    "zirconia": "ZrO2",
    "titania": "TiO2",
    "magnesia": "MgO",
    "ceria": "CeO2",
    "hafnia": "HfO2",
    "thoria": "ThO2",
    "urania": "UO2",
    "yttria": "Y2O3",
    "hematite": "Fe2O3",
    "haematite": "Fe2O3",
    "magnetite": "Fe3O4",
    "calcite": "CaCO3",
    "aragonite": "CaCO3",
    "galena": "PbS",
    "cinnabar": "HgS",
    "periclase": "MgO",
    "table salt": "NaCl",
    "carborundum": "SiC",
    "yag": "Y3Al5O12",
    "yig": "Y3Fe5O12",
}

CRYSTAL_SYSTEMS: Mapping[str, str] = {
    "cubic": "cubic",
    "isometric": "cubic",
    "tetragonal": "tetragonal",
    "orthorhombic": "orthorhombic",
    "orthorombic": "orthorhombic",
    "monoclinic": "monoclinic",
    "triclinic": "triclinic",
    "anorthic": "triclinic",
    "trigonal": "trigonal",
    "rhombohedral": "trigonal",
    "hexagonal": "hexagonal",
}

#: Words for the number of different elements.
ARITIES: Mapping[str, int] = {
    "unary": 1,
    "elemental": 1,
    "binary": 2,
    "binaries": 2,
    "ternary": 3,
    "ternaries": 3,
    "quaternary": 4,
    "quarternary": 4,
    "quaternaries": 4,
    "quinary": 5,
    "quinternary": 5,
    "pentanary": 5,
    "senary": 6,
}

#: Loose words: property, low, high, weight. A stronger word replaces a weaker one.
LOOSE: Mapping[str, tuple[str, float | None, float | None, int]] = {
    "stable": ("energy_above_hull", None, 0.025, 0),
    "thermodynamically stable": ("energy_above_hull", None, 0.025, 0),
    "on the hull": ("energy_above_hull", None, 0.025, 0),
    "on the convex hull": ("energy_above_hull", None, 0.025, 0),
    "ground state": ("energy_above_hull", None, 0.025, 0),
    "metastable": ("energy_above_hull", None, 0.1, 0),
    "synthesizable": ("energy_above_hull", None, 0.1, 0),
    "synthesisable": ("energy_above_hull", None, 0.1, 0),
    "semiconductor": ("band_gap", 0.1, 4.0, 0),
    "semiconducting": ("band_gap", 0.1, 4.0, 0),
    "insulator": ("band_gap", 3.0, None, 1),
    "insulating": ("band_gap", 3.0, None, 1),
    "wide gap": ("band_gap", 3.0, None, 1),
    "wide bandgap": ("band_gap", 3.0, None, 1),
    "wide band gap": ("band_gap", 3.0, None, 1),
    "large gap": ("band_gap", 3.0, None, 1),
    "large bandgap": ("band_gap", 3.0, None, 1),
    "large band gap": ("band_gap", 3.0, None, 1),
    "narrow gap": ("band_gap", 0.1, 1.0, 1),
    "narrow bandgap": ("band_gap", 0.1, 1.0, 1),
    "narrow band gap": ("band_gap", 0.1, 1.0, 1),
    "small gap": ("band_gap", 0.1, 1.0, 1),
    "small bandgap": ("band_gap", 0.1, 1.0, 1),
    "small band gap": ("band_gap", 0.1, 1.0, 1),
    "low gap": ("band_gap", 0.1, 1.0, 1),
    "low bandgap": ("band_gap", 0.1, 1.0, 1),
    "low band gap": ("band_gap", 0.1, 1.0, 1),
    **dict.fromkeys(
        (
            "no gap",
            "no band gap",
            "no bandgap",
            "without gap",
            "without a gap",
            "without band gap",
            "without a band gap",
            "vanishing gap",
            "vanishing band gap",
        ),
        ("band_gap", None, 0.0, 1),
    ),
    "gapless": ("band_gap", None, 0.0, 1),
    "zero gap": ("band_gap", None, 0.0, 1),
    "zero band gap": ("band_gap", None, 0.0, 1),
    "zero bandgap": ("band_gap", None, 0.0, 1),
    "metallic": ("band_gap", None, 0.0, 1),
    "metal": ("band_gap", None, 0.0, 1),
    "nonmetallic": ("band_gap", 0.1, None, 0),
    "lightweight": ("density", None, 3.0, 0),
    "light weight": ("density", None, 3.0, 0),
    "low density": ("density", None, 3.0, 0),
    "light": ("density", None, 3.0, 0),
    "dense": ("density", 8.0, None, 0),
    "heavy": ("density", 8.0, None, 0),
    "high density": ("density", 8.0, None, 0),
    "stiff": ("bulk_modulus", 200.0, None, 0),
    "incompressible": ("bulk_modulus", 200.0, None, 0),
    "high bulk modulus": ("bulk_modulus", 200.0, None, 0),
    "large bulk modulus": ("bulk_modulus", 200.0, None, 0),
    "magnetic": ("magnetization", 0.01, None, 0),
    "magnet": ("magnetization", 0.01, None, 0),
    "ferromagnetic": ("magnetization", 0.01, None, 0),
    "ferromagnet": ("magnetization", 0.01, None, 0),
    "ferrimagnetic": ("magnetization", 0.01, None, 0),
    "ferrimagnet": ("magnetization", 0.01, None, 0),
    "zero magnetization": ("magnetization", None, 0.001, 1),
    "zero magnetisation": ("magnetization", None, 0.001, 1),
    "no magnetization": ("magnetization", None, 0.001, 1),
    "no magnetisation": ("magnetization", None, 0.001, 1),
    "nonmagnetic": ("magnetization", None, 0.001, 1),
    "non magnetic": ("magnetization", None, 0.001, 1),
    "exothermic": ("formation_energy", None, 0.0, 0),
    "negative formation energy": ("formation_energy", None, 0.0, 1),
    "negative formation enthalpy": ("formation_energy", None, 0.0, 1),
}

_PROPERTY_NAMES: Mapping[str, str] = {
    "band gap": "band_gap",
    "bandgap": "band_gap",
    "band gap energy": "band_gap",
    "gap": "band_gap",
    "gaps": "band_gap",
    "band gaps": "band_gap",
    "bandgaps": "band_gap",
    "eg": "band_gap",
    "e g": "band_gap",
    "e gap": "band_gap",
    "egap": "band_gap",
    "energy gap": "band_gap",
    "optical gap": "band_gap",
    "formation energy": "formation_energy",
    "formation energies": "formation_energy",
    "formation enthalpy": "formation_energy",
    "formation enthalpies": "formation_energy",
    "energy of formation": "formation_energy",
    "enthalpy of formation": "formation_energy",
    "heat of formation": "formation_energy",
    "e form": "formation_energy",
    "eform": "formation_energy",
    "energy above hull": "energy_above_hull",
    "energy above the hull": "energy_above_hull",
    "energy above convex hull": "energy_above_hull",
    "energy above the convex hull": "energy_above_hull",
    "e hull": "energy_above_hull",
    "ehull": "energy_above_hull",
    "e above hull": "energy_above_hull",
    "eah": "energy_above_hull",
    "hull energy": "energy_above_hull",
    "hull distance": "energy_above_hull",
    "distance to hull": "energy_above_hull",
    "distance to the hull": "energy_above_hull",
    "distance from hull": "energy_above_hull",
    "distance from the hull": "energy_above_hull",
    "distance from the convex hull": "energy_above_hull",
    "distance to the convex hull": "energy_above_hull",
    "hull": "energy_above_hull",
    "convex hull": "energy_above_hull",
    "above hull": "energy_above_hull",
    "above the hull": "energy_above_hull",
    "above the convex hull": "energy_above_hull",
    "decomposition energy": "energy_above_hull",
    "density": "density",
    "densities": "density",
    "mass density": "density",
    "rho": "density",
    "bulk modulus": "bulk_modulus",
    "bulk moduli": "bulk_modulus",
    "shear modulus": "shear_modulus",
    "shear moduli": "shear_modulus",
    "magnetization": "magnetization",
    "magnetisation": "magnetization",
    "magnetization density": "magnetization",
    "saturation magnetization": "magnetization",
    "saturation magnetisation": "magnetization",
}

#: Names of properties as they stand in sentences.
PROPERTY_NAMES: Mapping[str, str] = {
    **_PROPERTY_NAMES,
    **{f"{name} per atom": prop for name, prop in _PROPERTY_NAMES.items() if "energ" in name},
}

_LARGER = ("larger", "greater", "higher", "bigger", "wider", "more")
_SMALLER = ("smaller", "lower", "fewer", "narrower")
#: Comparisons: ">", "<", ">=", "<=", "=" (a value), "~" (about).
COMPARISONS: Mapping[str, str] = {
    ">": ">",
    "<": "<",
    ">=": ">=",
    "<=": "<=",
    "=": "=",
    "==": "=",
    "~": "=",
    ":": "=",
    "is": "=",
    "of": "=",
    "equal to": "=",
    "equals": "=",
    "exactly": "=",
    "about": "=",
    "around": "=",
    "roughly": "=",
    "approximately": "=",
    "approx": "=",
    "circa": "=",
    "ca": "=",
    "near": "=",
    "nearly": "=",
    "close to": "=",
    "above": ">",
    "over": ">",
    "more than": ">",
    "greater than": ">",
    "larger than": ">",
    "higher than": ">",
    "bigger than": ">",
    "wider than": ">",
    "in excess of": ">",
    "exceeding": ">",
    "exceeds": ">",
    "exceed": ">",
    "beyond": ">",
    "at least": ">=",
    "no less than": ">=",
    "not less than": ">=",
    "no fewer than": ">=",
    "not below": ">=",
    "minimum": ">=",
    "minimum of": ">=",
    "min": ">=",
    "greater than or equal to": ">=",
    "larger than or equal to": ">=",
    "starting from": ">=",
    "starting at": ">=",
    "below": "<",
    "under": "<",
    "less than": "<",
    "fewer than": "<",
    "smaller than": "<",
    "lower than": "<",
    "narrower than": "<",
    "lighter than": "<",
    "more negative than": "<",
    "within": "<=",
    "up to": "<=",
    "at most": "<=",
    "no more than": "<=",
    "not more than": "<=",
    "no greater than": "<=",
    "no larger than": "<=",
    "not above": "<=",
    "not exceeding": "<=",
    "not over": "<=",
    "maximum": "<=",
    "maximum of": "<=",
    "max": "<=",
    "less than or equal to": "<=",
    "does not exceed": "<=",
    "not to exceed": "<=",
    "surpassing": ">",
    "surpasses": ">",
    "surpass": ">",
    "more dense than": ">",
    "more stiff than": ">",
    "less dense than": "<",
    "less stiff than": "<",
    "softer than": "<",
    "stiffer than": ">",
    "denser than": ">",
    "heavier than": ">",
    "stronger than": ">",
    "not lower than": ">=",
    "no lower than": ">=",
    "no smaller than": ">=",
    "not smaller than": ">=",
    "minimum is": ">=",
    "minimal": ">=",
    "minimally": ">=",
    "at the least": ">=",
    "at a minimum": ">=",
    "at minimum": ">=",
    "lower limit": ">=",
    "upper limit": "<=",
    "no higher than": "<=",
    "not higher than": "<=",
    "not larger than": "<=",
    "not greater than": "<=",
    "no bigger than": "<=",
    "not bigger than": "<=",
    "maximal": "<=",
    "maximally": "<=",
    "at the most": "<=",
    "at a maximum": "<=",
    "at maximum": "<=",
    "capped at": "<=",
    "limited to": "<=",
    "up to and including": "<=",
    "beneath": "<",
    "shorter than": "<",
    "somewhere around": "=",
    "somewhere near": "=",
    "in the vicinity of": "=",
    "in the neighbourhood of": "=",
    "in the neighborhood of": "=",
    "in the order of": "=",
    "on the order of": "=",
    **{f"{word} {joint}": ">" for word in _LARGER for joint in ("as", "then")},
    **{f"{word} {joint}": "<" for word in _SMALLER for joint in ("as", "then")},
}
#: How comparisons are misspelled.
MISSPELLED_COMPARISONS: Mapping[str, str] = {
    "arround": "=",
    "aroud": "=",
    "aprox": "=",
    "approximatly": "=",
    "aproximately": "=",
    "approximatley": "=",
    "atleast": ">=",
    "at lest": ">=",
    "atmost": "<=",
    "upto": "<=",
    "abov": ">",
    "bellow": "<",
    "belov": "<",
    "greather than": ">",
    "grater than": ">",
    "larger that": ">",
    "lower that": "<",
    "more then": ">",
    "les than": "<",
    "lesser than": "<",
}
#: Comparatives without "than", read only right before a number.
BARE_COMPARATIVES: Mapping[str, str] = {
    **dict.fromkeys(_LARGER, ">"),
    **dict.fromkeys(_SMALLER, "<"),
}
#: Comparisons that follow their number.
COMPARISONS_AFTER: Mapping[str, str] = {
    "or more": ">=",
    "or above": ">=",
    "or higher": ">=",
    "or greater": ">=",
    "or larger": ">=",
    "or over": ">=",
    "and above": ">=",
    "and up": ">=",
    "and upwards": ">=",
    "upwards": ">=",
    "upward": ">=",
    "and higher": ">=",
    "and more": ">=",
    "at least": ">=",
    "minimum": ">=",
    "min": ">=",
    "plus": ">=",
    "or less": "<=",
    "or lower": "<=",
    "or below": "<=",
    "or fewer": "<=",
    "or smaller": "<=",
    "or under": "<=",
    "and below": "<=",
    "and lower": "<=",
    "downwards": "<=",
    "at most": "<=",
    "maximum": "<=",
    "max": "<=",
    "tops": "<=",
}

NUMBER_WORDS: Mapping[str, float] = {
    "zero": 0,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "dozen": 12,
    "a dozen": 12,
    "thirteen": 13,
    "fourteen": 14,
    "fifteen": 15,
    "sixteen": 16,
    "seventeen": 17,
    "eighteen": 18,
    "nineteen": 19,
    "twenty": 20,
    "twenty four": 24,
    "twenty five": 25,
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "seventy": 70,
    "eighty": 80,
    "ninety": 90,
    "hundred": 100,
    "one hundred": 100,
    "two hundred": 200,
    "three hundred": 300,
}

#: Number words that a smaller one may follow: thirty-two.
TENS = split("twenty thirty forty fifty sixty seventy eighty ninety")
#: Negations of one thing that another replaces: their list ends at a comma.
REPLACED = frozenset(("instead of", "rather than", "in place of", "not"))
#: What begins an exception to an exclusion, or to a family: no metals other than Y.
EXCEPTIONS = frozenset(
    (
        *("other than", "except", "except for", "apart from", "aside from", "excepting", "minus"),
        *("with the exception of", "exception of"),
    )
)

#: What begins an exclusion.
NEGATIONS = (
    "no",
    "without",
    "without any",
    "not",
    "non",
    "nor",
    "neither",
    "none of",
    "exclude",
    "excluding",
    "excludes",
    "exclude all",
    "except",
    "except for",
    "avoid",
    "avoiding",
    "free of",
    "free from",
    "devoid of",
    "lacking",
    "lacks",
    "other than",
    "anything but",
    "everything but",
    "all but",
    "do not contain",
    "does not contain",
    "don't contain",
    "doesn't contain",
    "not contain",
    "not containing",
    "do not include",
    "does not include",
    "don't include",
    "not include",
    "not including",
    "do not use",
    "don't use",
    "must not contain",
    "should not contain",
    "minus",
    "instead of",
    "rather than",
    "leave out",
    "keep out",
    "rule out",
    "throw out",
    "leave aside",
    "live without",
    "no to",
    "say no to",
    "lacking in",
    "get rid of",
    "dislike",
    "do not put",
    "don't put",
    "do not add",
    "don't add",
    "dont",
    "dont use",
    "dont want",
    "doesnt",
    "doesnt contain",
    "shouldnt",
    "mustnt",
    "mustnt contain",
    "shouldnt contain",
    "do without",
    "ban",
    "skip",
    "omit",
    "omitting",
    "shouldn't",
    "mustn't",
    "isn't",
    "aren't",
    "can't",
    "cannot",
    "won't",
    "doesn't",
    "don't",
    "not want",
    "don't want",
    "do not want",
    "must not have",
    "should not have",
    "may not contain",
    "cannot contain",
    "can't contain",
    "must not include",
    "should not include",
    "no trace of",
    "no traces of",
    "absence of",
    "in the absence of",
    "with the exception of",
    "exception of",
    "excepting",
    "apart from",
    "aside from",
    "not any",
    "not with",
    "not from",
    "not made of",
    "never",
    "nothing containing",
    "nothing with",
    "remove",
    "removing",
    "reject",
    "rejecting",
    "stay away from",
    "steer clear of",
    "eliminate",
    "eliminating",
    "excl",
    "sans",
    "void of",
    "not having",
    "have no",
    "has no",
    "having no",
    "contain no",
    "contains no",
    "containing no",
    "contain neither",
    "contains neither",
    "containing neither",
    "with no",
    "in place of",
    "save for",
    "barring",
    "forbid",
    "forget",
)
#: What ends an exclusion: mercury must be avoided.
NEGATIONS_AFTER = (
    "be avoided",
    "avoided",
    "be excluded",
    "excluded",
    "be absent",
    "absent",
    "be omitted",
    "omitted",
    "be left out",
    "left out",
    "forbidden",
    "prohibited",
    "banned",
    "unwanted",
    "undesired",
    "undesirable",
    "not wanted",
    "not allowed",
    "not permitted",
    "not acceptable",
    "not desired",
    "not ok",
    "not present",
    "not included",
    "not used",
    "not contained",
    "to be avoided",
    "to be excluded",
    "to be omitted",
    "to be left out",
    "eliminated",
    "be eliminated",
    "ruled out",
    "been ruled out",
    "unacceptable",
    "off limits",
)
#: Before these a crystal is named that is not asked for, but one to compare with.
RELATIONS = (
    "similar to",
    "similar as",
    "analogous to",
    "alternative to",
    "alternatives to",
    "alternative for",
    "alternatives for",
    "replacement for",
    "replacements for",
    "replacement of",
    "substitute for",
    "substitutes for",
    "analogue of",
    "analogues of",
    "analog of",
    "analogs of",
    "analogue to",
    "analog to",
    "comparable to",
    "comparable with",
    "compared to",
    "compared with",
    "in comparison to",
    "in comparison with",
    "resembling",
    "resemble",
    "resembles",
    "reminiscent of",
    "inspired by",
    "derived from",
    "derivative of",
    "derivatives of",
    "same as",
    "than",
    "then that of",
    "than that of",
    "versus",
    "vs",
    "unlike",
    "competitor of",
    "relative of",
    "relatives of",
    "related to",
    "cousin of",
    "lattice matched to",
    "matched to",
    "matching to",
    "matches",
    "grown on",
    "deposited on",
    "growth on",
    "substrate for",
    "coating for",
    "coating on",
    "coating of",
    "buffer layer for",
    "contact for",
    "contact with",
    "against",
    "compatible with",
    "reacts with",
    "react with",
    "reaction with",
    "reactive with",
    "precursor for",
    "precursor of",
    "precursor to",
    "decomposes to",
    "decomposes into",
    "decompose into",
    "adsorbed",
    "adsorbed on",
    "supported on",
    "not necessarily",
    "not only",
    "not just",
    "need not",
    "besides",
    "isoelectronic with",
    "isoelectronic to",
    "that of",
    "those of",
    "such as in",
    "as in",
    "known from",
    "wetted by",
    "wets",
)
#: Before these stands what a crystal shall work on, not what it is made of.
PURPOSES = tuple(
    f"{lead}{form}"
    for verb in split(
        "replace substitute match detect absorb adsorb store capture split degrade oxidize "
        "oxidise catalyze catalyse remove sense contact protect mimic emulate rival beat "
        "outperform bind separate intercalate dissolve hydrogenate coat passivate encapsulate "
        "imitate resemble reabsorb photolyze electrolyze filter sequester trap scavenge resist "
        "withstand"
    )
    for lead, form in (
        *([("", verb)] if verb in ("replace", "substitute") else []),
        ("", f"{verb}s"),
        ("to ", verb),
        ("can ", verb),
        ("could ", verb),
        ("", verb[:-1] + "ing" if verb.endswith("e") else f"{verb}ing"),
        ("for ", verb[:-1] + "ing" if verb.endswith("e") else f"{verb}ing"),
    )
    if f"{lead}{form}" not in ("matchs", "spliting", "for spliting", "filters")
) + tuple(
    # Beside nouns of the same form, or words that stand before compounds: it conducts lithium.
    f"{lead}{form}"
    for plain, form in (
        *(("conduct", "conducts"), ("transport", "transports"), ("filter", "filters")),
        *(("host", "hosts"), ("take up", "takes up"), ("soak up", "soaks up")),
        *(("pick up", "picks up"), ("give off", "gives off"), ("give up", "gives up")),
        *(("release", "releases"), ("evolve", "evolves"), ("exchange", "exchanges")),
        *(("reduce", "reduces"), ("produce", "produces"), ("carry", "carries")),
        *(("pump", "pumps"), ("convert", "converts"), ("crack", "cracks"), ("burn", "burns")),
        *(("let through", "lets through"), ("suck up", "sucks up"), ("uptake", "uptakes")),
        *(("electrolyse", "electrolyses"), ("leak", "leaks"), ("swallow", "swallows")),
        *(("accumulate", "accumulates"), ("shuttle", "shuttles"), ("diffuse", "diffuses")),
    )
    for lead, form in (
        *([("", form)] if form not in ("filters", "hosts", "transports") else []),
        *((f"{who} ", form) for who in ("that", "which", "it", "and")),
        *((f"{able} ", plain) for able in ("to", "can", "could", "will", "should", "that can")),
        *([("", plain.replace(" up", "ing up").replace("eing", "ing"))] if " up" in plain else []),
    )
    if f"{lead}{form}" not in ("to produce", "can produce", "could produce", "will produce")
)
#: Things that crystals serve in.
DEVICES = split(
    "cathode cathodes anode anodes electrode electrodes electrolyte electrolytes membrane "
    "membranes catalyst catalysts photocatalyst photocatalysts electrocatalyst absorber "
    "absorbers sorbent adsorbent coating coatings buffer barrier barriers contact contacts "
    "getter host hosts filter window windows container precursor precursors dopant dopants seed "
    "template templates support supports transistor transistors diode diodes led leds laser "
    "lasers device devices application applications technology industry electronics "
    "optoelectronics photovoltaics spintronics"
)
#: Before these stands an amount too small to ask for.
AMOUNTS = (
    "with some",
    "with a bit of",
    "with a little",
    "with little",
    "traces of",
    "with traces of",
    "trace of",
    "small amount of",
    "small amounts of",
    "partly substituted by",
    "partially substituted by",
    "partially substituted with",
    "partly replaced by",
    "partially replaced by",
    "a few percent of",
)
#: Before these stands a species that a crystal works on, not one that it is made of.
PROCESSES = split(
    "evolution reduction splitting capture adsorption absorption sensing sensor sensors "
    "detection detector detectors separation release fixation production sequestration removal "
    "atmosphere environment vacancy vacancies permeation oxidation storage battery batteries "
    "wafer wafers substrate substrates plating corrosion embrittlement electroreduction "
    "photoreduction methanation reforming dissociation desorption poisoning intercalation "
    "recycling extraction sorption uptake diffusion conversion hydrogenation electrolysis "
    "photolysis trapping footprint bullet foil foils colored coloured interconnect "
    "interconnects chip chips lamp lamps accumulator accumulators supercapacitor "
    "supercapacitors alternative alternatives replacement replacements substitute substitutes "
    "analogue analogues analog analogs lookalike lookalikes flux bath ampoule ampoules crucible "
    "crucibles permeable selective sensitive resistant tolerant storing evolving immobilization "
    "immobilisation passivation encapsulation desulfurization purification degradation "
    "decomposition dissolution photography"
)
#: Before these stands what may be there.
OPTIONS = (
    "with or without",
    "with/without",
    "or without",
    "may contain",
    "may include",
    "may also contain",
    "may have",
    "might contain",
    "might include",
    "can contain",
    "can include",
    "can also contain",
    "could contain",
    "could include",
    "optionally",
    "possibly with",
    "possibly also",
    "perhaps with",
    "maybe with",
    "preferably with",
    "ideally with",
    "is allowed to contain",
)
#: Behind these stands nothing; what stands before them need not be there: nickel optional.
OPTIONS_AFTER = split("optional welcome allowed acceptable tolerated permitted tolerable")
#: Words after which other elements than the named ones are welcome.
OPENERS = (
    "containing",
    "contain",
    "contains",
    "including",
    "includes",
    "include",
    "anything with",
    "something with",
    "anything else with",
    "something else with",
    "everything with",
    "whatever with",
    "based",
    "based on",
    "rich",
    "bearing",
    "compounds with at least",
    "at least one",
    "among others",
    "among other elements",
    "and others",
    "and other elements",
    "plus others",
    "plus other elements",
    "other elements allowed",
    "other elements are allowed",
    "other elements welcome",
    "other elements are welcome",
    "other elements possible",
    "others allowed",
    "others are allowed",
)
#: Those of them that only open what they stand before: "containing 12 atoms" opens nothing.
OPEN_BEFORE = frozenset(
    (
        *("containing", "contain", "contains", "including", "includes", "include", "based on"),
        *("anything else with", "something else with", "everything with", "whatever with"),
        *("anything with", "something with", "at least one", "compounds with at least"),
    )
)
#: Words after which there are no other elements.
CLOSERS = ("only", "nothing else", "no other element", "no others", "exclusively", "solely", "just")
#: Dopants and the like: a request has no place for small amounts.
DOPING = (
    "doped",
    "doped with",
    "filled with",
    "substituted with",
    "alloyed with",
    "codoped",
    "codoped with",
    "co doped",
    "co doped with",
    "activated",
    "activated with",
    "activated by",
    "stabilized",
    "stabilised",
    "stabilized with",
    "stabilized by",
    "stabilised with",
    "stabilised by",
    "sensitized",
    "sensitized with",
    "loaded",
    "loaded with",
    "decorated",
    "decorated with",
    "coated",
    "coated with",
    "dopant",
    "dopants",
    "doping",
    "doping with",
    "doping by",
    "modified with",
    "impregnated with",
    "intercalated",
    "intercalated with",
)

#: Words of English and chemistry near to one of the vocabulary that are no misspelling of it.
SPELLED_WELL = frozenset(
    split("""
    manga titans chroma brookline dietitian dietitians tribalism herbarium distiller distillers
    titian noobs
    indices solver solvers radius inside indicates indicate stuff leaves stale aside elementary
    lives validates staff abide chromatic magnetism quartiles quart sulfoxide stables densify
    phosphor phosphors california mental loves medal creates lakes bride favorites indie medals
    lanes amid spine carson baron irony spinal inmates denies indies insulting aide byron staple
    insulation metabolic titanic denise sculptures staples antibodies garner inmate hepatitis
    innate crate gould sniff aides arson silicone insulated brides ramon chopper carbohydrates
    crates hydrated seventies dehydrated spines healy staffs metallica celia carton ferries
    barons carbohydrate stuffs incubator prometheus californian insides laces metabolites sentry
    tribunals argos magneto curate conundrum silvery columbian garnett rayon sable sliver
    californians polymerase raton denser galen sprinkles copped heady gasps loaves aragon
    columbine spineless garret heave cartons appetites irritates carbine carbonated metabolite
    urinate borno cervantes amine chromatin inflating boson radeon barnum monetization nicked
    platitudes sentries coopers ramones incubators bandmates choppers alkaloids copier seminaries
    spiel caron stagnated aegon quarts germinate skiff carbondale hydrochloride thorin amines
    compressive phosphatase denigrate geranium asides magnetized metastases sniffs cowper curia
    laver abides amie borat cubicles magnates procreate cropper manet inductees quarto spindles
    stagnate phosphoric soulmates alumna capper lawes copter arsenio berate slivers arron cubits
    ironies pollinate incubating stabler argan ferrante stifles curates carbonyl carbonyls
    sulfonate sulfonates sulphonate stabilized stabilised carbonization nitridation oxidized
    oxidised fluorinated chlorinated brine tine ironic golden leader leaders coppery tinny
    carbonaceous chromic ferric cupric cuprous ferrous stannous plumbous dopant halo halos alkane
    alkyl
    """)
)

#: Everyday words that carry no wish.
FILLER = frozenset(
    split("""
    a an the and or with of in on at for from to by as is are be been being was were it its this
    that these those there which what who whose where when how why can could would should shall
    will may might must do does did has have had having i me my we us our you your they them
    their he she please pls kindly give get find show make made making generate create suggest
    propose design produce predict build search searching look looking want wants wanted need
    needs needed like love wish seek seeking let lets tell some any all each every several few
    more most other another one ones new novel structure structures structured crystal crystals
    crystalline compound compounds material materials phase phases system systems solid solids
    inorganic formula composition chemistry chemical element elements atom atoms cell cells unit
    units type types kind class form forms polymorph polymorphs candidate candidates sample
    samples entry entries list set lattice symmetry space group ion ions cation cations anion
    anions atomic per using use used consisting consist consists comprised composed comprising
    constituent constituents then but also both either so such very really rather quite just
    preferably ideally possibly maybe perhaps if possible thanks thank hello hi dear value values
    range between about energy number numbers count based equal equals system's into yet still
    again various kindof sort sorts adopting adopt adopts crystallizing crystallising
    crystallizes crystallises crystallized crystallised crystallize crystallise exhibiting
    exhibit exhibits shows showing possessing present known i'd i'm i'll we'd id im whats what's
    here following option options example eg e.g ie i.e etc via up out over under too only
    interested bulk containing contains contain include including includes respectively exactly
    together something anything lies lie lying ranging ranges somewhere nothing everything
    polytype polytypes modification modifications arrangement variant variants setting
    configuration configurations family okay ok suitable good interesting nice pure simple common
    """)
)


@lru_cache(maxsize=1)
def anions() -> Mapping[str, tuple[tuple[str, ...], int]]:
    """Names such as "oxide" and "titanate" to their elements, and the number a prefix gives.

    The number is 0 where the name gives none.
    """
    found: dict[str, tuple[tuple[str, ...], int]] = {}
    for stem, (symbol, _) in _IDES.items():
        found[f"{stem}ide"] = ((symbol,), 0)
        found[f"sesqui{stem}ide"] = ((symbol,), 0)
        for prefix, number in NUMERALS.items():
            found[f"{prefix}{stem}ide"] = ((symbol,), number)
            found[f"{prefix} {stem}ide"] = ((symbol,), number)
        for prefix in _OXY:
            extra = _OXY_ELEMENTS[prefix]
            if symbol not in extra:
                found[f"{prefix}{stem}ide"] = ((*extra, symbol), 0)
    for prefix in ("di", "tri", "tetra", "hexa"):
        # "hexide" is no name; "monoxide" and "pentoxide" lose a vowel.
        found.pop(f"{prefix.rstrip('a')}ide", None)
    for name, text in _ATES.items():
        found[name] = (tuple(text.split()), 0)
        for prefix in ("ortho", "meta", "pyro", "poly", "di", "tri", "tetra"):
            if name.endswith(("ate", "ite")):
                found[f"{prefix}{name}"] = (tuple(text.split()), 0)
    return found


@lru_cache(maxsize=1)
def oxy_families() -> Mapping[str, tuple[tuple[str, ...], str]]:
    """Names such as "oxyhalide": elements and a family."""
    return {
        f"{prefix}{name}": (_OXY_ELEMENTS[prefix], family)
        for prefix in ("oxy", "oxo")
        for name, family in (("halide", "halide"), ("chalcogenide", "chalcogenide"))
    } | {"chalcohalide": ((), "halide")}


@lru_cache(maxsize=1)
def type_names() -> Mapping[str, str]:
    """Names of structure types as words; formulas of type compounds are not among them."""
    found: dict[str, str] = {}
    for kind in STRUCTURE_TYPES:
        for alias in (kind.name.replace("_", " ").replace("-", " "), *kind.aliases):
            if not _is_formula(alias):
                found[alias.replace("-", " ")] = kind.name
    return found


@lru_cache(maxsize=1)
def type_codes() -> Mapping[str, str]:
    """Formulas and Strukturbericht symbols of types, read as such before "type" or "structure"."""
    found = {
        alias: kind.name for kind in STRUCTURE_TYPES for alias in kind.aliases if _is_formula(alias)
    }
    for kind in STRUCTURE_TYPES:
        if _is_formula(kind.name):
            found[kind.name] = kind.name
    return found


def _is_formula(alias: str) -> bool:
    """Whether a name is a formula or symbol: a digit, or a short word of symbols."""
    words = {"nacl", "cscl", "zns", "gaas", "zno", "nias", "cuau", "aucu", "licaas"}
    return alias in words or (" " not in alias and any(c.isdigit() for c in alias))
