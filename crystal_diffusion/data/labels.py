"""What a type symbol or a label of an atom table stands for.

A type symbol (``Fe3+``) names what is on the site. A label (``HO1``) only begins with it, and old
files have nothing else, so a label can have several readings: hydrogen of O1, or holmium. This
module lists the readings, the likeliest first; the formula of the file decides between them
(:mod:`crystal_diffusion.data.cif_species`).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import gemmi

#: From here on an element is only believed when its symbol is written as one (``Nh``, not ``NH``).
_FIRST_RARE = 104
_VACANCIES = ("va", "vac", "vc", "vacancy", "void", "□")
#: Beginnings of labels of points that are no atoms: centroids, Q peaks, void markers.
_DUMMY = re.compile(r"(cg|cnt|cent\w*|ctr|du|dum\w*|bq|xx|x|q)(?![a-z])", re.IGNORECASE)
_WATER = re.compile(r"wat\w*|hoh|o_?w(?![a-z])", re.IGNORECASE)
#: Atoms with hydrogens that have no coordinates: OH, OH2, H2O, H3O, NH4, CH3, and with D for H.
_GROUP = re.compile(r"([ONC])[-_]?[HD](\d?)|[HD](\d)([ONC])", re.IGNORECASE)
#: Groups of several heavy atoms, of which the first is on the site.
_LARGE_GROUP = re.compile(r"(CO|NO|SO|PO|CN)(\d?)", re.IGNORECASE)
_CHARGE = r"(?:\d*\.?\d*[+-]+|[+-]\d+\.?\d*|\((?:[IVX]+|\d*[+-]|[+-]\d*)\)|\d+)?"
_SYMBOL = re.compile(rf"([A-Za-z]{{1,2}}){_CHARGE}")
_ISOTOPE = re.compile(rf"\(?\d{{1,3}}\)?([A-Za-z]{{1,2}}){_CHARGE}")
_LETTERS = re.compile(r"[A-Za-z]+")
#: ``0.615(5)Cu`` in ``0.615(5)Cu + 0.385(5)Al``, as the Pauling File writes mixed sites.
_SHARE_FIRST = re.compile(r"(\d*\.\d+)(?:\(\d+\))?\s*([A-Z][a-z]?)(?:\d*[+-])?")


@dataclass(frozen=True)
class Reading:
    """One thing that a symbol or label can stand for.

    Attributes:
        shares: atomic numbers and their parts of the site, which sum to 1; empty for no atom.
        hydrogens: hydrogens that belong to the site and have no coordinates; -1: other atoms.
        certain: whether the text is written as a symbol of exactly this.
        known_shares: whether the parts are given; else they are equal for want of better.
    """

    shares: tuple[tuple[int, float], ...]
    hydrogens: int = 0
    certain: bool = False
    known_shares: bool = True

    @property
    def elements(self) -> frozenset[int]:
        """Atomic numbers on the site."""
        return frozenset(number for number, _ in self.shares)


def element_number(letters: str) -> int:
    """The atomic number of one or two letters in any case; D and T are hydrogen; 0 for none."""
    title = letters.title()
    if title in ("D", "T"):
        return 1
    return int(gemmi.Element(title).atomic_number)


@functools.lru_cache(maxsize=8192)
def read_type(text: str) -> tuple[Reading, ...]:
    """The readings of a type symbol; none for text that is no symbol of anything.

    Elements with charges (``Fe3+``, ``Fe+3``, ``O2-``), isotopes (``D``, ``2H``), any case, groups
    (``OH``, ``H2O``, ``NH4+``), mixtures (``Fe/Mn``, ``Fe,Mn``, ``Fe0.5Mn0.5``), vacancies.
    """
    text = text.strip().strip("()'\"")
    isotope = _ISOTOPE.fullmatch(text)
    if isotope and (number := element_number(isotope[1])):
        return (Reading(((number, 1.0),), certain=True),)
    symbol = _SYMBOL.fullmatch(text)
    group = _group(text)
    if symbol and (number := element_number(symbol[1])):
        rare = number >= _FIRST_RARE and not symbol[1][-1:].islower()
        plain = Reading(((number, 1.0),), certain=True)
        # A number without a sign is no charge: PO4 is a phosphate before it is polonium.
        several = bool(group) and re.fullmatch(r"[A-Z]{2}\d", text) is not None
        if rare and group:
            return group
        if several:
            return (*group, Reading(((number, 1.0),)))
        if len(symbol[1]) < 2 or not symbol[1].isupper():
            return (plain,)
        # CO, HO and the like in capitals are the element, unless the formula has none of it.
        first = element_number(symbol[1][0])
        return (plain, *(group or ((Reading(((first, 1.0),)),) if first else ())))
    if group:
        # As a type, H2O is water; only as a label it can be the second hydrogen of O.
        return group[:1] if re.fullmatch(r"[HD]\d[ONC][+-]?", text, re.IGNORECASE) else group
    if text.lower() in _VACANCIES:
        return (Reading(()),)
    mixture = _mixture(text)
    if mixture is not None:
        return (mixture,)
    if _DUMMY.fullmatch(text):
        return (Reading(()),)
    # C_sp3, O.3, Siva, Cval: the element, and how it is bonded or was computed.
    letters = _LETTERS.match(text)
    if letters is None:
        return ()
    for suffix in ("val", "va", ""):
        head = letters[0].removesuffix(suffix) if suffix else letters[0]
        if len(head) <= 2 and (number := element_number(head)):
            return (Reading(((number, 1.0),)),)
    return ()


@functools.lru_cache(maxsize=8192)
def read_label(text: str) -> tuple[Reading, ...]:
    """The readings of a label, the likeliest first; none where no element begins it.

    ``Fe1``, ``OW2``, ``SiT1`` (site names of minerals), ``HO1`` (hydrogen of O1, or holmium),
    ``CA`` (a carbon, or calcium in capitals), ``Wat``, ``NH4``, ``Fe/Mn``, ``Cg1`` (a centroid).
    """
    text = text.strip().strip("'\"")
    mixture = _mixture(text)
    if mixture is not None:
        return (mixture,)
    isotope = re.match(r"\d{1,3}([A-Za-z]{1,2})(?![a-z])", text)
    if isotope and (number := element_number(isotope[1])):
        return (Reading(((number, 1.0),), certain=True),)
    letters = _LETTERS.match(text)
    if letters is None:
        return (Reading(()),) if text.lower() in _VACANCIES else ()
    head = letters[0]
    readings: list[Reading] = []
    two = element_number(head[:2]) if len(head) > 1 else 0
    if len(head) > 2 and _DUMMY.fullmatch(head):
        return (Reading(()),)
    if re.fullmatch(r"[A-Z][a-z][A-Z][a-z]", head) and element_number(head[2:]) and two:
        # SiAl, CaNa: both elements, in parts that only the formula can tell.
        pair = tuple((element_number(part), 0.5) for part in (head[:2], head[2:]))
        return (Reading(pair, known_shares=False), Reading(((two, 1.0),)))
    if head.title() == "Hw":
        return (Reading(((1, 1.0),), certain=True),)
    if two >= _FIRST_RARE and (head[1].isupper() or len(head) > 2):
        two = 0
    if two:
        readings.append(Reading(((two, 1.0),), certain=head[1].islower()))
    readings += _group(text) if not (two and head[1].islower()) else ()
    if head.lower() in _VACANCIES or (_DUMMY.match(head) and not (two and head[1].islower())):
        readings.append(Reading(()))
    # T1, T2, T1(o) are tetrahedra of silicates; nobody labels tritium so.
    one = 0 if head[0] == "T" else element_number(head[0])
    if one:
        certain = len(head) == 1 and not readings
        plain = Reading(((one, 1.0),), certain=certain)
        if plain.elements not in [r.elements for r in readings]:
            readings.append(plain)
    if head == "W":
        readings.append(Reading(((8, 1.0),), hydrogens=2))
    return tuple(readings)


def _group(text: str) -> tuple[Reading, ...]:
    """The atom on the site of a group such as OH, H2O, NH4, with its missing hydrogens."""
    bare = re.sub(r"([+-]+|[+-]\d)$", "", text)
    if _WATER.match(bare):
        return (Reading(((8, 1.0),), hydrogens=2),)
    match = _GROUP.match(bare)
    if match and (match.end() == len(bare) or not bare[match.end()].islower()):
        heavy = match[1] or match[4]
        count = match[2] or match[3] or "1"
        number = element_number(heavy)
        readings = [Reading(((number, 1.0),), hydrogens=int(count))]
        if match[4]:
            # H2O1 can also be the second hydrogen of O1.
            readings.append(Reading(((1, 1.0),)))
        return tuple(readings)
    large = _LARGE_GROUP.fullmatch(bare)
    if large:
        return (Reading(((element_number(large[1][0]), 1.0),), hydrogens=-1),)
    return ()


def _mixture(text: str) -> Reading | None:
    """``Fe/Mn``, ``Fe,Mn``, ``(Fe,Mn)``, ``Fe0.5Mn0.5``; None for what is no mixture."""
    bare = text.strip("()[]{} ")
    leading = [_SHARE_FIRST.fullmatch(part) for part in re.split(r"\s*[+,;/]\s*", text.strip())]
    if all(leading):
        return _shared([(element_number(m[2]), float(m[1])) for m in leading if m])
    if re.search(r"[/,&;]|\s\+\s|[A-Za-z]\+[A-Z]", bare):
        parts = [p for p in re.split(r"[/,&;+\s]+", bare) if p and not p[0].isdigit()]
    elif re.search(r"\d?\.\d", bare):
        parts = re.findall(r"[A-Z][a-z]?(?:\d+[+-])?\d*\.?\d*", bare)
        if "".join(parts) != bare:
            return None
    else:
        return None
    found: list[tuple[int, float | None]] = []
    for part in parts:
        match = re.match(r"([A-Z][A-Za-z]?|[a-z]{1,2})(?:\d*[+-])?(\d*\.\d+|\d+)?", part)
        number = element_number(match[1]) if match else 0
        if match is None or not number:
            return None
        share = float(match[2]) if match[2] and "." in match[2] else None
        found.append((number, share))
    if len({number for number, _ in found}) < 2:
        return None
    known = [share for _, share in found if share is not None]
    shared = _shared([(n, s or 0.0) for n, s in found]) if len(known) == len(found) else None
    if shared is not None:
        return shared
    equal = 1.0 / len(found)
    return Reading(tuple((n, equal) for n, _ in found), certain=True, known_shares=False)


def _shared(found: list[tuple[int, float]]) -> Reading | None:
    """The reading of elements with their parts of a site; None where they are no parts."""
    total = sum(share for _, share in found)
    if not all(number for number, _ in found) or not 0 < total <= 1.02:
        return None
    whole = max(total, 1.0) if total > 0.98 else 1.0
    return Reading(tuple((number, share / whole) for number, share in found), certain=True)
