"""Field F1, exact requests and false acceptances of requests in words.

    python benchmarks/prompts.py [--split NAME|all] [--show]

The prompts (benchmarks/prompts.jsonl) were written before the grammar, each with the request that
it stands for; the test half was looked at once, at the end. The parts "second", "third" and
"fourth" were written later by one who had not seen the grammar, each before the one before was
looked at. A field counts as right where its value
is the expected one. A false acceptance is a prompt whose request has a field that was not asked
for, or has another value than was asked for, or that makes a request where none should be made.
The parts "fifth" and "sixth" were written by one who knew the grammar, before it was run on them;
the sixth was kept aside until the grammar was done, the seventh was written afterwards, to find
more kinds, and mended upon. Their prompts also name words ("unread") that
no request can hold: where such a word is not said as without effect, the prompt is a false
acceptance too. The eighth was written by a stranger to the program, who was told of the fields and
of what they mean, and it was looked at once before the grammar was mended on it; the ninth and
the tenth by two others, likewise; the eleventh by one more, and nothing was mended on it. Types may
have the strangers' names (laves_c14).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from crystal_diffusion.discovery.benchmark import wilson
from crystal_diffusion.errors import CrystalDiffusionError, RequestError
from crystal_diffusion.generation.request import parse_formula
from crystal_diffusion.generation.words import TextReading, read_text
from crystal_diffusion.generation.words.vocabulary import FAMILIES
from crystal_diffusion.symmetry.structure_types import types_named

SPLITS = (
    *("development", "test", "second", "third", "fourth", "fifth", "sixth", "seventh"),
    *("eighth", "ninth", "tenth", "eleventh"),
)
PROMPTS = Path(__file__).parent / "prompts.jsonl"


def fields(asked: dict[str, Any]) -> dict[str, Any]:
    """Fields of a request in a form that can be compared."""
    found: dict[str, Any] = {}
    for name, value in asked.items():
        if name == "formula":
            counts = parse_formula(str(value))
            divisor = math.gcd(*counts.values())
            found[name] = tuple(sorted((s, n // divisor) for s, n in counts.items()))
        elif name == "elements" or name == "exclude":
            found |= {f"{name} {symbol}": True for symbol in value}
        elif name == "one_of":
            found |= {f"one_of {' '.join(sorted(choice))}": True for choice in value}
        elif name == "properties":
            found |= {f"property {key}": tuple(pair) for key, pair in value.items()}
        elif name in ("num_atoms", "z", "num_elements"):
            found[name] = tuple(value)
        elif name == "structure_type":
            found[name] = type_name(str(value))
        else:
            found[name] = str(value)
    return found


def type_name(name: str) -> str:
    """The program's name of a structure type; names that it does not know stay as they are."""
    try:
        return types_named(name)[0].name
    except RequestError:
        return name


def expected_fields(wanted: dict[str, Any]) -> dict[str, Any]:
    """Expected values, families written out."""
    plain = {k: v for k, v in wanted.items() if k not in ("others", "refused", "unread")}
    if "one_of" in plain:
        plain["one_of"] = [FAMILIES.get(name, tuple(name.split("/"))) for name in plain["one_of"]]
    if "exclude" in plain:
        plain["exclude"] = [
            symbol
            for name in plain["exclude"]
            for symbol in (FAMILIES[name[1:]] if name.startswith("@") else (name,))
        ]
        plain["one_of"] = [
            [symbol for symbol in choice if symbol not in plain["exclude"]]
            for choice in plain.get("one_of", ())
        ]
    if "one_of" in plain and "elements" in plain:
        # A metalloid telluride: a metalloid besides tellurium.
        plain["one_of"] = [
            [symbol for symbol in choice if symbol not in plain["elements"]]
            for choice in plain["one_of"]
        ]
    return fields(plain)


def agrees(name: str, got: Any, wanted: Any) -> bool:
    """Whether a value is the expected one; open ends and rounding allowed for."""
    if name.startswith("property "):
        if name.endswith(("band_gap", "energy_above_hull")):
            # Neither is below zero, so an open lower end is 0.
            got, wanted = (got[0] or 0.0, got[1]), (wanted[0] or 0.0, wanted[1])
        return all(
            (a is None) == (b is None) and (a is None or math.isclose(a, b, rel_tol=0.02))
            for a, b in zip(got, wanted, strict=True)
        )
    if name in ("num_atoms", "num_elements", "z"):
        low, high = wanted
        return (got[0] == (low or 1)) and (high is None or got[1] == high)
    return bool(got == wanted)


def unsaid(prompt: dict[str, Any], reading: TextReading) -> list[str]:
    """Words of no effect of which the reading says nothing."""
    said = " | ".join(plain(left.words) for left in reading.ignored)
    return [f"unsaid {word}" for word in prompt.get("unread", ()) if plain(word) not in said]


def plain(words: str) -> str:
    """Letters and digits in lower case."""
    return "".join(letter for letter in words.lower() if letter.isalnum())


def judge(prompt: dict[str, Any]) -> dict[str, Any]:
    """What was asked, what was expected, and how the two differ."""
    reading = read_text(prompt["prompt"])
    refused = bool(reading.contradictory)
    wanted = expected_fields(prompt["expected"])
    asked = dict(reading.asked)
    if reading.asked.get("spacegroup") == wanted.get("spacegroup") is not None:
        # The group tells the system; whether it is named as well makes no difference.
        wanted.pop("crystal_system", None)
        asked.pop("crystal_system", None)
    if "cell" not in wanted and str(asked.get("cell")) in prompt["prompt"].lower():
        # Prompts of strangers name no choice of cell in what they expect.
        asked.pop("cell")
    counted = "num_elements" in prompt["expected"]
    if not counted:
        asked.pop("num_elements", None)
    got = fields(asked)
    try:
        if reading.asked:
            reading.request.check_possible()
    except CrystalDiffusionError as problem:
        return {"prompt": prompt["prompt"], "error": str(problem), "wrong": [], "missed": []}
    if prompt.get("refused"):
        return {
            "prompt": prompt["prompt"],
            "right": 0,
            "got": 0 if refused else len(got),
            "wanted": 0,
            "exact": refused or not got,
            "false": not refused and bool(got),
            "wrong": [] if refused else [f"{k}={v}" for k, v in got.items()],
            "missed": [],
        }
    right = [name for name in got if name in wanted and agrees(name, got[name], wanted[name])]
    wrong = [f"{name}={got[name]}" for name in got if name not in right]
    missed = [f"{name}={wanted[name]}" for name in wanted if name not in right]
    silent = unsaid(prompt, reading) if reading.asked else []
    named = len(prompt["expected"].get("elements", ())) + len(prompt["expected"].get("one_of", ()))
    openness = True
    if named > 1 and not counted and "structure_type" not in wanted and "formula" not in wanted:
        is_open = reading.asked.get("num_elements") is not None
        openness = is_open == bool(prompt["expected"].get("others"))
    return {
        "prompt": prompt["prompt"],
        "right": len(right),
        "got": len(got),
        "wanted": len(wanted),
        "exact": not wrong and not missed and openness and not refused and not silent,
        "false": bool(wrong) or not openness or bool(silent),
        "wrong": [*wrong, *([] if openness else ["open or closed"]), *silent],
        "missed": missed if not refused else [*missed, *reading.contradictory],
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", default="all", help=f"{', '.join(SPLITS)}, or of your own file")
    parser.add_argument("--prompts", type=Path, default=PROMPTS, help="a file of your own")
    parser.add_argument("--show", action="store_true", help="prompts that are not exact")
    args = parser.parse_args()
    prompts = [json.loads(line) for line in args.prompts.read_text().splitlines() if line]
    known = tuple(dict.fromkeys(p["split"] for p in prompts))
    if args.split not in (*known, "all"):
        parser.error(f"{args.prompts} has no part {args.split!r}; it has {', '.join(known)}")
    for split in known if args.split == "all" else (args.split,):
        rows = [judge(p) for p in prompts if p["split"] == split]
        if args.show:
            for row in rows:
                if not row.get("exact"):
                    print(f"{row['prompt']}\n   wrong {row['wrong']}\n   missed {row['missed']}")
        right, got = sum(r["right"] for r in rows), sum(r["got"] for r in rows)
        wanted = sum(r["wanted"] for r in rows)
        precision, recall = right / max(got, 1), right / max(wanted, 1)
        f1 = 2 * precision * recall / max(precision + recall, 1e-9)
        print(f"{split}: n = {len(rows)}, fields {wanted}")
        print(f"  field F1 {f1:.3f} (precision {precision:.3f}, recall {recall:.3f})")
        for name, key in (("exact requests", "exact"), ("false acceptances", "false")):
            count = sum(bool(r[key]) for r in rows)
            low, high = wilson(count, len(rows))
            print(
                f"  {name} {count} of {len(rows)} = {100 * count / len(rows):.1f} % "
                f"({100 * low:.1f} to {100 * high:.1f})"
            )


if __name__ == "__main__":
    main()
