"""Text to items: each a word or phrase of the vocabulary, a number, a formula, or unknown."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import crystal_diffusion.generation.words.vocabulary as words
from crystal_diffusion import chemistry
from crystal_diffusion.errors import InputError


@dataclass(frozen=True)
class Item:
    """One word or phrase.

    Attributes:
        kind: "element", "anion", "family", "formula", "number", ...; see :func:`scan`.
        value: what it stands for.
        text: as written.
        start: place of its first character.
        end: place behind its last character.
        read_as: the word it was taken for, where it is misspelled.
    """

    kind: str
    value: Any
    text: str
    start: int
    end: int
    read_as: str | None = None


_SIGNS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "—": "-",
        "‐": "-",
        "‑": "-",
        "≈": "~",
        "∼": "~",
        "μ": "µ",
        "\u212b": "Å",
        "’": "'",
        "“": '"',
        "”": '"',
        "\u00a0": " ",
        "\u2009": " ",
        "\u202f": " ",
        "×": "x",
    }
)
#: English words that are symbols too, when written with a capital.
_ENGLISH_SYMBOLS = frozenset({"I", "In", "As", "At", "No", "Be", "He", "Am"})
_SYMBOL_NEIGHBOURS = r"[A-Z][a-z]?"
_GROUP_WORDS = re.compile(
    r"(?:space[\s-]?group|spacegroup|sg\b\.?|s\.g\.)(?:\s+(?:number|no\.?|symbol|symmetry))?"
    r"\s*(?:#|is|=|:|of|like)?\s*\(?\s*",
    re.I,
)
_POINT_WORDS = re.compile(
    r"(?:point[\s-]?group|crystal[\s-]?class)(?:\s+symmetry)?\s*(?:is|=|:|of)?\s*\(?\s*", re.I
)
_CHUNK = re.compile(r"[A-Za-z0-9_/\-]+")
#: Symbols of space groups in small letters; without digits, the common ones.
_SMALL_HM = re.compile(
    r"(?:pnma|pbca|pbcn|pbam|cmcm|cmce|immm|fddd|pmmm|fmmm|cmmm"
    r"|(?=[a-z][a-z0-9]{0,2}[-/]|[a-z]{2}3[mcdn]?\b|[a-z][1-6][1-5]?[mncabd]{2}\b)[pifcra](?:[-/]?[0-9mncabde]){2,6})(?![\w/-])"
)
_HM = re.compile(r"[PIFCRAB](?:[-_/]?[0-9mncabde])+(?![A-Za-z0-9])")
_FORMULA = re.compile(r"(?:[A-Z][a-z]?|[(\[](?=[A-Z])|[)\]]|\d+(?:\.\d+)?|·)+(?![A-Za-z])")
_VARIABLE = re.compile(r"(?:[A-Z][a-z]?|[()]|\d+(?:\.\d+)?|[0-9]?[-+]?[xyzδ]|-(?=[xyzδ\d]))+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_ROMAN = re.compile(r"\s?\((I{1,3}|IV|V|VI{0,3})\)")
_ROMAN_VALUES = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6, "VII": 7, "VIII": 8}
_PER = r"\s*(?:/|per\s+|\s)\s*"
_UNITS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(r"[\s-]*\(?" + pattern + r"\)?(?![A-Za-z])"), unit)
    for pattern, unit in (
        # Energies and moments that no property has.
        (
            r"m?eV\s*(?:/|per )\s*(?:an? )?(?:f\.?\s?u\.?|formula units?|(?:unit )?cells?|mol\w*"
            r"|Å(?:\^?\d)?|A\^?\d?|sites?|cations?|bonds?|ions?)",
            "other",
        ),
        (rf"meV(?:{_PER}(?:an?\s+)?atoms?|/at\.?)", "meV/atom"),
        (
            rf"(?:eV|electron[\s-]?volts?)(?:{_PER}(?:an?\s+)?atoms?|/at\.?)",
            "eV/atom",
        ),
        (r"(?:meV|milli[\s-]?electron[\s-]?volts?)", "meV"),
        (r"(?:eV|ev|EV|electron[\s-]?volts?)", "eV"),
        (
            rf"(?:[kK]J|[kK]ilojoules?){_PER}mol(?:es?)?{_PER}(?:of\s+)?(?:f\.?\s?u\.?|formula(?:\s+units?)?|compounds?)",
            "other",
        ),
        (
            rf"(?:[kK]J|[kK]ilojoules?){_PER}mol(?:es?)?(?:{_PER}(?:of\s+)?atoms?)?",
            "kJ/mol",
        ),
        (rf"g(?:rams?)?{_PER}(?:cm\s*\^?\s*-?3|cc|ccm|m[lL]|cubic\s+cent\w+)", "g/cm3"),
        (r"g\.cm\^?-3", "g/cm3"),
        (rf"kg{_PER}(?:m\s*\^?\s*-?3|cubic\s+met\w+)", "kg/m3"),
        (rf"kg{_PER}(?:[lL]|lit\w+|dm\^?3)", "kg/l"),
        (r"(?:GPa|gpa|Gpa|gigapascals?)", "GPa"),
        (r"(?:MPa|megapascals?)", "MPa"),
        (r"(?:Mbar|[Mm]egabars?)", "Mbar"),
        (r"(?:kbar|[Kk]ilobars?)", "kbar"),
        (
            rf"(?:[µu]_?B|mu_?B|mu_b|[bB]ohr[\s-]magnetons?){_PER}"
            r"(?:cubic\s+)?(?:Å|A|[aåÅ]ngstr[oö]ms?)\s*\^?\s*-?3?",
            "muB/A3",
        ),
        (
            rf"(?:[µu]_?B|mu_?B|mu_b|[bB]ohr[\s-]magnetons?|emu|A\s?m\^?2)"
            rf"(?:{_PER}(?:an?\s+)?(?:atoms?|f\.?\s?u\.?|formula units?|(?:unit )?cells?|g|cm\^?3"
            r"|[A-Z][a-z]?(?: (?:atom|ion))?))?",
            "other",
        ),
        (r"(?:Å|[aåÅ]ngstr[oö]ms?|nm|pm|µm)", "length"),
        (
            r"(?:kcal(?:/mol)?|joules?|J(?:/mol)?|[Hh]artrees?|Ry|[Rr]ydbergs?|cm\^?-1|wavenumbers?|psi"
            r"|lbs?(?:/\w+)?|tonnes?|ergs?|volts?|watts?|nanometers?|nanometres?|kelvins?|[Cc]elsius)",
            "other",
        ),
        (r"(?:(?:mol|at|wt|vol)(?:omic)?[\s.-]*%|%|percent|per\s?cent)", "other"),
        (
            r"(?:m?S/cm|m?S\s?cm\^?-1|mAh(?:/|\s)g(?:\^?-1)?|Wh/kg|W\s?/?\(?m\^?(?:-1)?[\s·]?K\^?(?:-1)?\)?)",
            "other",
        ),
        (r"(?:J/m\^?2|J\s?m\^?-2|m?bar|[ak]?tm|k?Pa|[Tt]orr|Ohm|Ω\s?cm)", "other"),
        (
            r"(?:[µm]?C/cm\^?2|pC/N|pm/V|cm\^?2/\(?V\s?s?\)?|ppm|hours?|minutes?|days?|years?)",
            "other",
        ),
        (
            r"(?:°\s?[CFK]|C(?!\s+atoms)|deg(?:rees)?\s?C?|K(?:elvin)?|m?V(?:olts?)?|T(?:esla)?|Oe|[€$]/?(?:kg)?)",
            "other",
        ),
    )
)


_TYPED = "perovskite|antiperovskite|spinel|garnet|elpasolite|pyrochlore|apatite|scheelite"


def _joined(match: re.Match[str]) -> str:
    """A formula without its blanks, where all parts are symbols and amounts are given."""
    parts = match[1].split()
    symbols = [part.rstrip("0123456789") for part in parts]
    known = all(symbol in chemistry.NUMBERS for symbol in symbols)
    once = len(set(symbols)) == len(symbols)
    return "".join(parts) if known and once and len(parts) > 1 else match[0]


_DIGIT = "(zero|one|two|three|four|five|six|seven|eight|nine)"


def _decimal(match: re.Match[str]) -> str:
    """One point five."""
    return ".".join(f"{words.NUMBER_WORDS[part.lower()]:.0f}" for part in match.groups())


def _dozens(match: re.Match[str]) -> str:
    """Two dozen, half a dozen."""
    count = match[1].lower()
    return f"{12 * words.NUMBER_WORDS.get(count, 0.5):.0f}"


def _hundreds(match: re.Match[str]) -> str:
    """One hundred and twenty."""
    hundreds = words.NUMBER_WORDS.get(match[1].lower(), 1)
    return f"{100 * hundreds + words.NUMBER_WORDS[match[2].lower()]:.0f}"


def _compounded(match: re.Match[str]) -> str:
    """Thirty-two."""
    return f"{sum(words.NUMBER_WORDS[part.lower()] for part in match.groups()):.0f}"


#: A number of pascals in the same clause.
_TO_PRESSURE = r"(?=[^,;]{0,30}?\d[\d.]*\s?(?:GPa|gpa|Mbar|kbar|MPa))"


def _capitals(match: re.Match[str]) -> str:
    """Symbols of elements in small letters: fe-al-ni, "fe, al and ni"."""
    parts = re.split(r"([^a-z]+(?:(?:and|or)\b[^a-z]*)?)", match[0])
    symbols = parts[::2]
    if any(symbol.capitalize() not in chemistry.NUMBERS for symbol in symbols):
        return match[0]
    sure = [symbol for symbol in symbols if len(symbol) == 2 and symbol not in _SMALL_WORDS]
    if len(sure) < (1 if "-" in match[0] else 2):
        return match[0]
    return "".join(part.capitalize() if i % 2 == 0 else part for i, part in enumerate(parts))


def _symbol_of(match: re.Match[str]) -> str:
    """A symbol in small letters in a compound word: pb-free."""
    return match[0].capitalize() if match[1].capitalize() in chemistry.NUMBERS else match[0]


#: Symbols of elements that are short words, or abbreviations, when written small.
_SMALL_WORDS = frozenset(
    words.split("as at be he in no am co la re pa ho mo md es os pm ne ac ar er ra")
)

#: Spellings that are others in plain letters.
_RESPELLED: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), plainly)
    for pattern, plainly in (
        (r"(?:Δ|d|delta[ _-]?)[HEG]_?(?:f|form)\b\.?", "formation energy"),
        *(
            (rf"\b((?:[A-Z][a-z]?|\d|[()]){{3,}})\s+{prefix}hydrate\b", rf"\1·{number}H2O")
            for prefix, number in words.NUMERALS.items()
        ),
        (r"\b(L1|L2|D0|C1)_([0123b])\b", r"\1\2"),
        (r"Δ\s?E_?(?:hull)\b", "energy above hull"),
        # Fluoroperovskites, thiospinels: an anion and a structure type.
        *(
            (rf"\b[{stem[0].upper()}{stem[0]}]{stem[1:]}-?(?={_TYPED})", f"{anion} ")
            for stem, anion in (
                ("fluoro", "fluoride"),
                ("chloro", "chloride"),
                ("bromo", "bromide"),
                ("iodo", "iodide"),
                ("thio", "sulfide"),
                ("seleno", "selenide"),
                ("telluro", "telluride"),
                ("oxo", "oxide"),
                ("oxy", "oxide"),
                ("nitrido", "nitride"),
                ("hydrido", "hydride"),
            )
        ),
        (r"(?<![\d,.])(\d{1,3}),(\d{3})(?![\d,])", r"\1\2"),
        # A comma for a point, as in many languages, before a unit.
        (
            r"(?<![\d,.])(\d+),(\d{1,2})(?=\s*(?:eV|meV|g/|g\s?cm|GPa|kg|Å)|\s*[-±]\s*\d+,\d)",
            r"\1.\2",
        ),
        (r"(?<=\d)-(\d+),(\d{1,2})(?=\s*(?:eV|meV|g/|g\s?cm|GPa))", r"-\1.\2"),
        (r"(?<![\w.])(\d+)\.(\d)\((\d)\)", r"\1.\2±0.\3"),
        (r"\b[Mm]inus (?=\d)", "-"),
        (r"\bin (eV|meV|GPa|g/cm\^?3|eV/atom|meV/atom)(?=\s*[:=<>])", r"(\1)"),
        (r"\(\s*±\s*(\d[\d.]*)\s*(\w*)\)", r"± \1 \2"),
        (r"\s*∈\s*", " "),
        # !Pb, and -Pb where nothing stands before it; Pb: no.
        (r"(?:(?:(?<=[\s,;(])|^)!|(?:(?<=[,;] )|^)-)([A-Z][a-z]?)\b(?!-)", r"\1-free"),
        (r"(?<=-free )-([A-Z][a-z]?)\b(?!-)", r"\1-free"),
        # A double negation closes the list: no elements other than Fe and O.
        (
            r"(?i)\b(?:exclude|excluding|no|without|ban|nothing)\s+(?:any\s+)?"
            r"(?:everything|all|(?:other\s+|further\s+)?(?:elements?|atoms?))(?:\s+else)?\s+"
            r"(?:but|other than|except(?: for)?|besides|than|apart from)\b",
            "only",
        ),
        (r"\b([A-Z][a-z]?|[a-z]{3,})\s*[:?]\s*no\b(?=\s*(?:[.,;!]|$))", r"no \1"),
        (r"\b([A-Z][a-z]?|[a-z]{3,})\s*[:?]\s*yes\b(?=\s*(?:[.,;!]|$))", r"\1"),
        (r"\bratio (?:of )?(\d+)/(\d+)\b", r"ratio \1:\2"),
        (r"(?i)\b(?:and\s*/\s*or|or\s*/\s*and)\b", "or"),
        # Any cation save lead; cobalt is not needed.
        (
            r"(?i)\b((?:any|all|every)\s+(?:[a-z]+\s+){1,3}|[a-z]+,\s*)save\s+(?!for\b|energy)",
            r"\1except ",
        ),
        (
            r"(?i)\b(?:is|are)(?:\s+not|n't)\s+(?:really\s+|strictly\s+)?"
            r"(?:needed|required|necessary|essential|mandatory|a\s+must)\b",
            "is optional",
        ),
        # Keep lead out; leave Co and Ni out of it.
        (
            r"(?i)\b(?:keep|keeping|leave|leaving|kick|throw|rule|take)\s+"
            r"((?:[a-z]+(?:\s*[,/]\s*|\s+(?:and|or)\s+)){0,3}[a-z]+)\s+out\b"
            r"(?:\s+of\s+(?:it|this|there|them|the\s+[a-z]+))?",
            r"without \1",
        ),
        # B-M, B.M., K0 and G_0 before a pressure.
        (
            rf"\b(?:B[-.]\s?M\b\.?|BM\b|[BK]_?0\b|[BK](?:_VRH\b|\s?\(VRH\))){_TO_PRESSURE}",
            "bulk modulus",
        ),
        (
            rf"\b(?:S[-.]\s?M\b\.?|SM\b|G_?0\b|G(?:_VRH\b|\s?\(VRH\))){_TO_PRESSURE}",
            "shear modulus",
        ),
        (r"(?i)\b(bulk|shear)[ -]mod\b\.?", r"\1 modulus"),
        # Larger than that of GaAs (1.42 eV): the number is the bound.
        (
            r"\bthan (?:(?:that|the \w+(?: \w+)?) of |in |for )?([A-Za-z]\w*(?: \w+)?)(?:'s)? "
            r"\((?:about |~|at |of )?(\d[\d.]*\s?(?:eV|meV|GPa|g/cm\^?3))\)",
            r"than \2, than \1,",
        ),
        # X = Cl, Br: one of them.
        (
            r"\b([ABMXR])\s*=\s*([A-Z][a-z]?)\s*,\s*([A-Z][a-z]?)\b(?!\s*(?:=|,|or\b))",
            r"\1 = \2/\3",
        ),
        (r"\b[Hh]alf (?:an? |of an? )(?=e)", "0.5 "),
        (r"\b[Oo]ne and a half\b", "1.5"),
        (r"\b[Tt]wo and a half\b", "2.5"),
        (r"\b[Tt]hree and a half\b", "3.5"),
        (r"(?<=\d)(?=(?:atoms?|elements?|sites?)\b)", " "),
        (r"(?<=\d)-(?=(?:atoms?|elements?|components?)\b)", " "),
    )
)


#: Spellings that are others by what they hold.
_REWRITTEN: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    # Ca3 Ti2 O7: a formula with blanks in it.
    (
        re.compile(
            r"(?<![\w.,/-])(?!B[1-8]\s|C1[45]?\s|A15)(?=(?:[A-Z][a-z]?\d*\s){1,5}[A-Z][a-z]?\d+\b"
            r"|[A-Z][a-z]?\d+\s[A-Z])((?:[A-Z][a-z]?\d*\s){1,5}[A-Z][a-z]?\d*)(?![\w-])"
        ),
        _joined,
    ),
    (re.compile(r"(?<![\w-])[a-z]{1,2}(?:-[a-z]{1,2})+(?![\w-])"), _capitals),
    (
        re.compile(
            r"(?:(?<=\bnon-)|(?<![\w-]))([a-z]{2})(?:-(?=(?:free|based|rich|containing)\b)"
            r"|(?<=\bnon-[a-z]{2})(?![\w-]))"
        ),
        _symbol_of,
    ),
    (
        re.compile(r"(?<![\w-])[a-z]{2}(?:\s?,\s?[a-z]{2})+(?:,?\s(?:and|or)\s[a-z]{2})?(?![\w-])"),
        _capitals,
    ),
    (re.compile(rf"\b{_DIGIT} point {_DIGIT}\b"), _decimal),
    (re.compile(r"\b(half an?|two|three|four|five|six) dozen\b", re.I), _dozens),
    (
        re.compile(
            r"\b(one|a|two|three|four|five)[ -]hundred(?:[ -]and)?[ -]"
            rf"({'|'.join((*words.TENS, 'ten', 'twelve', 'fifteen'))})\b",
            re.I,
        ),
        _hundreds,
    ),
    (re.compile(rf"\b({'|'.join(words.TENS)})[ -]{_DIGIT}\b", re.I), _compounded),
)


def normalise(text: str) -> str:
    """The text with plain digits and signs: subscripts, superscripts, dashes, overlines."""
    text = re.sub(r"(\d)[\u0305\u0304]", r"-\1", text)
    text = text.translate(_SIGNS).replace("≤", "<=").replace("≥", ">=").replace("⩽", "<=")
    text = text.replace("⩾", ">=").replace("+/-", "±").replace("+-", "±").replace("=<", "<=")
    text = re.sub(r"\bw/o(?:ut)?\b\.?", "without", text, flags=re.I)
    text = re.sub(r"\bw/(?=\s|$)", "with", text, flags=re.I)
    text = re.sub(r"\b(approx|ca|max|min|no|vs|at)\.(?=\s*[\d(#])", r"\1 ", text, flags=re.I)
    text = re.sub(r"\be\.\s?g\.?(?![a-z])|\beg\.(?=\s)", " such as ", text)
    text = re.sub(r"\bi\.e\.", " ", text).replace("ρ", "rho")
    if not re.search("[a-z]", text):
        text = re.sub(r"[A-Z]{2,}", _plain_word, text)
    for pattern, plainly in _RESPELLED:
        text = pattern.sub(plainly, text)
    for pattern, rewrite in _REWRITTEN:
        text = pattern.sub(rewrite, text)
    out = []
    for letter in text:
        plain = unicodedata.normalize("NFKC", letter) if letter not in "µÅ±·" else letter
        out.append("-" if plain == "\u2212" else plain)
    return "".join(out)


def _plain_word(match: re.Match[str]) -> str:
    """A word of the vocabulary in lower case; the sentence is written in capitals."""
    lower = match[0].lower()
    return lower if any(form in phrases() for form in _singulars(lower)) else match[0]


@lru_cache(maxsize=1)
def phrases() -> Mapping[str, tuple[str, Any]]:
    """Every phrase of the vocabulary, in lower case with blanks for hyphens."""
    found: dict[str, tuple[str, Any]] = dict.fromkeys(words.FILLER, ("filler", None))
    found |= {name: ("number", float(value)) for name, value in words.NUMBER_WORDS.items()}
    found |= {name: ("compare", op) for name, op in words.COMPARISONS.items() if name[0].isalpha()}
    found |= {name: ("compare", op) for name, op in words.MISSPELLED_COMPARISONS.items()}
    found |= {name: ("compare", op) for name, op in words.BARE_COMPARATIVES.items()}
    found |= {name: ("compare_after", op) for name, op in words.COMPARISONS_AFTER.items()}
    for name in ("at least", "at most", "minimum", "maximum", "min", "max"):
        found[name] = ("compare", words.COMPARISONS[name])
    found |= dict.fromkeys(words.DEVICES, ("device", None))
    found |= dict.fromkeys(words.PURPOSES, ("purpose", None))
    found |= dict.fromkeys(words.RELATIONS, ("relation", None))
    found |= dict.fromkeys(words.PROCESSES, ("process", None))
    found |= dict.fromkeys(words.AMOUNTS, ("amount", None))
    found |= dict.fromkeys(words.OPTIONS, ("optional", None))
    found |= dict.fromkeys(words.NEGATIONS, ("neg", None))
    found |= dict.fromkeys(words.NEGATIONS_AFTER, ("neg_after", None))
    found |= dict.fromkeys(words.OPENERS, ("open", None))
    found |= dict.fromkeys(words.CLOSERS, ("close", None))
    found |= dict.fromkeys(words.DOPING, ("doping", None))
    found |= {name: ("element", symbol) for name, symbol in words.ELEMENTS.items()}
    found |= {name: ("element", value[0]) for name, value in words.COUNTED_ELEMENTS.items()}
    found |= {name: ("anion", value) for name, value in words.anions().items()}
    found["ammonium"] = ("variable", ("N", "H"))
    found |= {name: ("oxy_family", value) for name, value in words.oxy_families().items()}
    found |= {name: ("family", family) for name, family in words.FAMILY_NAMES.items()}
    found |= {name: ("formula", formula) for name, formula in words.COMPOUNDS.items()}
    found |= {name: ("system", system) for name, system in words.CRYSTAL_SYSTEMS.items()}
    found |= {name: ("arity", count) for name, count in words.ARITIES.items()}
    found |= {name: ("type", kind) for name, kind in words.type_names().items()}
    found |= {name: ("loose", name) for name in words.LOOSE}
    found |= {name: ("property", prop) for name, prop in words.PROPERTY_NAMES.items()}
    found |= {name: ("unasked", reason) for name, reason in _UNASKED.items()}
    found |= _NOUNS
    return found


_NOUNS: Mapping[str, tuple[str, Any]] = {
    **{
        f"{count} {joint} {noun}": ("further", number)
        for noun, plural in (("element", ""), ("elements", "s"))
        for count, number in (("one", 1), ("a", 1), ("two", 2))
        for joint in ("more", "other", "additional", "further")
        if (number == 2) == bool(plural)
    },
    "another element": ("further", 1),
    "a third element": ("further", 1),
    "a fourth element": ("further", 1),
    "atoms": ("count", "atoms"),
    "atom": ("count", "atoms"),
    "sites": ("count", "atoms"),
    "natoms": ("count", "atoms"),
    "num atoms": ("count", "atoms"),
    "nsites": ("count", "atoms"),
    "number of atoms": ("count", "atoms"),
    "atoms per cell": ("count", "atoms"),
    "atom count": ("count", "atoms"),
    "atom cell": ("count", "atoms"),
    "elements": ("count", "elements"),
    "element": ("count", "elements"),
    "different elements": ("count", "elements"),
    "distinct elements": ("count", "elements"),
    "chemical elements": ("count", "elements"),
    "number of elements": ("count", "elements"),
    **{
        f"{kind} of {noun}": ("count", "elements")
        for kind in ("kinds", "kind", "types", "sorts")
        for noun in ("atoms", "atom", "elements", "element")
    },
    "components": ("count", "elements"),
    "component": ("count", "elements"),
    "species": ("count", "elements"),
    "formula units": ("count", "units"),
    "formula unit": ("count", "units"),
    "f u": ("count", "units"),
    "crystals": ("count", "crystals"),
    "structures": ("count", "crystals"),
    "candidates": ("count", "crystals"),
    "examples": ("count", "crystals"),
    "samples": ("count", "crystals"),
    "polymorphs": ("count", "crystals"),
    "primitive cell": ("cell", "primitive"),
    "primitive unit cell": ("cell", "primitive"),
    "primitive": ("cell", "primitive"),
    "conventional cell": ("cell", "conventional"),
    "conventional unit cell": ("cell", "conventional"),
    "conventional": ("cell", "conventional"),
    "niggli cell": ("cell", "niggli"),
    "reduced cell": ("cell", "niggli"),
    "charge neutral": ("neutral", None),
    "charge balanced": ("neutral", None),
    "charge neutrality": ("neutral", None),
    "charges balanced": ("neutral", None),
    "charge balance": ("neutral", None),
    "balanced charges": ("neutral", None),
    "electroneutral": ("neutral", None),
    "valence balanced": ("neutral", None),
    "and": ("and", None),
    "plus": ("and", None),
    "or": ("or", None),
    "but": ("but", None),
    "to": ("to", None),
    "between": ("between", None),
    "from": ("between", None),
    "free": ("free", None),
    "fre": ("free", None),
    "freee": ("free", None),
    "betwen": ("between", None),
    "beetween": ("between", None),
    "inbetween": ("between", None),
    "less": ("free", None),
    "type": ("typeword", None),
    "types": ("typeword", None),
    "structure": ("typeword", None),
    "structured": ("typeword", None),
    "prototype": ("typeword", None),
    "lattice type": ("typeword", None),
    "like": ("like", None),
    "related": ("derived", None),
    "derived": ("derived", None),
    "inspired": ("derived", None),
    "or equal to": ("filler", None),
}

_CAPITALS = "read as an abbreviation; write amounts, or the elements with dashes between them"
_CLASS = "a class of materials; name elements, a family or a property"
_NO_TYPE = "this structure type is not known by name"
_NOT_A_PROPERTY = "it is no property that crystals can be asked for"
_KINDS_OF_STABLE = "only energy above hull is known of stability"
_NO_CHARGE = "oxidation states are read from names such as iron(III) oxide only"
_UNASKED: Mapping[str, str] = {
    **{
        f"{part}{name}": "sizes of the cell cannot be asked for"
        for part in ("lattice ", "cell ", "unit cell ")
        for name in ("parameter", "constant", "length", "volume", "angle", "size")
    },
    **dict.fromkeys(("alloy", "salt", "mineral", "ceramic", "intermetallic"), _CLASS),
    **{
        f"cubic {length}": "it is not clear of what"
        for length in (
            *("meter", "metre", "centimeter", "centimetre", "cm", "m", "angstrom", "ångström"),
            *("nanometer", "nanometre", "inch", "foot", "micron"),
        )
    },
    **{
        f"{lead} {noun}": _NOT_A_PROPERTY
        for lead in ("thermal", "thermally", "heat", "acoustic", "acoustically", "thermo")
        for noun in ("insulator", "insulating", "stable")
    },
    **{
        f"metallic {noun}": _NOT_A_PROPERTY
        for noun in (
            "glass",
            "luster",
            "lustre",
            "bonding",
            "radius",
            "character",
            "bonds",
            "shine",
        )
    },
    **dict.fromkeys(("bad metal", "strange metal", "liquid metal"), _NOT_A_PROPERTY),
    **dict.fromkeys(
        [f"{some} dozen" for some in ("few", "several", "some", "many", "couple of")]
        + ["dozens of"],
        "give a number",
    ),
    "volume per atom": "sizes of the cell cannot be asked for",
    "oxidation state": _NO_CHARGE,
    "oxidation states": _NO_CHARGE,
    "valence state": _NO_CHARGE,
    "as possible": "no extreme can be asked for; give a number",
    "two dimensional": _NOT_A_PROPERTY,
    "one dimensional": _NOT_A_PROPERTY,
    "three dimensional": _NOT_A_PROPERTY,
    "p type": _NOT_A_PROPERTY,
    "n type": _NOT_A_PROPERTY,
    "high throughput": "it says nothing of a crystal",
    **{
        f"light {use}": _NOT_A_PROPERTY
        for use in (
            *("emitting", "emitter", "emission", "absorbing", "absorber", "absorption"),
            *("harvesting", "sensitive", "scattering", "source", "sources", "trapping"),
        )
    },
    **{
        f"{colour} light": _NOT_A_PROPERTY
        for colour in ("visible", "uv", "blue", "red", "green", "white", "under", "solar")
    },
    "heavy fermion": _NOT_A_PROPERTY,
    "heavy duty": _NOT_A_PROPERTY,
    "metal electrode": _NOT_A_PROPERTY,
    "metal contact": _NOT_A_PROPERTY,
    "metal support": _NOT_A_PROPERTY,
    "metal substrate": _NOT_A_PROPERTY,
    "stable against": _KINDS_OF_STABLE,
    "stable towards": _KINDS_OF_STABLE,
    "stable at": _KINDS_OF_STABLE,
    "stable to": _KINDS_OF_STABLE,
    "stable toward": _KINDS_OF_STABLE,
    **{
        f"stable under {what}": _KINDS_OF_STABLE
        for what in (
            *("pressure", "high pressure", "ambient", "ambient conditions", "load", "irradiation"),
            *("light", "illumination", "humid", "humidity", "vacuum", "radiation", "operating"),
            *("oxidizing", "reducing", "strain", "cycling", "acidic", "basic", "water", "air"),
        )
    },
    **{
        f"{kind} stable": _KINDS_OF_STABLE
        for kind in (
            *("water", "air", "moisture", "heat", "thermally", "dynamically", "mechanically"),
            *("chemically", "electrochemically", "vibrationally", "kinetically", "radiation"),
            *("acid", "base", "alkali", "oxidation", "hydrolytically", "environmentally"),
            *(
                "ambient",
                "phonon",
                "temperature",
                "pressure",
                "corrosion",
                "hydrolysis",
                "humidity",
            ),
            *("photochemically", "aqueous", "steam", "elastically", "cycling", "solvent", "uv"),
        )
    },
    "stable in air": _KINDS_OF_STABLE,
    **{
        f"stable {where}": _KINDS_OF_STABLE
        for where in (
            *("in water", "in contact", "in acid", "in oxygen", "in vacuum", "in humid", "with"),
            *("in moist", "in contact with", "when", "upon", "in solution", "in acidic", "in base"),
            *("in basic", "in alkaline", "in aqueous", "in moisture", "in seawater", "in brine"),
            *(
                "in ambient",
                "in steam",
                "in electrolyte",
                "in hydrogen",
                "in reducing",
                "in the air",
            ),
            *("in oxidizing", "in oxidising", "in strong acid", "in the presence", "in acids"),
            *("in acidic media", "in alkaline media", "in hot", "in dry", "in wet", "in humidity"),
            *("in alkali", "in nitrogen", "in argon", "in chlorine", "in sulfuric acid"),
        )
    },
    "unstable": "no range of energy above hull is usual for it; give one in eV/atom",
    "magnetic moment": "ask for magnetization in muB/A^3",
    "magnetic moments": "ask for magnetization in muB/A^3",
    "magnetic field": _NOT_A_PROPERTY,
    "magnetic refrigeration": _NOT_A_PROPERTY,
    "magnetic anisotropy": _NOT_A_PROPERTY,
    "antiferromagnetic": "the label is net magnetization, which cannot tell it",
    "antiferromagnet": "the label is net magnetization, which cannot tell it",
    "dielectric constant": _NOT_A_PROPERTY,
    **dict.fromkeys(
        (
            *("dielectric", "compressible", "ultraincompressible", "diamagnetic"),
            *("low bulk modulus", "high shear modulus"),
        ),
        "no range is usual for it; give numbers",
    ),
    "topological insulator": _NOT_A_PROPERTY,
    "mott insulator": _NOT_A_PROPERTY,
    **{
        f"{kind} insulator": _NOT_A_PROPERTY
        for kind in (
            *("kondo", "chern", "anderson", "excitonic", "topological crystalline", "peierls"),
            *("axion", "hall", "spin", "charge transfer", "hubbard", "crystalline", "trivial"),
        )
    },
    "half metal": _NOT_A_PROPERTY,
    "half metallic": _NOT_A_PROPERTY,
    "semimetal": _NOT_A_PROPERTY,
    "semi metal": _NOT_A_PROPERTY,
    "heavy metal": "name the elements to leave out",
    "metal organic framework": _NOT_A_PROPERTY,
    "metal organic": _NOT_A_PROPERTY,
    "metal air": _NOT_A_PROPERTY,
    "metal ion": _NOT_A_PROPERTY,
    "metal free": "name the elements to leave out",
    "metal insulator transition": _NOT_A_PROPERTY,
    "free energy": _NOT_A_PROPERTY,
    "free standing": _NOT_A_PROPERTY,
    "defect free": _NOT_A_PROPERTY,
    **{
        f"{guest} {host}": "what a crystal is for cannot be asked for"
        for guest in ("hydride", "hydrogen", "intercalation", "lithium", "sodium", "insertion")
        for host in ("host", "hosts")
    },
    "gold standard": _NOT_A_PROPERTY,
    **dict.fromkeys(
        (
            *("lead me", "lead candidate", "lead time", "lead author", "take the lead", "lead on"),
            *("carbon neutral", "low carbon", "carbon free"),
        ),
        _NOT_A_PROPERTY,
    ),
    "lead us": _NOT_A_PROPERTY,
    "leading": _NOT_A_PROPERTY,
    "lead to": _NOT_A_PROPERTY,
    "leads to": _NOT_A_PROPERTY,
    "energy density": _NOT_A_PROPERTY,
    "current density": _NOT_A_PROPERTY,
    "charge density": _NOT_A_PROPERTY,
    "charge density wave": _NOT_A_PROPERTY,
    "density of states": _NOT_A_PROPERTY,
    "density functional": _NOT_A_PROPERTY,
    "packing density": _NOT_A_PROPERTY,
    "defect density": _NOT_A_PROPERTY,
    "carrier density": _NOT_A_PROPERTY,
    "young s modulus": "ask for bulk_modulus or shear_modulus",
    "young modulus": "ask for bulk_modulus or shear_modulus",
    "young's modulus": "ask for bulk_modulus or shear_modulus",
    "elastic modulus": "ask for bulk_modulus or shear_modulus",
    "hardness": "ask for bulk_modulus or shear_modulus",
    "superhard": "ask for bulk_modulus or shear_modulus",
    "hard": "ask for bulk_modulus or shear_modulus",
    "direct": "whether a gap is direct is not known",
    "indirect": "whether a gap is direct is not known",
}


def scan(text: str) -> list[Item]:
    """The items of a normalised text, in order.

    Kinds: the vocabulary's ("element", "anion", "family", "system", "type", "loose", ...),
    "number", "unit", "formula", "variable" (a formula with x), "generic" (ABX3), "group",
    "bad_group", "point_group", "compare", "comma", "stop", "dash", "range", "pm", "unknown".
    """
    items: list[Item] = []
    place = 0
    while place < len(text):
        if text[place].isspace() or text[place] in "\"'`*_|":
            place += 1
            continue
        item = _whole(text, _next(text, place, items))
        if item.kind != "skip":
            items.append(item)
        place = max(item.end, place + 1)
    return _denied(_turned(items), text)


_PLACE = (
    r"(?:in|inside|within)(?:\s+(?:there|it|them|this|(?:the|my|our|your)\s+[a-z]+))?|there|present|"
    r"included|used|contained|involved|found|considered|added|part\s+of\s+(?:it|this|the\s+[a-z]+)|"
    r"(?:one|any)\s+of\s+(?:the|its)\s+elements"
)
_APPEAR = (
    r"appear|occur|show\s+up|feature|enter|come\s+in|be\s+seen|be\s+allowed|be\s+a\s+part|exist|"
    rf"be\s+(?:{_PLACE})"
)
_GONE = (
    r"zero|0(?![\d.])(?:\s?%)?|nil|none|out(?!\s+of\s+(?!the\s+question|bounds))(?:\s+of\s+the\s+question|"
    r"\s+of\s+bounds)?|gone|missing|absent|eliminated|excluded|avoided|removed|taboo|forbidden|verboten|"
    r"banned|ruled\s+out|left\s+(?:out|aside)|kept\s+out|off\s+the\s+(?:table|list)|off[\s-]limits|"
    r"prohibited|unwanted|undesired|undesirable|unacceptable|unwelcome|bad|a\s+(?:problem|bad\s+idea|"
    r"mistake|disaster|showstopper|deal[\s-]?breaker)|(?:a\s+|an\s+absolute\s+)?no[\s-]?go"
)
_MODAL = (
    r"(?:must|should|shall|may|can|could|would|will|might|ought\s+to|has\s+to|have\s+to"
    r"|needs?\s+to)"
)
_DEGREE = (
    r"(?:\s+(?:absolutely|strictly|really|both|all|definitely|completely|totally|also|simply"
    r"|please|ever))?"
)
#: Behind the name of an element these leave it out: must be zero, shall not appear, is a no-go.
_DENIED_BEHIND = re.compile(
    r"(?:[\s-]+(?:content|level|amount|fraction|atoms?|ions?|elements?))?(?:"
    rf"\s+{_MODAL}{_DEGREE}(?:\s*not|n't|not){_DEGREE}\s+(?:{_APPEAR})"
    rf"|\s+(?:can't|won't){_DEGREE}\s+(?:{_APPEAR})"
    rf"|\s+(?:do|does)(?:\s*not|n't)\s+(?:{_APPEAR}|belong(?:\s+(?:in\s+)?(?:here|there|it))?)"
    rf"|\s+{_MODAL}{_DEGREE}\s+(?:be|stay|remain){_DEGREE}\s+(?:{_GONE})"
    rf"|\s+{_MODAL}\s+never\s+(?:{_APPEAR})"
    rf"|\s+(?:is|are|isn't|aren't|'s){_DEGREE}\s+(?:{_GONE})"
    r"|\s+(?:is|are)(?:\s+not|n't)\s+(?:an\s+option|welcome|good|to\s+be\s+(?:used|included|present|there|"
    r"in\s+it)|part\s+of\s+(?:it|this)|tolerated|accepted|there|in\s+(?:it|there)|"
    r"used|included|present|contained|something\s+(?:we|i)\s+(?:want|like|use)|what\s+(?:we|i)\s+want|"
    r"an?\s+(?:ingredient|component|constituent)|among\s+the\s+(?:elements|ingredients))"
    r"|(?:isn't|aren't)\s+(?:allowed|wanted|welcome|permitted)"
    r"|\s+(?:isn't|aren't)\s+(?:allowed|wanted|welcome|permitted|acceptable|an\s+option|ok|"
    r"used|included|present|contained|in\s+(?:it|there)|there)"
    r"|\s+(?:cannot|can't)\s+be\s+(?:tolerated|allowed|accepted)"
    r"|\s+(?:has|have)\s+no\s+(?:place|business|room)(?:\s+(?:here|there|in\s+(?:it|this|the\s+[a-z]+)))?"
    r"|\s*[=:]\s*(?:0(?![\d.:])(?:\s?%)?|zero|none|nil)"
    r"|\s+(?:a\s+)?no[\s-]go"
    r"|\s*[?:,]?\s+(?:absolutely|definitely|certainly|please|surely)\s+not(?=\s*(?:[.,;!]|$))"
    r"|\s+out(?=\s*(?:[.,;!]|$))|\s*[?:,]?\s*(?:nope\b|no,?\s+(?:thanks|thank\s+you|way))"
    r"|\s+0\s?%|\s+0(?=\s*(?:[.,;!]|$))|\s+not\s+in\s+(?:it|there)"
    r"|\s+(?:zero|nil)(?=\s*(?:[.,;!]|$))"
    r")(?![A-Za-z]|-[A-Za-z])",
    re.I,
)


def _of_property(items: Sequence[Item]) -> bool:
    """Whether the last item tells what a property is of: the gap of the oxide must be zero."""
    place = len(items) - 2
    kinds = ("filler", "element", "family", "anion", "compare")
    while place >= 0 and items[place].kind in kinds:
        place -= 1
    return (
        place >= 0
        and items[place].kind in ("property", "loose")
        and "of" in [item.text.lower() for item in items[place + 1 :]]
    )


def _denied(items: Sequence[Item], text: str) -> list[Item]:
    """The items, what denies an element behind its name as one: lead must be zero."""
    found: list[Item] = []
    until = 0
    for item in items:
        if item.start < until:
            continue
        found.append(item)
        if item.kind not in ("element", "family", "anion") or _of_property(found):
            continue
        match = _DENIED_BEHIND.match(text, item.end)
        if match is not None:
            until = match.end()
            said = match[0].strip()
            found.append(Item("neg_after", "behind", said, until - len(said), until))
    return found


#: A bound and what it is when it is denied: not more than.
_DENIED = {">": "<=", "<": ">=", ">=": "<", "<=": ">"}


def _turned(items: Sequence[Item]) -> list[Item]:
    """The items, denied bounds turned round: "must not be larger than" is "at most"."""
    turned: list[Item] = []
    for item in items:
        bound = _DENIED.get(str(item.value)) if item.kind == "compare" else None
        back = len(turned) - 1
        while back >= 0 and turned[back].text.lower() in ("be", "go", "lie", "fall", "is", "rise"):
            back -= 1
        if bound is None or back < 0 or turned[back].kind != "neg" or item.text in "<>=":
            turned.append(item)
            continue
        words = " ".join(it.text for it in [*turned[back:], item])
        turned[back:] = [Item("compare", bound, words, turned[back].start, item.end)]
    return turned


#: Kinds that are read from whole words only.
_WHOLE = ("element", "formula", "generic", "variable", "type", "group", "point_group", "number")
_TAIL = re.compile(r"[^\W_]+")
#: Charges behind a symbol: Mn4+, Na+, O2-.
_CHARGED = re.compile(r"(?<![A-Za-z])[A-Z][a-z]?(?=\d?[+](?![\w])|\d-(?![\w]))")


def _whole(text: str, item: Item) -> Item:
    """The item, or an unknown word where only a part of a word was read: the Pb of MAPbI3."""
    if item.kind not in _WHOLE or text[item.end - 1 : item.end] in "()[]":
        return item
    if item.kind == "element" and _CHARGED.match(text, item.start):
        return item
    tail = _TAIL.match(text, item.end)
    if tail is None or (item.kind == "number" and _behind_number(text, item.end)):
        return item
    start = item.start
    end = tail.end()
    return Item("unknown", None, text[start:end], start, end)


def _behind_number(text: str, at: int) -> bool:
    """Whether a unit, or a formula, may be written at a number without a blank."""
    if any(pattern.match(text, at) for pattern, _ in _UNITS):
        return True
    formula = _FORMULA.match(text, at)
    return formula is not None and _formula_of(formula[0]) is not None and len(formula[0]) > 1


#: A dopant and its host: Nd:YAG, Ce:LuAG.
_HOSTED = re.compile(r"(?:[A-Z][a-z]?\d?[+]?,?)+:(?=[A-Z][a-z]?[A-Z\d]|yag|yig)")


def _hosted(text: str, at: int, before: list[Item]) -> Item | None:
    """A dopant that a colon joins to its host."""
    match = _HOSTED.match(text, at) if _starts_word(text, at) else None
    if match is None or not re.search("[a-z]", match[0]) or match[0].startswith("Re"):
        return None
    return Item("unasked", "small amounts cannot be asked for", match[0], at, match.end())


_MIXED = re.compile(
    r"(?:[A-Z][a-z]?[\d.]*|\((?:[A-Z][a-z]?[\d.]*[,/])+[A-Z][a-z]?[\d.]*\)[\d.]*|\([A-Z][A-Za-z\d.]*\)"
    r"[\d.]*)+(?![A-Za-z(])"
)


def _mixed(text: str, at: int, before: list[Item]) -> Item | None:
    """A formula with several elements on a site: (Ba,Sr)TiO3, Li(Ni,Mn,Co)O2."""
    match = _MIXED.match(text, at) if _starts_word(text, at) else None
    if match is None or not re.search(r"\([A-Za-z\d.]+[,/]", match[0]):
        return None
    symbols = tuple(dict.fromkeys(re.findall(r"[A-Z][a-z]?", match[0])))
    if len(match[0]) < 5 or (match[0].startswith("(") and match[0].endswith(")")):
        return None
    if any(symbol not in chemistry.NUMBERS for symbol in symbols):
        return None
    return Item("variable", symbols, match[0], at, match.end())


def _next(text: str, at: int, before: list[Item]) -> Item:
    for reader in (
        _columns,
        _hosted,
        _mixed,
        _ratio,
        _charge,
        _group,
        _point_group,
        _signs,
        _number,
        _unit,
        _role,
        _symbols,
        _phrase,
    ):
        item = reader(text, at, before)
        if item is not None:
            return item
    match = re.compile(r"[^\W\d_]\w*").match(text, at)
    if match is None:
        return Item("unknown", None, text[at], at, at + 1)
    code = words.type_codes().get(match[0]) if _starts_word(text, at) else None
    behind = re.compile(r"\s+").match(text, match.end())
    after = _phrase(text, behind.end(), []) if code and behind is not None else None
    if code is not None and after is not None and after.kind in ("anion", "oxy_family"):
        return Item("type", code, match[0], at, match.end())  # k2nif4 cuprate
    small = _small_letters(match[0], at) if _starts_word(text, at) else None
    if small is not None:
        return small
    return _misspelled(match[0], at) or Item("unknown", None, match[0], at, match.end())


#: Words of small letters and digits that are no formulas.
_ORBITALS = ("sp2", "sp3", "sp3d2")
#: Elements that are not looked for in formulas of small letters.
_RARE = frozenset(
    words.split("He Ne Ar Kr Xe Rn At Po Fr Ra Ac Pa No Es Fm Md Lr Bk Cf Am Cm Np Pm Tc")
)


def _small_letters(word: str, at: int) -> Item | None:
    """A formula in small letters, such as batio3; where it may be two, they are suggested."""
    if not re.fullmatch(r"[a-z]+\d[a-z\d]*", word) or not 2 < len(word) < 16 or word in _ORBITALS:
        return None
    readings = _segmented(word)
    fewest = min((len(parts) for parts in readings), default=0)
    best = ["".join(parts) for parts in readings if len(parts) == fewest]
    # Na2CO3 and Na2Co3
    best += ["".join(parts) for parts in readings if len(parts) == fewest + 1 and _carbonate(parts)]
    if not best or fewest < 2 or any(_formula_of(name) is None for name in best):
        return None
    end = at + len(word)
    if len(best) > 1:
        return Item("doubtful", " or ".join(best[:3]), word, at, end)
    return Item("formula", best[0], word, at, end, best[0])


def _carbonate(parts: Sequence[str]) -> bool:
    """Whether C stands before O, which together may be cobalt."""
    return any(
        left == "C" and right[0] == "O" and right[1:2] != "s"
        for left, right in itertools.pairwise(parts)
    )


def _segmented(word: str) -> list[list[str]]:
    """All ways to read letters and numbers as symbols with amounts, each symbol once."""
    if not word:
        return [[]]
    found = []
    for length in (2, 1):
        symbol = word[:length].capitalize()
        if len(word) < length or symbol not in chemistry.NUMBERS or symbol in _RARE:
            continue
        amount = re.match(r"\d*", word[length:])
        number = amount[0] if amount is not None else ""
        rest = _segmented(word[length + len(number) :])
        found += [
            [symbol + number, *parts]
            for parts in rest
            if symbol not in {part.rstrip("0123456789") for part in parts}
        ]
    return found


_FIGURE = "(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve)"
#: One to five; not "one to five atoms".
_SPOKEN = re.compile(
    rf"{_FIGURE}(?:(?:\s+to\s+|-to-){_FIGURE})+(?![\w-])"
    r"(?!\s+(?:e[vV]|atom|element|site|formula|component|different|or|unit|[gGkm]))",
    re.I,
)
_RATIO = re.compile(r"\d+(?:\s?:\s?\d+)+(?![\w.])|\d+(?:-\d+){2,}(?![\w.])")


def _ratio(text: str, at: int, before: list[Item]) -> Item | None:
    """Numbers of atoms to each other: 1:2, 1-1-3."""
    match = _RATIO.match(text, at) if _starts_word(text, at) else None
    spoken = _SPOKEN.match(text, at) if _starts_word(text, at) else None
    if spoken is not None:
        numbers = re.split(r"\s+(?:to|and)\s+|-to-", spoken[0].lower())
        counts = tuple(int(words.NUMBER_WORDS[number]) for number in numbers)
        return Item("ratio", counts, spoken[0], at, spoken.end())
    if match is None:
        return None
    parts = tuple(int(part) for part in re.findall(r"\d+", match[0]))
    return Item("ratio", parts, match[0], at, match.end())


def _charge(text: str, at: int, before: list[Item]) -> Item | None:
    """An element written with its charge; or the charge itself, behind one."""
    match = _CHARGED.match(text, at)
    if match is not None and match[0] in chemistry.NUMBERS:
        return Item("element", match[0], match[0], at, match.end())
    behind = bool(before) and before[-1].end == at and before[-1].kind == "element"
    mixed = re.compile(rf"\s?\({_COLUMN}(?:\s?[,/]\s?{_COLUMN})+\)").match(text, at)
    if mixed is not None:
        return Item("unasked", _NO_CHARGE, mixed[0], at, mixed.end())
    charge = re.compile(r"\d?[+](?!\w)|\d-(?!\w)").match(text, at)
    if charge is None or not (behind or re.match(r"\d[+]", charge[0])):
        return None
    return Item("unasked", _NO_CHARGE, charge[0], at, charge.end())


_COLUMN = r"(?:I{1,3}|IV|VI{0,3})"
#: Group III, groups IIIA and VA, group 14 elements; III-V, II-VI2.
_COLUMNS = re.compile(
    rf"groups?[\s-]+{_COLUMN}[ABab]?(?:\s*(?:,|and|or|to|-|/)\s*{_COLUMN}[ABab]?)*(?![A-Za-z])"
    rf"|groups?[\s-]+\d{{1,2}}(?:\s*(?:,|and|or|to|-)\s*\d{{1,2}})*(?=\s+(?:element|metal|atom))"
    rf"|(?=\S*II|\S*IV|\S*VI){_COLUMN}(?:-{_COLUMN}\d?)+(?![A-Za-z])"
)


def _columns(text: str, at: int, before: list[Item]) -> Item | None:
    """Groups of the periodic table by number, which are not elements of such symbols."""
    match = _COLUMNS.match(text, at) if _starts_word(text, at) else None
    named = before[-1].text.lower() if before else ""
    if match is None or named in ("space", "point", "symmetry"):
        return None
    reason = "groups of the periodic table are not known; name the elements or a family"
    return Item("unasked", reason, match[0], at, match.end())


def _starts_word(text: str, at: int) -> bool:
    return at == 0 or not text[at - 1].isalnum()


#: A symbol of a group with blanks in it: P 21/c, F d -3 m.
_SPACED = re.compile(
    r"[PIFCRAB](?:\s-?[1-6]\d?/[mncabd](?:\s[mncabd]){0,2}|(?:\s-?[1-6mncabd][1-5]?){3})(?![\w/])"
)


def _group(text: str, at: int, before: list[Item]) -> Item | None:
    """A space group: after its name, or a symbol that can be nothing else."""
    if not _starts_word(text, at):
        return None
    named = _GROUP_WORDS.match(text, at)
    if named is not None and named.end() > at and named[0].strip():
        chunk = _CHUNK.match(text, named.end())
        if chunk is not None:
            end, known = _known_group(text, chunk.start(), chunk.end())
            if known is not None:
                return Item("group", known, text[at:end], at, end)
            if re.fullmatch(r"-?\d+", chunk[0]) or _HM.fullmatch(chunk[0]):
                return Item("bad_group", chunk[0], text[at : chunk.end()], at, chunk.end())
        return None
    spaced = _SPACED.match(text, at)
    if spaced is not None and (number := _group_number(spaced[0].replace(" ", ""))) is not None:
        return Item("group", number, spaced[0], at, spaced.end())
    small = _SMALL_HM.match(text, at)
    if small is not None:
        number = _group_number(small[0].capitalize())
        return None if number is None else Item("group", number, small[0], at, small.end())
    match = _HM.match(text, at)
    if match is None:
        return None
    symbol = match[0].rstrip("-/")
    end = at + len(symbol)
    followed = re.compile(r"\s*(?:space[\s-]?group|symmetry|group)", re.I).match(text, end)
    short = len(symbol) < 3 or _formula_of(symbol) is not None
    if short and followed is None:
        beside = _of_system(text, at, symbol, before)
        return None if beside is None else Item("group", beside, symbol, at, end)
    number = _group_number(symbol)
    return None if number is None else Item("group", number, symbol, at, end)


_SYSTEM_BEHIND = re.compile(rf"[\s,]*\(?({'|'.join(words.CRYSTAL_SYSTEMS)})\b", re.I)


def _of_system(text: str, at: int, symbol: str, before: Sequence[Item]) -> int | None:
    """The group of a short symbol beside the crystal system that it has: monoclinic Cc."""
    number = _group_number(symbol)
    if number is None:
        return None
    from crystal_diffusion.symmetry.groups import SpaceGroup

    own = SpaceGroup.from_any(str(number)).crystal_system
    named = [
        item
        for item in before
        if item.kind not in ("comma", "bracket", "dash", "filler", "typeword")
    ]
    near = bool(named) and at - named[-1].end < len(" structure, (")
    behind = _SYSTEM_BEHIND.match(text, at + len(symbol))
    said = [str(named[-1].value)] if near and named[-1].kind == "system" else []
    said += [words.CRYSTAL_SYSTEMS[behind[1].lower()]] if behind is not None else []
    return number if own in said else None


def _known_group(text: str, start: int, end: int) -> tuple[int, int | None]:
    """The longest chunk from ``start`` that names a group: symbols may hold blanks."""
    longer = re.compile(r"[PIFCRAB](?:\s[-0-9mncabde/_]+){1,3}(?![A-Za-z0-9])").match(text, start)
    if longer is not None:
        number = _group_number(longer[0].replace(" ", ""))
        if number is not None:
            return longer.end(), number
    for stop in range(end, start, -1):
        if stop == end or text[stop] in "-_/":
            number = _group_number(text[start:stop])
            if number is not None:
                return stop, number
    return end, None


@lru_cache(maxsize=512)
def _group_number(name: str) -> int | None:
    from crystal_diffusion.symmetry.groups import SpaceGroup

    spellings = [name.replace("_", "")]
    if re.fullmatch(r"[PIF][a-z]3[a-z]?", name):  # Fm3m, as it was written before 1983
        spellings.append(f"{name[:2]}-{name[2:]}")
    for spelling in spellings:
        try:
            return SpaceGroup.from_any(spelling).number
        except InputError:
            continue
    return None


#: Symbols of Schoenflies to those of Hermann and Mauguin.
_SCHOENFLIES: Mapping[str, str] = dict(
    zip(
        words.split(
            "c1 ci c2 cs c2h d2 c2v d2h c4 s4 c4h d4 c4v d2d d4h c3 c3i s6 d3 c3v d3d c6 c3h c6h "
            "d6 c6v d3h d6h t th o td oh"
        ),
        words.split(
            "1 -1 2 m 2/m 222 mm2 mmm 4 -4 4/m 422 4mm -42m 4/mmm 3 -3 -3 32 3m -3m 6 -6 6/m "
            "622 6mm -6m2 6/mmm 23 m-3 432 -43m m-3m"
        ),
        strict=True,
    )
)


def _point_group(text: str, at: int, before: list[Item]) -> Item | None:
    if not _starts_word(text, at):
        return None
    named = _POINT_WORDS.match(text, at)
    if named is None:
        return None
    chunk = _CHUNK.match(text, named.end())
    if chunk is None:
        return None
    from crystal_diffusion.symmetry.groups import groups_of

    name = chunk[0].rstrip("-")
    name = _SCHOENFLIES.get(name.lower(), name)
    try:
        groups_of(point_group=name)
    except InputError:
        return None
    return Item("point_group", name, text[at : chunk.end()], at, chunk.end())


def _signs(text: str, at: int, before: list[Item]) -> Item | None:
    for sign in (">=", "<=", "==", ">", "<", "=", "~"):
        if text.startswith(sign, at):
            return Item("compare", words.COMPARISONS[sign], sign, at, at + len(sign))
    if text[at] == "±":
        return Item("pm", None, "±", at, at + 1)
    dots = re.compile(r"\.{2,}|…").match(text, at)
    if dots is not None:
        return Item("range", None, dots[0], at, dots.end())
    if text[at] == "-" and not _negative(text, at):
        return Item("dash", None, "-", at, at + 1)
    kinds = {",": "comma", ";": "stop", ".": "stop", "!": "stop", "?": "stop", "\n": "stop"}
    kinds |= dict.fromkeys("()[]", "bracket") | dict.fromkeys("+&", "and")
    kinds |= {":": "colon", "/": "slash"}
    if text[at] in kinds and not (text[at] == "+" and text[at + 1 : at + 2].isdigit()):
        return Item(kinds[text[at]], None, text[at], at, at + 1)
    return None


def _negative(text: str, at: int) -> bool:
    """Whether a dash is the sign of a number: a digit behind, and no digit or letter before."""
    if not text[at + 1 : at + 2].isdigit():
        return False
    before = text[:at].rstrip()
    if at and (text[at - 1].isalnum() or text[at - 1] == ")"):
        return False
    # "0 - 30": a blank on both sides was not there, so "0 -30" is a sign all the same.
    return not (before[-1:].isdigit() and text[at + 1 : at + 2].isspace())


def _number(text: str, at: int, before: list[Item]) -> Item | None:
    sign = 1.0
    start = at
    if text[at] in "-+" and text[at + 1 : at + 2].isdigit():
        sign = -1.0 if text[at] == "-" else 1.0
        at += 1
    elif not text[at].isdigit():
        return None
    match = _NUMBER.match(text, at)
    if match is None:
        return None
    phrase = _phrase(text, start, before)
    if phrase is not None and phrase.end > match.end() and phrase.kind != "number":
        return phrase
    return Item("number", sign * float(match[0]), text[start : match.end()], start, match.end())


def _unit(text: str, at: int, before: list[Item]) -> Item | None:
    """A unit, behind a number or a bracket."""
    skipped = [item for item in before if item.kind != "bracket"]
    if not skipped or skipped[-1].kind not in ("number", "property"):
        return None
    if skipped[-1].kind == "property" and (not before or before[-1].kind != "bracket"):
        return None
    for pattern, unit in _UNITS:
        match = pattern.match(text, at)
        if match is None:
            continue
        if (
            unit == "other"
            and re.fullmatch(r"[\s-]*[KVTC]", match[0])
            and _joined_elements(text, at)
        ):
            return None
        if match[0].strip(" -(") == "C" and not _warm(skipped[-1]):
            return None
        return Item("unit", unit, match[0], at, match.end())
    return None


def _warm(item: Item) -> bool:
    """Whether a number before C is of a temperature and not of carbon atoms."""
    return item.kind == "number" and item.value >= 25


def _joined_elements(text: str, at: int) -> bool:
    """Whether a letter is followed by a list of elements."""
    return re.match(r"[A-Z]\s*[-,]\s*[A-Z][a-z]?\b", text[at:]) is not None


#: What makes letters place holders: A = Cs, ABX3, CsBX3.
_HELD = re.compile(
    r"\bA\s*(?:=|:|site|is\b|alkal|rare|lanth)|\bX\s?(?:=|is)"
    r"|\b(?:A\d?|[A-Z][a-z]\d?)B\d?X\d\b|\bA\d?B\d?[A-Z]\d?\b"
)


def _role(text: str, at: int, before: list[Item]) -> Item | None:
    """A place holder, as in "A = Cs, B = Sn"; only where an "A" is one."""
    held = _HELD.search(text)
    if not _starts_word(text, at) or held is None:
        return None
    match = re.compile(
        r"[ABMXR](?:[\s-]?sites?)?\s*"
        r"(?:=|:|is\b|(?=alkal|rare|lanth|transition|halog|chalc|pnict|oxygen|metal))\s*"
    ).match(text, at)
    if match is not None:
        return Item("skip", None, match[0], at, match.end())
    alone = re.compile(r"[ABMXR](?![\w-])").match(text, at)
    generic = re.search(r"\bA\d?B\d?[A-Z]\d?\b", text)
    if alone is None or generic is None:
        return None
    return Item("unknown", None, alone[0], at, alone.end())


def _symbols(text: str, at: int, before: list[Item]) -> Item | None:
    """Formulas and symbols of elements."""
    if not (_starts_word(text, at) or text[at - 1].isdigit()) or not text[at].isupper():
        if text[at] not in "([" or _FORMULA.match(text, at) is None:
            return None
    role = re.compile(r"(?:Ln|RE|TM)(?![A-Za-z\d(])").match(text, at)
    if role is not None:
        return Item("family", _ROLES[role[0]], role[0], at, role.end())
    match = _FORMULA.match(text, at)
    if match is None:
        return _variable(text, at)
    odd = _no_formula(text, at, match[0], before) or _typed_formula(text, at, match[0], before)
    if odd is not None:
        return odd
    found = match[0]
    if re.fullmatch(rf"[A-Z][a-z]?\({_COLUMN}\)", found) and len(found) > 3:
        found = found[: found.index("(")]
    while found.count("(") < found.count(")") or found.count("[") < found.count("]"):
        found = found[:-1] if found[-1] in ")]" else ""
    found = found.rstrip("([")
    if re.fullmatch(r"[A-Z][a-z]?", found):
        return _one_symbol(text, at, found, before)
    end = at + len(found)
    if text[end : end + 1] in ("x", "δ", "y") or re.match(r"-[xyδ0-9]", text[end:]):
        return _variable(text, at)
    coded = _strukturbericht(text, at, found)
    if coded is not None:
        return coded
    if found != "C15" and _formula_of(found) is not None and re.search("[A-Z]", found):
        roman = _ROMAN.match(text, end)
        return Item("formula", found, found, at, roman.end() if roman else end)
    held = None if re.match(r"(?:MA|FA)(?:Pb|Sn|Ge)", found) else _place_holders(found, at)
    if held is None and len(found) > 2 and re.search(r"[\d·]|^MA|^FA", found):
        return Item("unknown", None, match[0], at, match.end())
    return held


def _no_formula(text: str, at: int, found: str, before: list[Item]) -> Item | None:
    """What looks like a formula and is none: NASICON, UV, LiNi1/3Mn1/3Co1/3O2."""
    named = _phrase(text, at, before) if found == "MAX" else None
    if named is not None:
        return named
    if re.fullmatch(_NO_FORMULA, found):
        return _phrase(text, at, before) or Item("unknown", None, found, at, at + len(found))
    if re.fullmatch("[A-Z]{2,}", found) and found not in words.CAPITAL_FORMULAS:
        return _phrase(text, at, before) or Item("unasked", _CAPITALS, found, at, at + len(found))
    fraction = re.compile(r"[\w.()/]*\d/\d[\w.()/]*").match(text, at)
    if fraction is not None and fraction.end() > at + len(found):
        return Item("unknown", None, fraction[0], at, fraction.end())
    return None


def _strukturbericht(text: str, at: int, found: str) -> Item | None:
    """A symbol of Strukturbericht; those that may be formulas only before one: B2 NiAl."""
    code, end = words.type_codes().get(found.lower()), at + len(found)
    longer = _phrase(text, at, [])
    if longer is not None and longer.kind == "type" and longer.end > end:
        return longer
    led = re.fullmatch(r"A[1-4]|B[1-4]|C[14]", found) and re.match(
        r"\s+(?:[A-Z][a-z]?\d*[A-Z]|structure|phase|ordered)", text[end:]
    )
    word = re.match(r"\s+([a-z]+)", text[end:])
    named = word is not None and word[1] in words.ELEMENTS and re.fullmatch(r"B[1-4]", found)
    if code is None or not (
        led or named or re.fullmatch(r"A15|C1[45]b?|L1[02]|L21|D03|C1b", found)
    ):
        return None
    return Item("type", code, found, at, end)


def _place_holders(found: str, at: int) -> Item | None:
    """A formula with letters for any element: Ln2O3, ABX3."""
    end = at + len(found)
    if re.fullmatch(r"(?:Ln|RE)(?![a-z])(?:(?:[A-Z][a-z]?)?\d*)+", found):
        parts = re.findall(r"Ln|RE|[A-Z][a-z]?", found)
        if all(part in chemistry.NUMBERS for part in parts[1:]) and len(parts) > 1:
            return Item("role_formula", (_ROLES[parts[0]], tuple(parts[1:])), found, at, end)
    if not re.search(r"\d", found) and re.search("[a-z]", found) and len(found) > 3:
        return None
    generic = re.fullmatch(r"(?:[ABMXR]|Ln|RE|[A-Z][a-z]?|\d+|[()])+", found)
    if generic is None or not re.search(r"A|X|M(?![a-z])|R(?![a-z])|Ln", found):
        return None
    anions = ("O", "F", "Cl", "N", "S", "H")
    named = [
        symbol
        for symbol in re.findall(r"[A-Z][a-z]?", found)
        if symbol in anions or (len(symbol) == 2 and symbol in chemistry.NUMBERS)
    ]
    return Item("generic", tuple(named), found, at, end)


#: Before a formula these ask for its structure type.
_SAME_STRUCTURE = re.compile(
    r"(?:(?:isostructural|isotypic|isomorphous)\s+(?:with|to)|crystalli[sz]\w*\s+(?:like|as)|"
    r"(?:same|the)\s+structure\s+(?:as|of|like))\s*$",
    re.I,
)


def _typed_formula(text: str, at: int, found: str, before: list[Item]) -> Item | None:
    """A type compound before "type", or before "structure" where other elements are named."""
    end = at + len(found)
    after = re.compile(
        r"[\s-]*(type|prototype|structure[\s-]+type|structured?|lattice)\b", re.I
    ).match(text, end)
    same = _SAME_STRUCTURE.search(text[:at])
    if same is not None and len(found) > 2 and _formula_of(found) is not None:
        code = words.type_codes().get(found.lower())
        if code is not None:
            return Item("type", code, found, at, end)
        return Item("unasked", _NO_TYPE, found, at, end)
    if after is None or len(found) < 3:
        return None
    sure = after[1].lower() not in ("structure", "lattice")
    codes = words.type_codes()
    if found.lower() in codes:
        led = re.search(r"\b(?:in|with|adopt\w*|having|has|of)\s+(?:the\s+|an?\s+)?$", text[:at])
        named = any(item.kind in ("element", "anion", "family", "formula") for item in before)
        named |= (
            re.match(r"\s+(?:with|containing|made|but|from)\b", text[after.end() :]) is not None
        )
        if sure or led or named:
            return Item("type", codes[found.lower()], found, at, end)
        return None
    if sure and _formula_of(found) is not None:
        return Item("unasked", _NO_TYPE, found, at, end)
    return None


#: Letters that chemists write for any element of a family.
_ROLES: Mapping[str, str] = {"Ln": "lanthanide", "RE": "rare_earth", "TM": "transition_metal"}
#: Capital letters that are no formula.
_NO_FORMULA = re.compile(
    r"[A-Z]{4,}|[A-Z]{3,}\d{2,}|UV|PV|CV|SOC|PCB|NIR|VIS|II|III|IV|VI|VII|VIII"
)
_MODULI: Mapping[str, str] = {"K": "bulk_modulus", "G": "shear_modulus"}
#: What follows K or G where they are moduli.
_COMPARED = re.compile(
    r"\s*(?:[><=~]|(?:of|is|about|around|roughly|approximately|near|ca|above|below|over|under|"
    r"at least|at most|between|exceeding|larger than|greater than|higher than|more than|"
    r"less than|lower than|smaller than)\b\s*(?=[\d~><=]|about|around|at least|at most|roughly))"
)
#: K 120-160 GPa.
_RANGED = re.compile(r"\s+\d[\d.]*\s*(?:(?:-|to|±)\s*\d[\d.]*\s*)?GPa")
#: B is boron, unless so many pascals follow.
_PASCALS = re.compile(r"\s*(?:[><=~]=?|of|is|about|above|below|over|under)\s*\d[\d.]*\s*GPa")


def _one_symbol(text: str, at: int, found: str, before: list[Item]) -> Item | None:
    end = at + len(found)
    rest = text[end:]
    grouped = re.match(r"[\s-]group(?:[\s-](?:metal|element)s?)?\b", rest)
    if grouped is not None and found == "Pt":
        return Item(
            "family", "platinum_group", text[at : end + grouped.end()], at, end + grouped.end()
        )
    if found == "B" and _PASCALS.match(rest):
        return Item("property", "bulk_modulus", found, at, end)
    if found in _MODULI and (_COMPARED.match(rest) or _RANGED.match(rest)):
        return Item("property", _MODULI[found], found, at, end)
    if found == "A" or found not in chemistry.NUMBERS:
        return None
    temperature = re.match(r"\s*(?:>|<|=|~|(?:of|above|below|over|near|around)\s+\d)", rest)
    if found == "No":
        return None
    measured = bool(before) and before[-1].kind == "unit" and before[-1].value == "other"
    described = re.search(
        r"\b(?:high|low|higher|lower|highest|large|small|max|critical|its|the|whose|remanent)[\s-]+$",
        text[:at],
        re.I,
    )
    if found in ("Tc", "Tm", "Pr") and (temperature is not None or measured or described):
        return Item("unasked", _NOT_A_PROPERTY, found, at, end)
    cited = bool(before) and before[-1].kind == "unknown" and re.match(r"\s+\d", rest)
    if len(found) == 1 and cited:
        return Item("unknown", None, found, at, end)
    if found in ("Er", "Ho", "La") and not before and re.match(r",\s[a-z]", rest):
        return Item("skip", None, found, at, end)
    if found == "Re" and not before and rest.startswith(":"):
        return Item("skip", None, found, at, end)
    if found in _ENGLISH_SYMBOLS and not _in_list(text, at, end, before):
        return None
    roman = _ROMAN.match(text, end)
    stop = roman.end() if roman else end
    charge = None if roman is None else _ROMAN_VALUES[roman[1]]
    return Item("element", found if charge is None else (found, charge), found, at, stop)


def _in_list(text: str, at: int, end: int, before: list[Item]) -> bool:
    """Whether a symbol that is an English word stands among elements."""
    word = text[at:end]
    left = text[:at].rstrip()
    after = text[end:]
    if re.search(r"\b[ABMXR]\s*(?:=|:|\bis)$", left) or re.match(r"\s?-?\s?free\b", after):
        return True
    joints = r"(?:,|-|/|and|or|&|\+)"
    if re.search(rf"(?:^|[\s(]){_SYMBOL_NEIGHBOURS}-{_SYMBOL_NEIGHBOURS}-$", text[:at]):
        return re.match(r"(?!\w)", after) is not None
    near_left = re.search(rf"(?:^|[\s,;(:-]){_SYMBOL_NEIGHBOURS}\s*{joints}\s*$", left + " ")
    near_right = re.match(rf"\s*(?:,|-|/|and\s|or\s|&)\s*{_SYMBOL_NEIGHBOURS}(?![a-z])", after)
    asked = re.search(
        r"(?:containing|contains|contain|without|no|of|with|only|using|elements?|exclude|excluding|not|except|minus"
        r"|based on|from|avoid|nor|any)\s*[:=]?\s*$",
        left,
        re.I,
    )
    if word in ("I", "No", "He", "Am", "Be", "At"):
        ends = re.match(rf"\s*(?:$|[,.;)\-/]|and\b|or\b|(?:{_TYPED})s?\b)", after) is not None
        listed = (near_left is not None and word not in ("I", "No")) or asked is not None
        return near_right is not None or (listed and ends) or _ends_list(left, ends)
    if near_left or near_right or asked:
        return re.match(r"\s+(?:the|a|an|this|that|well|such|for|which|addition)\b", after) is None
    return bool(left) and left[-1] not in ".!?:" and re.match(r"\s*(?:-|,|$|\.)", after) is not None


def _ends_list(left: str, ends: bool) -> bool:
    """Whether two symbols of elements and a joint stand before: Cs, Pb and I."""
    joint = r"\s*(?:,|-|/|\band\b|\bor\b)\s*"
    listed = re.search(rf"(?:^|[\s:(-])(?!No\b){_SYMBOL_NEIGHBOURS}{joint}$", left + " ")
    return ends and listed is not None


def _variable(text: str, at: int) -> Item | None:
    """A formula with a letter for an amount, such as NaxMnO2."""
    match = _VARIABLE.match(text, at)
    if match is None or not re.search("[xyzδ]", match[0]):
        return None
    plain = re.sub(r"\d*[-+]?\d*[xyzδ]", "", match[0])
    if len(match[0]) < 3 or re.match(r"[A-Za-z]", text[match.end() :]):
        return None
    if _formula_of(plain) is None:
        return None
    symbols = tuple(dict.fromkeys(re.findall(r"[A-Z][a-z]?", plain)))
    return Item("variable", symbols, match[0], at, match.end())


@lru_cache(maxsize=1024)
def _formula_of(text: str) -> tuple[tuple[str, int], ...] | None:
    from crystal_diffusion.generation.request import parse_formula

    try:
        return tuple(parse_formula(text).items())
    except InputError:
        return None


_WORDS = re.compile(r"[A-Za-zµ0-9]+(?:'[a-z]+)?")


def _phrase(text: str, at: int, before: list[Item]) -> Item | None:
    """The longest phrase of the vocabulary from here, hyphens as blanks, plurals as singulars."""
    if not _starts_word(text, at):
        return None
    ends: list[tuple[str, int]] = []
    place, said = at, ""
    for _ in range(6):
        match = _WORDS.match(text, place)
        if match is None:
            break
        said = f"{said} {match[0].lower()}".strip()
        ends.append((said, match.end()))
        gap = re.compile(r"[\s_-]{1,2}").match(text, match.end())
        if gap is None:
            break
        place = gap.end()
    known = phrases()
    codes = words.type_codes()
    for said, end in reversed(ends):
        typed = re.compile(r"[\s-]*(?:type|structure|prototype|lattice)").match(text, end)
        if said in codes and typed is not None:
            return Item("type", codes[said], text[at:end], at, end)
        for form in _singulars(said):
            if form in known and known[form][1] != "":
                kind, value = known[form]
                if not _meant(text, said, kind, end):
                    continue
                typed = re.compile(r"[\s-]*(?:type|structured?|prototype)\b").match(text, end)
                if kind == "formula" and typed is not None:
                    return Item("unasked", _NO_TYPE, text[at:end], at, end)
                item = Item(kind, value, text[at:end], at, end)
                return _with_charge(text, item) if kind == "element" else item
    return None


#: More than one hundred: "and more" begins another bound.
_BOUND_BEHIND = re.compile(
    rf"\s*(?:(?:than|then|as)\b|(?:about\s+|the\s+)?(?:[\d.]|(?:{'|'.join(words.NUMBER_WORDS)})\b))",
    re.I,
)


def _meant(text: str, said: str, kind: str, end: int) -> bool:
    """Whether a phrase is what it looks like, by what follows.

    "And below" before a number begins a second bound; a compound's name is a structure type only
    before "structure" or "type".
    """
    if kind == "compare_after" and said.startswith(("and ", "or ")):
        return _BOUND_BEHIND.match(text, end) is None
    if kind == "neg" and said.split()[-1] == "no":
        bound = r"\s+(?:more|less|fewer|larger|smaller|greater|higher|lower|bigger|wider)\b"
        return re.match(bound, text[end:]) is None
    if kind == "compare" and said in words.BARE_COMPARATIVES:
        return re.match(r"\s*(?:than\s+)?[\d.]", text[end:]) is not None
    if kind == "type" and " " in said and said.split()[-1] in words.anions():
        return re.match(r"[\s-]*(?:type|structure|prototype|lattice)", text[end:]) is not None
    return True


def _with_charge(text: str, item: Item) -> Item:
    roman = _ROMAN.match(text, item.end)
    if roman is None:
        return item
    value = (item.value, _ROMAN_VALUES[roman[1]])
    return Item("element", value, text[item.start : roman.end()], item.start, roman.end())


def _singulars(said: str) -> list[str]:
    forms = [said]
    if said.endswith("ies"):
        forms.append(said[:-3] + "y")
    if said.endswith("es"):
        forms.append(said[:-2])
    if said.endswith("s"):
        forms.append(said[:-1])
    return forms


@lru_cache(maxsize=1)
def _spelled() -> tuple[str, ...]:
    kinds = (
        "element",
        "anion",
        "family",
        "formula",
        "system",
        "type",
        "arity",
        "loose",
        "property",
    )
    return tuple(name for name, (kind, _) in phrases().items() if kind in kinds and " " not in name)


def _misspelled(word: str, at: int) -> Item | None:
    """The one word of the vocabulary that a misspelled one is near to."""
    lower = word.lower()
    # Names of elements and compounds are capitalised at most at their first letter.
    if (
        lower in words.SPELLED_WELL
        or len(lower) < 4
        or not lower.isalpha()
        or word[1:] != lower[1:]
    ):
        return None
    best: dict[Any, tuple[int, str]] = {}
    for form in dict.fromkeys(_singulars(lower)):
        # Names of minerals end in "ite": sillenite is no selenite.
        bound = 1 if len(form) < 9 or form.endswith("ite") else 2
        for name in _spelled():
            if name[0] != form[0] or abs(len(name) - len(form)) > bound:
                continue
            if len(form) < 5 and (len(name) < 5 or phrases()[name][0] != "anion"):
                continue
            off = edits(form, name, bound)
            meaning = phrases()[name]
            if off <= bound and (meaning not in best or off < best[meaning][0]):
                best[meaning] = (off, name)
    if not best:
        return None
    if all(_another_ending(lower, name) for _, name in best.values()):
        names = " or ".join(name for _, name in list(best.values())[:3])
        return Item("doubtful", names, word, at, at + len(word))
    least = min(off for off, _ in best.values())
    near = [(meaning, name) for meaning, (off, name) in best.items() if off == least]
    undoubled = [pair for pair in near if _single(pair[1]) in map(_single, _singulars(lower))]
    near = undoubled if len(undoubled) == 1 else near  # thalium is no thulium
    end = at + len(word)
    if len(near) > 1:
        names = " or ".join(name for _, name in near[:3])
        return Item("doubtful", names, word, at, end)
    (kind, value), name = near[0]
    return Item(kind, value, word, at, end, name)


def _single(word: str) -> str:
    """A word with single letters for double ones."""
    return re.sub(r"(.)\1", r"\1", word)


#: Endings of chemical names, which are not changed for one another: carbonite is no carbonate.
_ENDINGS = re.compile(r"(?:ate|ite|ide|yl|ane|ene|ine|ase|ol|ated|ized|ised|ation|ic|ous)s?$")


def _another_ending(word: str, name: str) -> bool:
    """Whether a word differs from a chemical name in an ending that has a meaning."""
    own, others = _ENDINGS.search(word), _ENDINGS.search(name)
    if own is None:
        return False
    chemical = phrases()[name][0] in ("anion", "element", "oxy_family", "formula", "type")
    return chemical and (others is None or own[0].rstrip("s") != others[0].rstrip("s"))


def edits(a: str, b: str, bound: int) -> int:
    """Insertions, deletions, exchanges and swaps of neighbours between two words.

    The restricted distance of Damerau (1964); above ``bound`` any larger number may come.
    """
    previous: list[int] = []
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        before, previous = previous, row
        row = [i]
        for j, right in enumerate(b, start=1):
            cost = min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (left != right))
            if i > 1 and j > 1 and left == b[j - 2] and a[i - 2] == right:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > bound:
            return bound + 1
    return row[-1]
