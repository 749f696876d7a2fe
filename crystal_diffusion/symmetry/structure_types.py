"""Structure types by name: which group and Wyckoff positions each stands for.

Facts of the Inorganic Crystal Structure literature in the standard settings of International Tables
A (origin choice 2), as tabulated by Mehl et al., Comput. Mater. Sci. 136, S1 (2017).
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from crystal_diffusion import chemistry
from crystal_diffusion.errors import RequestError


@dataclass(frozen=True)
class NamedType:
    """A structure type.

    Attributes:
        name: as requests write it.
        aliases: other names, in lower case; formulas of type compounds among them.
        example: the type compound's elements in the order of ``counts``.
        counts: atoms of each role in a formula unit.
        space_group: number.
        letters: Wyckoff letters of each role, with plus signs.
    """

    name: str
    aliases: tuple[str, ...]
    example: tuple[str, ...]
    counts: tuple[int, ...]
    space_group: int
    letters: tuple[str, ...]

    @cached_property
    def ratio(self) -> tuple[int, ...]:
        """Sorted counts of the formula unit."""
        return tuple(sorted(self.counts))

    def roles_of(self, counts: Mapping[str, int]) -> tuple[str, ...] | None:
        """Which element takes which role, in order of the roles; None where the ratio differs.

        An element may take several, as in the spinel Co3O4. Of several ways the one is taken whose
        electronegativities are nearest to those of the type compound.
        """
        if sum(counts.values()) != sum(self.counts) or len(counts) > len(self.counts):
            return None
        best: tuple[float, tuple[str, ...]] | None = None
        for order in itertools.product(sorted(counts), repeat=len(self.counts)):
            held = dict.fromkeys(counts, 0)
            for symbol, count in zip(order, self.counts, strict=True):
                held[symbol] += count
            if held != dict(counts) or not self._alike(order):
                continue
            off = sum(
                abs(_electronegativity(a) - _electronegativity(b))
                for a, b in zip(order, self.example, strict=True)
            )
            if best is None or off < best[0]:
                best = (off, order)
        return None if best is None else best[1]

    def _alike(self, order: tuple[str, ...]) -> bool:
        """Whether an element takes several roles only where the type compound has like elements."""
        if len(set(order)) == len(order):
            return True
        off = [_electronegativity(symbol) for symbol in self.example]
        anion = max(range(len(off)), key=off.__getitem__)
        return order[anion] == max(order, key=_electronegativity) and all(
            abs(off[i] - off[j]) < 1
            for i, j in itertools.combinations(range(len(order)), 2)
            if order[i] == order[j]
        )

    def wyckoff(self, roles: tuple[str, ...]) -> str:
        """Such as "Sr:1a,Ti:1b,O:3c", for elements in the order of the roles."""
        from crystal_diffusion.symmetry.groups import SpaceGroup

        group = SpaceGroup.from_number(self.space_group)
        parts = [
            f"{symbol}:{group.position(letter).label}"
            for symbol, letters in zip(roles, self.letters, strict=True)
            for letter in letters.split("+")
        ]
        return ",".join(parts)

    def formula(self, elements: tuple[str, ...]) -> dict[str, int]:
        """Counts of elements given in the order of the roles."""
        return dict(zip(elements, self.counts, strict=True))


def names_a_lattice(kinds: Sequence[NamedType]) -> bool:
    """Whether a name stands for a lattice (fcc, bcc), on which several elements may be ordered."""
    return all(len(kind.counts) == 1 for kind in kinds)


def _electronegativity(symbol: str) -> float:
    """Pauling's; 2 where there is none."""
    value = float(chemistry.ELECTRONEGATIVITY[chemistry.atomic_number(symbol)])
    return value if value == value and value > 0 else 2.0


def _type(
    name: str, aliases: str, example: str, counts: str, group: int, letters: str
) -> NamedType:
    return NamedType(
        name,
        tuple(a.strip() for a in aliases.split("|") if a.strip()),
        tuple(example.split()),
        tuple(int(c) for c in counts.split()),
        group,
        tuple(letters.split()),
    )


#: The known types. Roles in order of the formula.
STRUCTURE_TYPES: tuple[NamedType, ...] = (
    _type("rocksalt", "rock salt|halite|nacl|sodium chloride|b1", "Na Cl", "1 1", 225, "a b"),
    _type("cscl", "cesium chloride|caesium chloride|b2", "Cs Cl", "1 1", 221, "a b"),
    _type(
        "zincblende",
        "zinc blende|zincblend|sphalerite|zns|gaas|b3",
        "Zn S",
        "1 1",
        216,
        "a c",
    ),
    _type("wurtzite", "wurzite|wurtzit|zno|b4", "Zn S", "1 1", 186, "b b"),
    _type("nias", "nickel arsenide|niccolite|nickeline|b8", "Ni As", "1 1", 194, "a c"),
    _type("fluorite", "caf2|c1", "Ca F", "1 2", 225, "a c"),
    _type("antifluorite", "anti fluorite|li2o|na2o", "O Na", "1 2", 225, "a c"),
    _type("rutile", "tio2|c4", "Ti O", "1 2", 136, "a f"),
    _type("anatase", "", "Ti O", "1 2", 141, "a e"),
    _type("brookite", "", "Ti O", "1 2", 61, "c c+c"),
    _type("pyrite", "fes2", "Fe S", "1 2", 205, "a c"),
    _type("marcasite", "", "Fe S", "1 2", 58, "a g"),
    _type("cdi2", "cadmium iodide", "Cd I", "1 2", 164, "a d"),
    _type("molybdenite", "mos2|2h mos2", "Mo S", "1 2", 194, "c f"),
    _type("cuprite", "cu2o", "O Cu", "1 2", 224, "a b"),
    _type("corundum", "al2o3|sapphire", "Al O", "2 3", 167, "c e"),
    _type("bixbyite", "mn2o3", "Mn O", "2 3", 206, "b+d e"),
    _type("reo3", "rhenium trioxide", "Re O", "1 3", 221, "a d"),
    _type("bif3", "d03", "Bi F", "1 3", 225, "a b+c"),
    _type("cu3au", "auricupride|l12", "Au Cu", "1 3", 221, "a c"),
    _type("l10", "cuau|aucu|tetraauricupride", "Cu Au", "1 1", 123, "a d"),
    _type("a15", "cr3si|nb3sn", "Si Cr", "1 3", 223, "a c"),
    _type("skutterudite", "coas3", "Co As", "1 3", 204, "c g"),
    _type(
        "laves",
        "laves phase|c15|laves c15|c15 laves phase|c15 laves|mgcu2",
        "Mg Cu",
        "1 2",
        227,
        "a d",
    ),
    _type(
        "hexagonal_laves",
        "c14|laves c14|c14 laves phase|c14 laves|mgzn2|hexagonal laves phase",
        "Mg Zn",
        "1 2",
        194,
        "f a+h",
    ),
    _type("cacu5", "haucke", "Ca Cu", "1 5", 191, "a c+g"),
    _type("mgb2", "alb2|aluminum diboride|aluminium diboride", "Al B", "1 2", 191, "a d"),
    _type("cab6", "lab6", "Ca B", "1 6", 221, "a f"),
    _type("perovskite", "perovskites|catio3|srtio3", "Sr Ti O", "1 1 3", 221, "a b c"),
    _type("antiperovskite", "anti perovskite|inverse perovskite", "N Mn Cu", "1 3 1", 221, "b c a"),
    _type("ilmenite", "fetio3", "Fe Ti O", "1 1 3", 148, "c c f"),
    _type("delafossite", "cufeo2", "Cu Fe O", "1 1 2", 166, "a b c"),
    _type("nafeo2", "alpha nafeo2|licoo2|layered rocksalt", "Na Fe O", "1 1 2", 166, "a b c"),
    _type("chalcopyrite", "cufes2", "Cu Fe S", "1 1 2", 122, "a b d"),
    _type(
        "half-heusler",
        "half heusler|semi heusler|mgagas|c1b|licaas",
        "Mg As Ag",
        "1 1 1",
        216,
        "a b c",
    ),
    _type("heusler", "full heusler|cu2mnal|l21", "Cu Mn Al", "2 1 1", 225, "c b a"),
    _type("spinel", "mgal2o4|normal spinel", "Mg Al O", "1 2 4", 227, "a d e"),
    _type("olivine", "mg2sio4|forsterite", "Mg Si O", "2 1 4", 62, "a+c c c+c+d"),
    _type("olivine", "triphylite", "Li Fe P O", "1 1 1 4", 62, "a c c c+c+d"),
    _type("scheelite", "cawo4", "Ca W O", "1 1 4", 88, "b a f"),
    _type("zircon", "zrsio4", "Zr Si O", "1 1 4", 141, "a b h"),
    _type(
        "k2nif4",
        "ruddlesden popper|ruddlesden-popper",
        "K Ni F",
        "2 1 4",
        139,
        "e a c+e",
    ),
    _type("thcr2si2", "bafe2as2|122 type", "Th Cr Si", "1 2 2", 139, "a d e"),
    _type("pyrochlore", "a2b2o7", "Ca Nb O", "2 2 7", 227, "d c b+f"),
    _type(
        "double_perovskite",
        "double perovskite|elpasolite|k2naalf6",
        "K Na Al F",
        "2 1 1 6",
        225,
        "c b a e",
    ),
    _type("k2ptcl6", "vacancy ordered double perovskite", "K Pt Cl", "2 1 6", 225, "c a e"),
    _type("garnet", "ca3al2si3o12|grossular|pyrope", "Ca Al Si O", "3 2 3 12", 230, "c a d h"),
    _type("apatite", "fluorapatite", "Ca P O F", "5 3 12 1", 176, "f+h h h+h+i a"),
    _type("kesterite", "cu2znsns4", "Cu Zn Sn S", "2 1 1 4", 82, "a+c d b g"),
    _type("stannite", "cu2fesns4", "Cu Fe Sn S", "2 1 1 4", 121, "d a b i"),
    _type("max_phase", "max phase|ti2alc|cr2alc", "Ti Al C", "2 1 1", 194, "f d a"),
    _type("diamond", "a4", "C", "1", 227, "a"),
    _type("bcc", "body centered cubic|body centred cubic|a2", "W", "1", 229, "a"),
    _type(
        "fcc", "face centered cubic|face centred cubic|cubic close packed|a1", "Cu", "1", 225, "a"
    ),
    _type("hcp", "hexagonal close packed|a3", "Mg", "1", 194, "c"),
    _type("graphite", "a9", "C", "1", 194, "b+c"),
)


def types_named(name: str) -> tuple[NamedType, ...]:
    """The types of a name or alias; some have one form for each ratio of atoms.

    Raises:
        RequestError: for an unknown name, with the likeliest meant.
    """
    folded = _folded(name)
    known = {_folded(kind.name): kind.name for kind in STRUCTURE_TYPES}
    known |= {_folded(alias): kind.name for kind in STRUCTURE_TYPES for alias in kind.aliases}
    if folded not in known:
        near = difflib.get_close_matches(folded, list(known), 1, 0.7)
        hint = f"did you mean {known[near[0]]}? " if near else ""
        names = ", ".join(dict.fromkeys(kind.name for kind in STRUCTURE_TYPES))
        raise RequestError(f"structure type {name!r} is not known; {hint}Known are {names}.")
    return tuple(kind for kind in STRUCTURE_TYPES if kind.name == known[folded])


def _folded(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
