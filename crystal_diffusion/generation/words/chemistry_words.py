"""Elements, families and formulas of a sentence: wanted, left out, or a choice."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import crystal_diffusion.generation.words.vocabulary as words
from crystal_diffusion import chemistry
from crystal_diffusion.generation.words.scanning import Item

#: What names elements.
_CHEMICAL = (
    *("element", "anion", "family", "formula", "variable", "oxy_family", "generic"),
    "role_formula",
)
#: Before "of" and a list these ask for one of it.
_ONE = ("one", "1", "any", "either", "at least one")
#: Numerals that names of anions begin with.
_NUMERAL = re.compile(r"(?:mono?|di|tri|tetra?|penta?|hexa?|sesqui)(?=[a-z]+ide)")
#: Nouns of small amounts, the element before them.
_DOPING_NOUNS = (
    *("dopant", "dopants", "doping", "codoping", "substitution", "incorporation", "alloying"),
    *("impurity", "impurities"),
)
#: Families that name no anion.
_CATIONS = frozenset(words.FAMILIES) - {"halide", "chalcogenide", "pnictide"}
#: Last element of which crystals are known.
_LAST_KNOWN = 99
#: Most atoms of one element that a ratio gives.
_MOST_OF_ONE = 60
#: Most elements where a sentence leaves them open.
_MOST = 5


@dataclass
class Chemistry:
    """What a sentence says of elements.

    Attributes:
        formula: the one formula.
        elements: symbols that every crystal holds, and
        anions: those of them that names of anions gave.
        one_of: sets of which every crystal holds one each.
        exclude: symbols that no crystal holds.
        arity: number of different elements, where it is named, and
        most: the largest one, for "ternary or quaternary".
        others: whether other elements than the named ones may be there.
        understood: words and meaning.
        ignored: words and reason.
        contradictory: what cannot be.
    """

    formula: str | None = None
    elements: list[str] = field(default_factory=list)
    anions: list[str] = field(default_factory=list)
    one_of: list[tuple[str, ...]] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    arity: int | None = None
    most: int | None = None
    others: bool = False
    understood: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    contradictory: list[str] = field(default_factory=list)

    @property
    def counted(self) -> bool:
        """Whether the number of elements is named."""
        return self.arity is not None

    def fields(self) -> dict[str, Any]:
        """Fields of the request."""
        found: dict[str, Any] = {}
        banned = set(self.exclude)
        one_of = [tuple(s for s in choice if s not in banned) for choice in self.one_of]
        if any(not choice for choice in one_of):
            self.contradictory.append("all elements of a family are left out")
            return {}
        unknown = sorted(s for s in self.elements if chemistry.NUMBERS[s] > _LAST_KNOWN)
        if unknown:
            self.contradictory.append(f"no crystal with {', '.join(unknown)} is known")
        clash = sorted(banned & set(self.elements))
        if clash:
            self.contradictory.append(f"{', '.join(clash)} both wanted and left out")
        if self.formula:
            found["formula"] = self.formula
        elif self.elements:
            found["elements"] = tuple(dict.fromkeys(self.elements))
        one_of = [c for c in one_of if not set(c) & (set(self.elements) - set(self.anions))]
        one_of = [tuple(s for s in c if s not in self.elements) for c in one_of]
        if one_of and not self.formula:
            found["one_of"] = tuple(one_of)
        if banned:
            found["exclude"] = tuple(dict.fromkeys(self.exclude))
        named = len(dict.fromkeys(self.elements)) + len(one_of)
        if self.arity is not None:
            most = self.most or self.arity
            found["num_elements"] = (self.arity, most)
            if named > most:
                self.contradictory.append(f"{named} elements named, {most} asked for")
        elif named and not self.formula and self.others:
            least = max(2, named)
            found["num_elements"] = (least, max(_MOST, least + 1))
        return found


class ChemistryReader:
    """Finds what is said of elements; the items that it is made of join ``taken``."""

    def __init__(self, items: Sequence[Item], taken: set[int]) -> None:
        self._named: list[tuple[str, str]] = []
        self.items, self.taken = items, taken
        self.found = Chemistry()
        self._cations = 0
        self._used: set[int] = set()

    def read(self) -> Chemistry:
        """Everything but what :meth:`counted` finds, which comes before all numbers."""
        self.likeness()
        self.doping()
        self.exclusions()
        self.arity()
        self.ratio()
        self.listed_in_brackets()
        self.formulas()
        self.choices()
        self.wanted()
        self.amounts()
        self.further()
        return self.found

    def _free(self, i: int) -> bool:
        return 0 <= i < len(self.items) and i not in self.taken

    def _kind(self, i: int) -> str:
        return self.items[i].kind if 0 <= i < len(self.items) else ""

    def _chemical(self, i: int) -> bool:
        return self._free(i) and self._kind(i) in _CHEMICAL

    def likeness(self) -> None:
        """As dense as osmium: no wish for osmium."""
        for i, item in enumerate(self.items):
            before = [it.text.lower() for it in self.items[max(0, i - 3) : i]]
            if self._chemical(i) and before[-1:] == ["as"] and before[:1] == ["as"]:
                self.taken.add(i)
                self.found.ignored.append((item.text, "likeness to a crystal cannot be asked for"))

    def doping(self) -> None:
        """Dopants cannot be asked for."""
        for i, item in enumerate(self.items):
            noun = item.text.lower() in _DOPING_NOUNS
            if not (item.kind == "doping" or noun) or not self._free(i):
                continue
            if self._intercalated(i):
                continue
            if item.kind != "doping" and self._kind(i - 1) != "element":
                continue
            self.taken.add(i)
            place, names = i + 1, [item.text]
            back = i - 1
            while self._kind(back) == "dash" or _is_charge(self.items[max(back, 0)]):
                back -= 1
            modifier = self._kind(back) in ("element", "formula", "anion") and self._free(back)
            before = modifier and not item.text.lower().endswith(("with", "by"))
            hosts = ("type", "unknown", "device")
            noun = noun and self._free(back) and not self._chemical(i + 1)
            if noun and self._kind(back) == "element":
                self.taken.add(back)
                names.insert(0, self.items[back].text)
                self.found.ignored.append((" ".join(names), "small amounts cannot be asked for"))
                continue
            if (before and (self._chemical(i + 1) or self._kind(i + 1) in hosts)) or (
                before and self._kind(back + 1) == "dash"
            ):
                names.insert(0, self.items[back].text)
                self.taken.add(back)
            elif not (item.text.lower().endswith("doped") and self._chemical(place)):
                # Co-doped zinc oxide is a zinc oxide.
                while self._chemical(place) or self._kind(place) in ("filler", "and"):
                    if len(names) > 1 and self.items[place].text.lower() in ("with", "in", "on"):
                        break
                    if self._chemical(place):
                        names.append(self.items[place].text)
                        self.taken.add(place)
                    place += 1
            self.found.ignored.append((" ".join(names), "small amounts cannot be asked for"))

    def _intercalated(self, i: int) -> bool:
        """Whether a guest is named that is no dopant: a fullerene intercalated with potassium.

        Beside a formula, which has no place for it, it is without effect.
        """
        formulas = any(self._kind(k) == "formula" for k in range(len(self.items)))
        return self.items[i].text.lower().startswith("intercalated") and not formulas

    def exclusions(self) -> None:
        """Lists behind a negation, and what "free" stands behind."""
        for i, item in enumerate(self.items):
            if item.kind == "neg" and self._free(i):
                listed = self._listed(i + 1) or self._listed(self._examples(i + 1))
                if not listed and self._kind(i + 1) in ("", "stop", "comma"):
                    listed = self._before_all(i)[-1:]  # lead not, tin yes
                if item.text.lower() in words.REPLACED:
                    listed = self._to_comma(listed)
                if listed and self._compound(listed[0]):
                    self._ignore_compound(listed[0], i)
                    continue
                if listed and self._amount(listed[0]):
                    # Titanium oxide, not the dioxide.
                    self.taken.update((i, listed[0]))
                    named = f"{item.text} {self.items[listed[0]].text}"
                    reason = "a compound cannot be left out, elements can"
                    self.found.ignored.append((named, reason))
                    continue
                self._exclude(listed, i)
            elif item.kind == "but" and self._free(i) and self._any_before(i):
                self._exclude(self._listed(i + 1), i)
            elif item.kind == "free" and self._free(i):
                self._exclude(self._before(i), i)
            elif item.kind == "neg_after" and self._free(i):
                follows = self._kind(i + 1) == "colon" and item.value != "behind"
                self._exclude(self._listed(i + 2) if follows else self._before_all(i), i)
            elif item.kind == "number" and item.value == 0 and self._kind(i + 1) == "element":
                self._exclude(self._listed(i + 1), i)  # zero cobalt

    def _to_comma(self, listed: Sequence[int]) -> list[int]:
        """The part of a list before its first comma."""
        kept = list(listed[:1])
        for place in listed[1:]:
            if any(self._kind(k) == "comma" for k in range(kept[-1], place)):
                break
            kept.append(place)
        return kept

    def _compound(self, i: int) -> bool:
        """Whether a compound of two words begins here: tungsten carbide."""
        return self._kind(i) == "element" and self._kind(i + 1) == "anion"

    def _amount(self, i: int) -> bool:
        return self._kind(i) == "anion" and bool(self.items[i].value[1])

    def _ignore_compound(self, first: int, sign: int) -> None:
        rows = (sign, first, first + 1)
        self.taken.update(rows)
        named = " ".join(self.items[row].text for row in rows)
        self.found.ignored.append((named, "a compound cannot be left out, elements can"))

    def _examples(self, place: int) -> int:
        """Where the list begins in "costly elements such as Pt"; the end if there is none."""
        for i in range(place, min(place + 8, len(self.items))):
            if self.items[i].text in ("(", "[") and self._chemical(i + 1):
                return i + 1
            if self._kind(i) in ("stop", "comma", "open", "close", *_CHEMICAL):
                break
            if self._kind(i) == "colon" and i > place and self._wishes(i + 1):
                break
            pair = " ".join(item.text.lower() for item in self.items[i : i + 2])
            if self._kind(i) in ("like", "colon") or pair.split(" ")[0] in ("namely", "especially"):
                return i + 1
            if pair in ("such as", "for example", "for instance"):
                return i + 2
        return len(self.items)

    def _wishes(self, i: int) -> bool:
        """Whether a crystal is named behind a colon: no toxic elements: a telluride."""
        named = self._kind(i) in ("anion", "oxy_family", "formula") or self._starts_compound(i, ())
        return named or any(item.text.lower() in _ONE_CRYSTAL for item in self.items[i : i + 1])

    def _listed(self, place: int) -> list[int]:
        """Items of a list from ``place`` on."""
        listed: list[int] = []
        while place < len(self.items):
            kind = self._kind(place)
            if self._chemical(place) and kind != "generic":
                if listed and self._starts_compound(place, listed):
                    break
                listed.append(place)
                place += 1
            elif kind == "neg" and listed and self.items[place].text.lower() in words.EXCEPTIONS:
                break
            elif kind == "dash" and not listed and self.items[place - 1].text.lower() == "non":
                place += 1
            elif kind in ("and", "or", "neg", "comma", "slash", "dash"):
                following = place + 1
                while self._kind(following) in ("and", "or", "neg", "comma", "filler"):
                    if self._kind(following) == "filler" and not self._small(following):
                        break
                    following += 1
                if not listed and kind != "neg":
                    break
                if not self._chemical(following):
                    break
                if kind == "comma" and self._starts_compound(following, listed):
                    break
                place = following
            elif (
                kind in ("filler", "unknown", "bracket", "compare", "loose", "count", "unasked")
                and not listed
                and self._small(place)
            ):
                place += 1
            else:
                break
        return listed

    def _small(self, i: int) -> bool:
        return self.items[i].text.lower() in (
            "a",
            "an",
            "any",
            "all",
            "the",
            "of",
            "element",
            "elements",
            "containing",
            "compounds",
            "toxic",
            "them",
            "these",
            "which",
            "is",
            "are",
            "other",
            "expensive",
            "use",
            "need",
            "want",
            "have",
            "include",
            "contain",
            "allow",
            "accept",
            "afford",
            "like",
            "be",
            "ones",
            "heavy",
            "light",
            "metals",
            "heavy metals",
            "cations",
            "anions",
        )

    def _starts_compound(self, i: int, listed: Sequence[int]) -> bool:
        """Whether a compound is named from here: an element and an anion side by side."""
        first, second = self.items[i], self._kind(i + 1)
        if first.kind in ("element", "family") and second in ("anion", "family", "oxy_family"):
            return True
        behind = bool(listed) and listed[-1] < i - 1 and self._kind(listed[-1]) == "element"
        if behind and first.kind == "anion" and second == "type":
            return True  # no lead, iodide perovskite
        if self._lone_anion(i, listed):
            return True
        place = i
        while self._kind(place) == "element" and listed and listed[-1] < i - 1:
            place += 1
        if place > i + 1 and self._kind(place) in ("anion", "oxy_family"):
            return True  # zero lead, cesium tin iodide
        if first.kind == "formula" and len(_atoms(first)) > 1:
            return True
        if first.kind == "anion" and self._kind(i + 2) == "element":
            joint = self.items[i + 1].text.lower()
            if joint in ("of", "with", "containing") and listed:
                return True  # skip hydrides, nitrides of calcium
        beside = bool(listed) and listed[-1] == i - 1
        anion = first.kind == "anion" or first.value in ("halide", "chalcogenide", "pnictide")
        return beside and anion and self._kind(i - 1) == "element"

    def _lone_anion(self, i: int, listed: Sequence[int]) -> bool:
        """Whether an anion ends a list of elements and nothing else is wished: no Pb, sulfides."""
        ends = self._kind(i) in ("anion", "oxy_family") and self._kind(i - 1) == "comma"
        elements = bool(listed) and all(self._kind(k) in ("element", "family") for k in listed)
        others = [k for k in range(len(self.items)) if k != i and k not in listed]
        wished = [
            k
            for k in others
            if self._kind(k) in (*_CHEMICAL, "type") and self.items[k].value not in _CATIONS
        ]
        return ends and elements and not wished

    def _before(self, i: int) -> list[int]:
        """The list that ends before "free"."""
        place = i - 1
        while self._kind(place) == "dash":
            place -= 1
        listed: list[int] = []
        while self._chemical(place):
            listed.append(place)
            joint = place - 1
            if self._kind(joint) == "dash" and self._kind(joint - 1) in ("and", "or", "comma"):
                joint -= 1
            hung = joint - 1
            while self._kind(joint) in ("and", "or", "comma") and self._kind(hung) == "dash":
                hung -= 1  # Co-, Ni- and Mn-free
            held = hung < joint - 1
            joints = ("and", "or", "slash", "comma") if held else ("and", "or", "slash")
            if self._kind(joint) not in joints or not self._chemical(hung):
                break
            place = hung
        return listed[::-1]

    def _is(self, i: int) -> bool:
        return self._kind(i) == "compare" and self.items[i].text.lower() == "is"

    def _before_all(self, i: int) -> list[int]:
        """The list that ends before "must be avoided"."""
        place = i - 1
        while self._kind(place) in ("filler", "dash") or self._is(place):
            place -= 1
        listed: list[int] = []
        kind = self._kind(place)
        near, joined, parted = 0, False, False
        while self._chemical(place) and self._kind(place) == kind:
            listed.append(place)
            place -= 1
            while self._kind(place) in ("and", "or", "slash", "comma"):
                joined |= self._kind(place) != "comma" and not near
                parted |= self._kind(place) != "comma" and near > 0
                place -= 1
            near = near or (len(listed) if self._kind(listed[-1] - 1) == "comma" else 0)
            if place == listed[-1] - 1:
                break
        # "Sulfides, mercury must be avoided": behind a comma another wish ends, unless "and" or
        # "or" ends the list, or it begins the sentence; and kinds of crystals are not listed with
        # elements.
        # "Of Sn and Zn, In and Ga must be zero": two lists.
        whole = (joined and not parted) or self._kind(place) in ("", "stop")
        return (listed if whole else listed[: near or None])[::-1]

    def _exclude(self, listed: Sequence[int], sign: int) -> None:
        if not listed:
            return
        symbols: list[str] = []
        for i in listed:
            symbols += self._excluded(self.items[i])
            self.taken.add(i)
        between = range(sign, max(listed))  # no Cd, no As
        self.taken.update(k for k in between if self._kind(k) == "neg")
        self.taken.add(sign)
        spared = self._spared(max(listed) + 1, symbols) if sign < max(listed) else set()
        symbols = [symbol for symbol in symbols if symbol not in spared]
        if not symbols:
            return
        names = " ".join(self.items[i].text for i in sorted({*listed, sign}))
        self.found.exclude += symbols
        shown = ", ".join(dict.fromkeys(symbols))
        self.found.understood.append((names, f"without {shown}"))

    def _spared(self, place: int, symbols: Sequence[str]) -> set[str]:
        """The elements of an exception: no rare earths other than Y."""
        if self._kind(place) == "filler":
            place += 1
        if self._kind(place) not in ("neg", "but"):
            return set()
        if self.items[place].text.lower() not in (*words.EXCEPTIONS, "but"):
            return set()
        listed = self._listed(place + 1)
        spared = {symbol for i in listed for symbol in _content(self.items[i])}
        if not spared <= set(symbols):
            return set()  # not the sulfide but the selenide
        self.taken.update([place, *listed] if listed else [])
        return spared

    def _any_before(self, i: int) -> bool:
        """Whether "but" ends "any element" or the like: any element but lead."""
        before = [item.text.lower() for item in self.items[max(0, i - 3) : i]]
        return bool({"any", "every", "all"} & set(before[:-1])) and self._chemical(i + 1)

    def _excluded(self, item: Item) -> list[str]:
        if item.kind == "element":
            return [_symbol(item)]
        if item.kind == "family":
            return list(words.FAMILIES[item.value])
        if item.kind == "anion":
            symbols = list(item.value[0])
            # Without titanates: oxides are not meant.
            return [s for s in symbols if s != "O" or len(symbols) == 1] or symbols
        if item.kind == "formula":
            symbols = list(_atoms(item))
            if len(symbols) == 1:
                return symbols
        self.found.ignored.append((item.text, "a compound cannot be left out, elements can"))
        return []

    def arity(self) -> None:
        """Binary, ternary and so on; at most quaternary, ternary or higher."""
        named = []
        for i, item in enumerate(self.items):
            if item.kind == "arity" and self._free(i):
                self.taken.add(i)
                if self._bounded_arity(i):
                    continue
                named.append(int(item.value))
                self.found.understood.append((item.text, f"{item.value} elements"))
        either = any(item.kind == "or" for item in self.items) and len(named) == 2
        if either and abs(named[0] - named[1]) == 1:
            self.found.arity, self.found.most = min(named), max(named)
            return
        if len(set(named)) > 1:
            self.found.contradictory.append(f"{' and '.join(map(str, named))} elements")
        if named:
            self.found.arity = named[0]

    def _bounded_arity(self, i: int) -> bool:
        """Whether a bound stands at a number of elements, which it then limits."""
        count = int(self.items[i].value)
        sign, place = self._sign(i - 1), i - 1
        if not sign and self._kind(i + 1) == "compare_after":
            sign, place = str(self.items[i + 1].value), i + 1
        if not sign or self._kind(place + 1) == "number":
            return False
        self.taken.add(place)
        least = {">": count + 1, ">=": count}.get(sign, 1)
        most = {"<": count - 1, "<=": count}.get(sign, max(_MOST, least + 1))
        self.found.arity, self.found.most = least, most
        first, last = sorted((place, i))
        words_ = f"{self.items[first].text} {self.items[last].text}"
        self.found.understood.append((words_, f"{least} to {most} elements"))
        return True

    def _sign(self, i: int) -> str:
        if self._kind(i) != "compare" or not self._free(i):
            return ""
        sign = str(self.items[i].value)
        return sign if sign in (">", ">=", "<", "<=") else ""

    def ratio(self) -> None:
        """A formula as elements and their ratio: Ti and O in a 1:2 ratio."""
        ratios = [i for i, item in enumerate(self.items) if item.kind == "ratio" and self._free(i)]
        named = [i for i in range(len(self.items)) if self._chemical(i)]
        if len(ratios) != 1 or len(self.items[ratios[0]].value) != len(named):
            return
        symbols = [_content(self.items[i]) for i in named]
        counts = self.items[ratios[0]].value
        if (
            any(len(part) != 1 for part in symbols)
            or not 0 < min(counts) <= max(counts) <= _MOST_OF_ONE
        ):
            return
        if len({part[0] for part in symbols}) != len(symbols):
            return
        both = math.gcd(*counts)
        formula = {part[0]: n // both for part, n in zip(symbols, counts, strict=True)}
        self.taken.update([*named, ratios[0]])
        text = " ".join(self.items[i].text for i in sorted([*named, ratios[0]]))
        self._named.append((text, _written(formula)))

    def further(self) -> None:
        """One more element, besides those named."""
        for i, item in enumerate(self.items):
            if item.kind != "further" or not self._free(i):
                continue
            named = len(dict.fromkeys(self.found.elements)) + len(self.found.one_of)
            if self.found.formula is not None or self.found.arity is not None or not named:
                continue
            self.taken.add(i)
            self.found.arity = named + int(item.value)
            self.found.understood.append((item.text, f"{self.found.arity} elements"))

    def formulas(self) -> None:
        """The formula, written or named."""
        named = list(self._named)
        for i, item in enumerate(self.items):
            if item.kind != "formula" or not self._free(i):
                continue
            atoms = _atoms(item)
            if len(atoms) == 1 and (sum(self._chemical(j) for j in range(len(self.items))) > 1):
                continue
            self.taken.add(i)
            if item.text in words.MOLECULES and self._others_than(atoms, i):
                reason = "what a crystal is for cannot be asked for"
                self.found.ignored.append((item.text, reason))
                continue
            named.append((item.text, str(item.value)))
        whole = self._named_compound()
        if whole is not None and not named:
            named.append(whole)
        kinds = {_reduced(formula): (text, formula) for text, formula in named}
        if len(kinds) > 1:
            texts = " and ".join(text for text, _ in kinds.values())
            self.found.contradictory.append(f"{texts}: one formula at a time")
        for text, formula in list(kinds.values())[:1]:
            self.found.formula = formula
            self.found.understood.append((text, f"formula {formula}"))

    def _others_than(self, atoms: dict[str, int], i: int) -> bool:
        """Whether other elements than those of a molecule are named besides."""
        besides = [k for k in range(len(self.items)) if k != i and self._chemical(k)]
        return any(set(_content(self.items[k])) - set(atoms) for k in besides)

    def counted(self) -> None:
        """A formula in words: two atoms of iron and three of oxygen; one Ti, two O."""
        counts: dict[str, int] = {}
        used: list[int] = []
        for i, item in enumerate(self.items):
            if item.kind != "element" or not self._free(i):
                continue
            place = i - 1
            while place >= 0 and (self.items[place].text.lower() in ("of", "atoms", "atom", "x")):
                place -= 1
            number = self.items[place] if place >= 0 else item
            if number.kind != "number" or number.value != int(number.value) or number.value < 1:
                return
            if number.value > _MOST_OF_ONE:
                return
            counts[_symbol(item)] = int(number.value)
            used += range(place, i + 1)
        if len(counts) < 2:
            return
        self.taken.update(used)
        self._named.append((" ".join(self.items[i].text for i in used), _written(counts)))

    def _named_compound(self) -> tuple[str, str] | None:
        """A compound whose name gives its formula: titanium dioxide, disulfide of cobalt."""
        chemical = [i for i in range(len(self.items)) if self._chemical(i)]
        if len(chemical) != 2:
            return None
        first, second = chemical
        between = [self.items[i].text.lower() for i in range(first + 1, second)]
        if self._kind(first) == "anion" and between[:1] == ["of"] and set(between) <= _ARTICLES:
            first, second = second, first
        elif between:
            return None
        metal, anion = self.items[first], self.items[second]
        if metal.kind != "element" or anion.kind != "anion" or len(anion.value[0]) != 1:
            return None
        counts = _amounts(metal, anion)
        if counts is None:
            return None
        self.taken.update(chemical)
        return f"{metal.text} {anion.text}", _written(counts)

    def choices(self) -> None:
        """Lists joined by "or", or behind "one of": one of them in each crystal."""
        for i, item in enumerate(self.items):
            if item.text.lower() not in _ONE or not self._free(i):
                continue
            if self._kind(i + 1) != "compare" or self.items[i + 1].text.lower() != "of":
                continue
            listed = self._listed(i + 2)
            if len(listed) > 1:
                self.taken.update(range(i, listed[0]))
                if self._kind(i - 1) == "compare":
                    self.taken.add(i - 1)
                self._choose(listed, i)
        for i, item in enumerate(self.items):
            if not (item.kind in ("or", "slash") or self._plurals(i)) or not self._free(i):
                continue
            left, right = i - 1, i + 1
            while self._kind(left) in ("comma", "filler", "open", "dash"):
                left -= 1
            while self._kind(right) in ("filler",):
                right += 1
            if not (self._chemical(left) and self._chemical(right)):
                continue
            if item.kind == "or" and self._joined(left, right):
                continue
            members = [left]
            while (
                item.kind != "slash"
                and self._kind(members[0] - 1) == "comma"
                and self._chemical(members[0] - 2)
            ):
                members.insert(0, members[0] - 2)
            members.append(right)
            self._choose(members, i)

    def _joined(self, left: int, right: int) -> bool:
        """Systems written with dashes, one of which is wanted: Mn-Bi or Mn-Al."""
        first, second = [left], [right]
        while self._kind(first[0] - 1) == "dash" and self._kind(first[0] - 2) == "element":
            first.insert(0, first[0] - 2)
        while self._kind(second[-1] + 1) == "dash" and self._kind(second[-1] + 2) == "element":
            second.append(second[-1] + 2)
        if len(first) < 2 or len(second) < 2:
            return False
        sets = [[_symbol(self.items[k]) for k in part] for part in (first, second)]
        common = [symbol for symbol in sets[0] if symbol in sets[1]]
        rest = [[symbol for symbol in part if symbol not in common] for part in sets]
        self.taken.update(range(first[0], second[-1] + 1))
        text = " ".join(self.items[k].text for k in range(first[0], second[-1] + 1))
        if any(len(part) != 1 for part in rest):
            reason = "one of these cannot be asked for; choose one"
            self.found.ignored.append((text, reason))
            return True
        self.found.elements += common
        self.found.one_of.append((rest[0][0], rest[1][0]))
        self._cations += 1
        self.found.understood.append(
            (text, f"{', '.join(common)}, one of {rest[0][0]}, {rest[1][0]}")
        )
        return True

    def _plurals(self, i: int) -> bool:
        """Whether "and" joins two kinds of crystals: chlorides and bromides of thallium."""
        return self.items[i].kind == "and" and all(
            self._kind(j) == "anion"
            and self.items[j].text.lower().endswith("s")
            and len(self.items[j].value[0]) == 1
            for j in (i - 1, i + 1)
        )

    def _choose(self, members: Sequence[int], sign: int) -> None:
        members = self._narrowed(members)
        sets = [_content(self.items[m]) for m in members]
        common = set.intersection(*[set(s) for s in sets])
        rest = [[s for s in symbols if s not in common] for symbols in sets]
        text = " ".join(self.items[m].text for m in members)
        self.taken.update([*members, sign])
        self._used.update(members)
        families = [self.items[m].kind == "family" for m in members]
        single = all(len(symbols) == 1 for symbols in rest)
        if not (single or all(families)):
            self.found.ignored.append((text, "one of these cannot be asked for; choose one"))
            return
        symbols = tuple(dict.fromkeys(s for part in rest for s in part))
        self.found.elements += sorted(common)
        self.found.one_of.append(symbols)
        if all(self.items[m].kind in ("element",) for m in members):
            self._cations += 1
        self.found.understood.append((text, f"one of {', '.join(symbols)}"))

    def _narrowed(self, members: Sequence[int]) -> list[int]:
        """The members without a family that the others are of: a chalcogenide, S or Se."""
        first, rest = members[0], members[1:]
        family = self.items[first]
        inside = {symbol for m in rest for symbol in _content(self.items[m])}
        if family.kind != "family" or len(rest) < 2:
            return list(members)
        if not inside <= set(words.FAMILIES[family.value]):
            return list(members)
        self.taken.add(first)
        return list(rest)

    def listed_in_brackets(self) -> None:
        """A family narrowed by a list behind it: alkali metals (Na, K)."""
        for i, item in enumerate(self.items):
            if item.kind != "family" or not self._free(i):
                continue
            place = i + 1
            while self._kind(place) == "filler":
                place += 1
            if self._kind(place) not in ("bracket", "colon"):
                continue
            listed: list[int] = []
            place += 1
            if self._spans(place, item):
                self.taken.update((place, place + 1, place + 2))
                continue
            while self._chemical(place) or self._kind(place) in ("comma", "or", "and", "slash"):
                listed += [place] if self._chemical(place) else []
                place += 1
            symbols = [s for k in listed for s in _content(self.items[k])]
            if len(listed) > 1 and set(symbols) <= set(words.FAMILIES[item.value]):
                self._cations += item.value not in ("halide", "chalcogenide", "pnictide")
                self.taken.update(range(i, place))
                self.found.one_of.append(tuple(dict.fromkeys(symbols)))
                text = " ".join(self.items[k].text for k in (i, *listed))
                self.found.understood.append((text, f"one of {', '.join(symbols)}"))

    def _spans(self, i: int, family: Item) -> bool:
        """Whether the first and last of a family stand here: rare earths (La-Lu)."""
        ends = [k for k in (i, i + 2) if self._kind(k) == "element" and self._free(k)]
        return (
            len(ends) == 2
            and self._kind(i + 1) in ("dash", "to", "range")
            and {_symbol(self.items[k]) for k in ends} <= set(words.FAMILIES[family.value])
        )

    def wanted(self) -> None:
        """Everything named that is neither left out nor a choice."""
        texts: list[str] = []
        for i, item in enumerate(self.items):
            if not self._chemical(i):
                continue
            if item.kind == "generic":
                self.found.elements += list(item.value)
                if item.value:
                    texts.append(item.text)
                    self.taken.add(i)
                continue
            self.taken.add(i)
            self._used.add(i)
            self._want(item)
            texts.append(item.text)
            if item.kind == "variable":
                self.found.ignored.append(
                    (item.text, "its amounts; only its elements are asked for")
                )
        self._formula_holds(texts)
        self._open_or_closed()
        if self.found.formula is None and (self.found.elements or self.found.one_of):
            parts = list(dict.fromkeys(self.found.elements))
            parts += [f"one of {'/'.join(choice)}" for choice in self.found.one_of]
            more = " and others" if self.found.others else ""
            if not more and self.found.arity is None and len(parts) > 1:
                more = " and nothing else"
            self.found.understood.append((" ".join(texts) or "elements", ", ".join(parts) + more))

    def amounts(self) -> None:
        """Say that numerals in names are of no effect where they gave no formula."""
        if self.found.formula is not None:
            return
        for item in self.items:
            name = item.text.lower()
            if any(name in said.lower() for said, _ in self.found.ignored):
                continue
            counted = item.kind in ("anion", "family") and _NUMERAL.match(name)
            if counted or name in words.COUNTED_ELEMENTS:
                self.found.ignored.append(
                    (item.text, "its amounts; only its elements are asked for")
                )

    def _want(self, item: Item) -> None:
        if item.kind == "role_formula":
            family, symbols = item.value
            self.found.one_of.append(words.FAMILIES[family])
            self.found.elements += symbols
            self.found.arity = self.found.arity or 1 + len(set(symbols))
            self.found.ignored.append((item.text, "its amounts; only its elements are asked for"))
            return
        if item.kind == "family":
            self.found.one_of.append(words.FAMILIES[item.value])
            self._cations += item.value not in ("halide", "chalcogenide", "pnictide")
            return
        if item.kind == "oxy_family":
            symbols, family = item.value
            self.found.elements += list(symbols)
            self.found.one_of.append(words.FAMILIES[family])
            return
        symbols = _content(item)
        self._cations += item.kind != "anion"
        self.found.elements += symbols
        if item.kind == "anion":
            self.found.anions += symbols

    def _formula_holds(self, texts: Sequence[str]) -> None:
        """Elements beside a formula must be in it."""
        if self.found.formula is None:
            return
        from crystal_diffusion.generation.request import parse_formula

        inside = set(parse_formula(self.found.formula))
        if self.found.arity is not None:
            least, most = self.found.arity, self.found.most or self.found.arity
            if not least <= len(inside) <= most:
                self.found.contradictory.append(
                    f"{least if least == most else f'{least} to {most}'} elements asked for beside "
                    f"{self.found.formula}, which has {len(inside)}"
                )
        odd = sorted(set(self.found.elements) - inside)
        if odd:
            self.found.contradictory.append(
                f"{', '.join(odd)} asked for beside {self.found.formula}, which has none"
            )
        if set(self.found.exclude) & inside:
            both = ", ".join(sorted(set(self.found.exclude) & inside))
            self.found.contradictory.append(f"{self.found.formula} without {both}")
        self.found.elements = []
        self.found.one_of = []

    def _open_or_closed(self) -> None:
        """Whether other elements than the named ones may be there."""
        kinds = {item.kind for item in self.items}
        compound = any(item.text.lower() in ("compound", "compounds") for item in self.items)
        named = len(set(self.found.elements)) + len(self.found.one_of)
        lone = named == 1 and (compound or not self._cations)
        openers = any(self._opens(i, named) for i in range(len(self.items)))
        openers |= self._with() or self._has()
        if "close" in kinds:
            self.found.others = False
        else:
            # ABO3 with A = Ba: B is left open.
            letters = any(item.kind == "generic" for item in self.items)
            # Thulum oxide: which metal is asked back, and no other one is welcome.
            beside = any(
                item.kind == "doubtful" and self._kind(i + 1) == "anion"
                for i, item in enumerate(self.items)
            )
            lone &= not beside
            self.found.others = openers or lone or letters or not (self._cations or beside)

    def _opens(self, i: int, named: int) -> bool:
        """Whether a word leaves other elements open: containing Li, Li-based, among others."""
        item = self.items[i]
        text = item.text.lower()
        if item.kind == "doping":
            back = i - 2 if self._kind(i - 1) == "dash" else i - 1
            guest = {"intercalated with": i + 1, "intercalated": back}.get(text, -1)
            return guest in self._used  # other elements are those of the host
        if item.kind != "open":
            return False
        if text.startswith("rich") and named > 1:
            return False
        if text in words.OPEN_BEFORE:
            place = i + 1
            while self._kind(place) in ("filler", "number", "colon", "unknown", "dash"):
                place += 1
            # Aluminium containing, and aluminium-containing.
            back = i - 2 if self._kind(i - 1) == "dash" else i - 1
            ends = self._kind(i + 1) in ("", "stop", "comma", "and", "unknown", "device")
            behind = ends and text == "containing" and self._kind(back) in ("element", "family")
            return place in self._used or (behind and back in self._used)
        return True

    def _with(self) -> bool:
        """Whether elements are named behind a kind of crystals and "with": oxides with rhenium."""
        for i, item in enumerate(self.items):
            if item.text.lower() not in ("with", "having"):
                continue
            before = [self._kind(k) for k in range(i) if k in self._used]
            place = i + 1
            while self._kind(place) in ("filler", "number"):
                place += 1
            if place in self._used and before and self._welcomes(i, before):
                return True
            if place in self._used and not before and self._class_before(i):
                return True  # a solid electrolyte with lithium and sulfur
        return False

    def _class_before(self, i: int) -> bool:
        """Whether a noun of a class or use and no compound is the head of "with".

        "Zintl phase with", "scintillator, dense, with"; not "a compound with", "cubic, with".
        """
        head = i - 1
        if self._kind(head) == "comma":
            head = 0
            while self._kind(head) == "filler" and head < i:
                head += 1
        return self._class(head)

    def _class(self, i: int) -> bool:
        """Whether a class of materials or a use of them is named: magnet, glass former."""
        if not 0 <= i < len(self.items):
            return False
        text, kind = self.items[i].text.lower(), self._kind(i)
        if kind in ("unknown", "device", "process", "unasked"):
            # "Strucutre with Be and O" is misspelled.
            return not text.startswith(("stru", "cry", "com", "alloy", "togeth"))
        if kind == "loose":
            return text.rstrip("s").endswith(("magnet", "conductor", "insulator", "metal"))
        if text in ("phase", "phases"):
            return self._class(i - 1)
        return text in ("material", "materials")

    def _has(self) -> bool:
        """Whether elements are what something has: it is trigonal and has Te and Bi."""
        for i, item in enumerate(self.items):
            text, before = item.text.lower(), self.items[i - 1].text.lower() if i else ""
            if text != "has" and not (text == "have" and before in _MUST):
                continue
            place = i + 1
            while self._kind(place) in ("filler", "number"):
                place += 1
            if place in self._used and not any(k in self._used for k in range(i)):
                return True
        return False

    def _welcomes(self, i: int, before: Sequence[str]) -> bool:
        """Whether "with" stands behind a kind of crystals, or behind a compound of its own.

        "Germanium with tellurium" and "in combination with" tell a list of elements.
        """
        last = self.items[i - 1]
        if set(before) <= {"anion", "family", "oxy_family"}:
            return True
        if self._class(i - 1):
            return last.text.lower() not in ("combination", "combined", "together", "alloyed")
        return last.kind in ("anion", "oxy_family") and i - 1 in self._used


#: Before "have" these make it a wish, and no possession: it should have Te.
_MUST = ("must", "should", "shall", "may", "can", "to")
#: Behind a colon these begin the wish.
_ONE_CRYSTAL = ("a", "an", "only", "just", "i", "give", "make", "find")
#: What may stand between an anion and its metal: disulfide of cobalt.
_ARTICLES = frozenset(("of", "the"))


def _amounts(metal: Item, anion: Item) -> dict[str, int] | None:
    """What a name of two words says of amounts: diboron trioxide, iron(III) fluoride."""
    symbol, other, number = _symbol(metal), anion.value[0][0], anion.value[1]
    several = words.COUNTED_ELEMENTS.get(metal.text.lower(), (symbol, 1))[1]
    if isinstance(metal.value, tuple) and other in words.ANION_CHARGES:
        charge, minus = metal.value[1], -words.ANION_CHARGES[other]
        both = math.gcd(charge, minus)
        return {symbol: minus // both, other: charge // both}
    if anion.text.lower().startswith("sesqui"):
        return {symbol: 2, other: 3}
    if several > 1:
        return {symbol: several, other: number} if number else None
    if (number == 5 and other == "O") or (number == 3 and symbol in ("Sb", "As", "Bi")):
        return {symbol: 2, other: number}
    return {symbol: 1, other: number} if number else None


def _is_charge(item: Item) -> bool:
    """Whether an item is the charge of the element before it: Ce3+."""
    return item.kind == "unasked" and item.text.endswith(("+", "-"))


def _symbol(item: Item) -> str:
    return str(item.value[0] if isinstance(item.value, tuple) else item.value)


def _atoms(item: Item) -> dict[str, int]:
    from crystal_diffusion.generation.request import parse_formula

    return parse_formula(str(item.value))


def _content(item: Item) -> list[str]:
    """The elements that one item names."""
    if item.kind == "element":
        return [_symbol(item)]
    if item.kind == "anion":
        return list(item.value[0])
    if item.kind == "family":
        return list(words.FAMILIES[item.value])
    if item.kind == "formula":
        return list(_atoms(item))
    if item.kind == "oxy_family":
        return list(item.value[0])
    if item.kind == "role_formula":
        return list(item.value[1])
    return [str(symbol) for symbol in item.value]


def _written(counts: dict[str, int]) -> str:
    return "".join(f"{symbol}{n if n > 1 else ''}" for symbol, n in counts.items())


def _reduced(formula: str) -> tuple[tuple[str, int], ...]:
    from crystal_diffusion.generation.request import parse_formula

    counts = parse_formula(formula)
    both = reduce(math.gcd, counts.values())
    return tuple(sorted((symbol, n // both) for symbol, n in counts.items()))
