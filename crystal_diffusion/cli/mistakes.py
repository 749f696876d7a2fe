"""Plausible mistakes on the command line, each answered by its cause and an offer.

Everything here looks at words alone, before a verb runs: what is no verb, no option, no value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

#: Other words for verbs.
VERBS_MEANT: Mapping[str, str] = {
    **dict.fromkeys(("sample", "create", "make", "new", "gen", "run"), "generate"),
    **dict.fromkeys(("fit", "finetune", "fine-tune", "learn", "adapt"), "train"),
    **dict.fromkeys(("show", "plot", "draw", "visualize", "visualise", "viewer"), "view"),
    **dict.fromkeys(("optimize", "optimise", "relaxation", "minimize"), "relax"),
    **dict.fromkeys(("hull", "rank", "filter", "stability"), "screen"),
    **dict.fromkeys(("verify", "valid", "validation"), "validate"),
    **dict.fromkeys(("download", "get", "mp", "optimade"), "fetch"),
    **dict.fromkeys(("search", "explore", "discovery"), "discover"),
    **dict.fromkeys(("metrics", "score", "compare", "eval"), "evaluate"),
    **dict.fromkeys(("info", "describe", "summary"), "inspect"),
    **dict.fromkeys(("vasp", "espresso", "gpaw", "qe"), "dft"),
    **dict.fromkeys(("example", "tutorial", "quickstart"), "demo"),
    **dict.fromkeys(("gui", "web", "serve", "server", "ui"), "app"),
    **dict.fromkeys(("install", "setup", "version-check"), "doctor"),
    **dict.fromkeys(("data", "dataset", "inspect-data"), "check"),
}
#: Other names of options that simply work, where the verb has the option; the first name it has.
ACCEPTED: Mapping[str, tuple[str, ...]] = {
    "--number": ("-n",),
    "--space-group": ("--spacegroup",),
    "--potentials": ("--potential",),
    "--potential": ("--potentials", "--scorer"),
    "--help-all": ("--help",),
}
#: What people type for an option, and what they mean; the first that the verb has is offered.
MEANT: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("--sg", "--spg", "--group", "--symmetry-group"), ("--spacegroup",)),
    **dict.fromkeys(("--num", "--count", "--samples", "--num-samples", "--crystals"), ("-n",)),
    **dict.fromkeys(("--output", "--outdir", "--output-dir", "--dir", "--save"), ("--out",)),
    **dict.fromkeys(("--folder", "--outfile", "--output-file"), ("--out",)),
    **dict.fromkeys(("--atoms", "--n-atoms", "--nat", "--size", "--sites"), ("--natoms",)),
    **dict.fromkeys(("--composition", "--comp", "--chemical-formula"), ("--formula",)),
    **dict.fromkeys(("--chemical-system", "--chemsys", "--element", "--species"), ("--elements",)),
    **dict.fromkeys(("--without", "--no-elements", "--ban"), ("--exclude",)),
    **dict.fromkeys(("--units", "--formula-units", "--fu"), ("--z",)),
    **dict.fromkeys(("--cell-parameters", "--abc", "--box", "--unit-cell"), ("--lattice",)),
    **dict.fromkeys(("--jobs", "--workers", "--cores", "--cpus", "--threads"), ("--processes",)),
    **dict.fromkeys(("--gpu", "--cuda", "--cpu"), ("--device",)),
    **dict.fromkeys(("--random-seed", "--rng"), ("--seed",)),
    **dict.fromkeys(("--force", "--replace", "--clobber"), ("--overwrite",)),
    **dict.fromkeys(("--time", "--hours", "--max-time"), ("--minutes", "--time-limit")),
    **dict.fromkeys(("--lr",), ("--learning-rate",)),
    **dict.fromkeys(("--batch-size", "--batch"), ("--tokens", "--per-round")),
    **dict.fromkeys(("--epoch", "--passes"), ("--epochs",)),
    **dict.fromkeys(("--calculator", "--mlip", "--model-potential"), ("--potential", "--scorer")),
    **dict.fromkeys(
        ("--num-steps", "--iterations", "--max-steps", "--denoising-steps"),
        ("--sampling-steps", "--relax-steps", "--steps"),
    ),
    **dict.fromkeys(("--training-steps", "--train-steps"), ("--steps",)),
    **dict.fromkeys(("--finetune", "--pretrained"), ("--start-from",)),
    **dict.fromkeys(("--silent",), ("--quiet",)),
    **dict.fromkeys(("--prompt", "--describe"), ("--text",)),
    **dict.fromkeys(("--best", "--keep"), ("--top",)),
}
#: Names that go in the next version, by verb: they work, with a note, and are not in the help.
RENAMED: Mapping[str, Mapping[str, str]] = {
    "generate": {
        "--churn": "--eta",
        "--new": "--known-last",
        "--novel": "--noise-share",
        "--rank": "--scorer",
        "--steps": "--sampling-steps",
    },
    "benchmark": {
        "--new": "--known-last",
        "--no-new": "--no-known-last",
        "--novel": "--noise-share",
        "--rank": "--scorer",
        "--steps": "--sampling-steps",
    },
    "discover": {"--batch": "--per-round"},
    "relax": {"--steps": "--relax-steps"},
    "screen": {"--steps": "--relax-steps"},
}
#: Names of potentials and other judges, for what nearly is one.
_JUDGES = ("diep", "chgnet", "chgnet-r2scan", "sevennet", "pair", "score", "residual", "none")
#: Values of options that are words of a short list.
WORDS: Mapping[str, tuple[str, ...]] = {
    "device": ("auto", "cpu", "cuda", "mps"),
    "cell": ("primitive", "conventional", "niggli"),
    "crystal_system": (
        "triclinic",
        "monoclinic",
        "orthorhombic",
        "tetragonal",
        "trigonal",
        "hexagonal",
        "cubic",
    ),
    "network": ("transformer", "unet", "equivariant"),
    "profile": ("strict", "default", "permissive"),
    "precision": ("auto", "float32", "bfloat16"),
    "odd": ("leave", "keep"),
    "library": ("own", "shipped", "both"),
    "code": ("vasp", "espresso", "gpaw"),
    "strategy": ("loop", "once", "exchange", "random"),
}
#: Other words for values.
VALUES_MEANT: Mapping[str, str] = {
    "gpu": "cuda",
    "metal": "mps",
    "rhombohedral": "trigonal",
    "qe": "espresso",
    "quantum-espresso": "espresso",
    "fp32": "float32",
    "bf16": "bfloat16",
    "loose": "permissive",
    "standard": "conventional",
    "reduced": "niggli",
}
#: Least value of numbers, by name of the parameter; a limit that is not allowed itself is a float.
LEAST: Mapping[str, float | int] = {
    "n": 1,
    "epochs": 1,
    "minutes": 0.0,
    "seconds": 0.0,
    "learning_rate": 0.0,
    "dim": 1,
    "layers": 1,
    "tokens": 1,
    "accumulate": 1,
    "patience": 0,
    "sampling_steps": 1,
    "relax_steps": 0,
    "processes": 1,
    "top": 1,
    "budget": 1,
    "batch": 1,
    "per_round": 1,
    "most_atoms": 1,
    "candidates": 1,
    "fmax": 0.0,
    "smax": 0.0,
    "time_limit": 0.0,
    "max_attempts": 1,
    "limit": 1,
    "rows": 0,
    "repulsion": 0,
    "most": 1,
    "first": 0,
    "seed": 0,
    "cutoff": 0.0,
    "kpoints": 0.0,
    "largest_volume": 0.0,
    "min_distance": 0,
    "above_hull": 0,
    "symmetrise": 0.0,
    "at_once": 1,
}
#: Verbs whose words are files or folders that must be there.
_READERS = (
    "check", "train", "validate", "view", "report", "relax", "screen", "evaluate", "dft", "predict",
)  # fmt: skip
#: Verbs whose first word is a model.
_LOADERS = ("generate", "distill", "inspect")
_FORMULA = re.compile(r"(?:[A-Z][a-z]?\d*)+")
_STRUCTURE = (".cif", ".vasp", ".poscar", ".xyz", ".extxyz", ".json", ".traj", ".csv", ".parquet")


# ---- verbs ----------------------------------------------------------------------------------


def wrong_verb(words: Sequence[str], verbs: Sequence[str]) -> str:
    """What to say where the first word is no verb."""
    word = words[0]
    if word.lower() in ("help", "man"):
        verb = next((other for other in words[1:] if other in verbs), "")
        return f"write crystal-diffusion {verb} --help".replace("  ", " ")
    later = next((other for other in words[1:] if other in verbs), "")
    if word.startswith("-"):
        verb = later or "generate"
        return f"{word} comes before the verb; write crystal-diffusion {verb} {word} …"
    meant = VERBS_MEANT.get(word.lower()) or (word.lower() if word.lower() in verbs else "")
    meant = meant if meant in verbs else ""
    if not meant and later:
        return f"the verb comes first: crystal-diffusion {later} {word} …"
    close = [meant] if meant else get_close_matches(word.lower(), verbs, 1, 0.6)
    if close:
        return f"{word!r} is no verb; did you mean crystal-diffusion {close[0]}?"
    if Path(word).exists():
        return (
            f"{word!r} is no verb but a file or folder; did you mean crystal-diffusion check "
            f"{word}, or crystal-diffusion train {word}?"
        )
    if _is_formula(word):
        return f"{word!r} is no verb; did you mean crystal-diffusion generate --formula {word}?"
    return f"{word!r} is no verb; choose one of {', '.join(verbs)}."


# ---- options --------------------------------------------------------------------------------


def settled(
    verb: str, words: Sequence[str], options: Sequence[str], takes: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """The words with other names of options replaced by those that the verb has.

    Returns:
        All words, and those among them that are neither options nor their values.

    Args:
        options: all names of options of the verb.
        takes: those that are followed by a value, with the name of its type.

    Raises:
        ValueError: a word that is no option; the message says which was meant.
    """
    out: list[str] = []
    bare: list[str] = []
    skip = False
    for place, word in enumerate(words):
        if word == "--":
            return [*out, *words[place:]], [*bare, *words[place + 1 :]]
        if skip or not word.startswith("-") or word == "-" or _is_number(word):
            out.append(word)
            if not skip:
                bare.append(word)
            skip = False
            continue
        name, sign, value = word.partition("=")
        if not name.startswith("--"):
            # A short option may carry its value, as in -n20.
            out.append(_short(verb, word, options))
            skip = word in takes
            if skip:
                _refuse_no_value(word, words[place + 1 :], options)
                _refuse_kind(word, words[place + 1], takes)
            continue
        name = _settled_option(verb, name, options)
        if name in takes and not sign:
            _refuse_no_value(name, words[place + 1 :], options)
            _refuse_kind(name, words[place + 1], takes)
            skip = True
        elif name in takes:
            _refuse_kind(name, value, takes)
        if sign and not name.startswith("--"):
            out += [name, value]
        else:
            out.append(name + sign + value)
    return out, bare


def renamed(verb: str, words: Sequence[str]) -> dict[str, str]:
    """Options among the words that are called something else now, and their new names."""
    new = RENAMED.get(verb, {})
    names = [word.partition("=")[0].replace("_", "-") for word in words]
    return {name: new[name] for name in names if name in new}


def _refuse_kind(name: str, text: str, takes: Mapping[str, str]) -> None:
    wrong = wrong_kind(name, text, takes[name])
    if wrong:
        raise ValueError(wrong)


def _short(verb: str, word: str, options: Sequence[str]) -> str:
    if word[:2] in options or word in options:
        return word
    long = "-" + word
    if long in options:
        raise ValueError(f"{word} is no option of {verb}; write it with two dashes: {long}")
    meant = {"-s": "--seed", "-f": "--formula", "-e": "--elements", "-j": "--processes"}
    meant |= {"-N": "-n", "-v": "--version", "-q": "--quiet", "-O": "--out", "-d": "--out"}
    offer = meant.get(word[:2], "")
    if offer in options:
        raise ValueError(f"{word} is no option of {verb}; did you mean {offer}?")
    raise ValueError(f"{word} is no option of {verb}; crystal-diffusion {verb} --help lists them")


def _settled_option(verb: str, name: str, options: Sequence[str]) -> str:
    plain = name.replace("_", "-")
    for candidate in (name, plain):
        if candidate in options:
            return candidate
    old = RENAMED.get(verb, {}).get(plain)
    if old is not None:
        return old
    for candidate in ACCEPTED.get(plain.lower(), ()):
        if candidate in options:
            return candidate
    if plain in ("--verbose", "--debug"):
        raise ValueError(f"{name} is no option of {verb}: all is told unless --quiet is given")
    if plain in ("--model", "--checkpoint", "--weights"):
        raise ValueError(
            f"{name} is no option of {verb}; the model comes first: crystal-diffusion {verb} MODEL/"
        )
    offers = [o for o in MEANT.get(plain.lower(), ()) if o in options]
    if not offers and plain.lower() in options:
        offers = [plain.lower()]
    if not offers:
        shown = [o for o in options if o.startswith("--")]
        offers = get_close_matches(plain.lower(), shown, 1, 0.7)
    if offers:
        offer = offers[0]
        if plain in ("--gpu", "--cuda", "--cpu"):
            offer += " cpu" if plain == "--cpu" else " cuda"
        raise ValueError(f"{name} is no option of {verb}; did you mean {offer}?")
    elsewhere = [other for other in ("generate", "train", "screen") if plain in _OF_VERBS[other]]
    if elsewhere and verb not in elsewhere:
        raise ValueError(
            f"{name} is no option of {verb} but of {elsewhere[0]}; did you mean "
            f"crystal-diffusion {elsewhere[0]} {name}?"
        )
    raise ValueError(f"{name} is no option of {verb}; crystal-diffusion {verb} --help lists them")


#: What is asked of verbs that do not have it.
_OF_VERBS: Mapping[str, tuple[str, ...]] = {
    "generate": ("--formula", "--spacegroup", "--space-group", "--text", "--lattice", "--host"),
    "train": ("--epochs", "--learning-rate", "--from-scratch"),
    "screen": ("--potential", "--potentials", "--top", "--relax-steps", "--stages"),
}


def _refuse_no_value(name: str, rest: Sequence[str], options: Sequence[str]) -> None:
    following = rest[0].partition("=")[0] if rest else ""
    if not rest or following in options or following.startswith("--"):
        after = f", {following} came" if following else ""
        raise ValueError(f"{name} needs a value{after}; write it after the option: {name} VALUE")


#: Numbers that make sense, where 20 and 0.5 do not.
_EXAMPLES = {"--port": "8765", "--learning-rate": "1e-4", "--seconds": "20", "--lattice": "5"}

# ---- values ---------------------------------------------------------------------------------


def wrong_kind(option: str, text: str, kind: str) -> str:
    """That a text is no number of a kind, with an example; empty for one."""
    if kind == "integer" and not re.fullmatch(r"[-+]?\d+", text.strip()):
        example = _EXAMPLES.get(option, "20")
        return f"{option} {text!r} is no whole number; give for example {option} {example}."
    try:
        if kind in ("integer", "float"):
            float(text)
    except ValueError:
        percent = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", text)
        usual = _EXAMPLES.get(option, "0.5")
        example = f"{float(percent[1]) / 100:g}" if percent else usual
        return f"{option} {text!r} is no number; give for example {option} {example}."
    return ""


def wrong_value(option: str, name: str, value: object) -> str:
    """What is wrong with a value, with an offer; empty for nothing.

    Args:
        option: as it is written; name: of the parameter.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _too_small(option, name, value)
    if not isinstance(value, str):
        return ""
    if name in ("potential", "second", "scorer") and value not in _JUDGES:
        near = get_close_matches(value.lower(), _JUDGES, 1, 0.6)
        return f"{option} {value!r} is not known; did you mean {near[0]}?" if near else ""
    if name == "spacegroup" and value.lower() in WORDS["crystal_system"]:
        return f"{option} {value!r} is a system of many groups; did you mean --crystal-system?"
    if name == "crystal_system" and (
        value.isdigit() or re.fullmatch(r"[PIFABCR][-\d/mabcnde]+", value)
    ):
        return f"{option} {value!r} is no system; did you mean --spacegroup {value}?"
    words = WORDS.get(name)
    if words is None or value in words:
        return ""
    return not_among(option, value, words)


def not_among(option: str, value: str, words: Sequence[str]) -> str:
    """That a value is none of a list, with the nearest one."""
    meant = VALUES_MEANT.get(value.lower(), value.lower())
    close = [meant] if meant in words else get_close_matches(meant, words, 1, 0.6)
    offer = f"did you mean {close[0]}? Choose" if close else "choose"
    return f"{option} {value!r} is not known; {offer} {_listed(words)}."


def _too_small(option: str, name: str, value: float) -> str:
    least = LEAST.get(name)
    if least is None:
        return ""
    if isinstance(least, float) and value <= least:
        return f"{option} is {value:g}; give a number above {least:g}, or leave it out."
    if value < least:
        return f"{option} is {value:g}; give at least {least}, or leave it out."
    return ""


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


# ---- words that are no option ---------------------------------------------------------------


def wrong_words(verb: str, words: Sequence[str], most: int | None, example: str) -> str:
    """What is wrong with the words of a verb that are no options; empty for nothing.

    Args:
        most: how many it takes; None for any number.
        example: a command that works.
    """
    if verb == "generate" and words and not Path(words[0]).exists():
        said = _bare_word(words)
        if said:
            return said
    if verb == "discover" and words and (_is_elements(words[0]) or _is_formula(words[0])):
        listed = ",".join(dict.fromkeys(re.findall(r"[A-Z][a-z]?", words[0])))
        return f"{words[0]!r} is a bare word; did you mean --elements {listed}?"
    for word in words:
        is_pattern = any(sign in word for sign in "*?[")
        if verb in (*_READERS, *_LOADERS) and not is_pattern and not Path(word).exists():
            offer = missing_path(word)
            if offer:
                what = "file or folder" if verb in _READERS else "model"
                return f"{word}: no such {what}{offer}"
        if verb in _READERS and not Path(word).exists() and _is_formula(word):
            return f"{word} is no file; did you mean crystal-diffusion generate --formula {word}?"
    if most is None or len(words) <= most:
        return ""
    if most == 0:
        return f"{verb} does not know what to do with {words[0]!r}; for example: {example}"
    files = [word for word in words if Path(word).exists()]
    if len(files) == len(words) or all(Path(word).suffix in _STRUCTURE for word in words):
        folder = Path(words[0]).parent
        pattern = str(folder / f"*{Path(words[0]).suffix}")
        return (
            f"{verb} takes one path, {len(words)} were given (a pattern without quotes becomes "
            f"many); write '{pattern}' in quotes, or give the folder {folder}/"
        )
    extra = words[most]
    return f"{verb} does not know what to do with {extra!r}; for example: {example}"


def _bare_word(words: Sequence[str]) -> str:
    word = words[0]
    if word.lower() in ("pretrained", "box") or "/" in word or "\\" in word or "." in word:
        return ""
    joined = ",".join(words)
    if _is_elements(joined) and ("," in joined or len(word) <= 2):
        listed = _elements(joined)
        formula = f" or --formula {listed}" if "," not in listed else ""
        more = " (several with commas, as in --elements Li,O)" if "," not in listed else ""
        return f"{word!r} is no model; did you mean --elements {listed}{formula}?{more}"
    if re.match(r"^\d+$", word):
        return f"{word!r} is no model; did you mean -n {word}?"
    from crystal_diffusion.generation.spelling import meant_formula

    meant = meant_formula(word)
    if _is_formula(word) and not (meant and re.search(r"[A-Za-z]0|Po|At|Rn|Fr|Ra", word)):
        meant = word
    if meant:
        return f"{word!r} is no model; did you mean --formula {meant}?"
    return ""


def _is_formula(word: str) -> bool:
    from ase.data import chemical_symbols

    return bool(_FORMULA.fullmatch(word)) and all(
        symbol in chemical_symbols for symbol in re.findall(r"[A-Z][a-z]?", word)
    )


def _is_elements(text: str) -> bool:
    from ase.data import chemical_symbols

    parts = [part for part in re.split(r"[,\s-]+", text) if part]
    return bool(parts) and all(part in chemical_symbols[1:] for part in parts)


def _elements(text: str) -> str:
    return ",".join(part for part in re.split(r"[,\s-]+", text) if part)


def _is_number(word: str) -> bool:
    return bool(re.fullmatch(r"-\d*\.?\d+(?:e-?\d+)?", word))


def missing_path(path: str) -> str:
    """What to offer for a path that is not there: the nearest name beside it; empty for none."""
    place = Path(path)
    try:
        names = [entry.name for entry in place.parent.iterdir()]
    except OSError:
        return ""
    close = get_close_matches(place.name, names, 1, 0.6)
    return f"; did you mean {place.parent / close[0]}?" if close else ""


def example_of(function: Any) -> str:
    """The first example of a verb's documentation."""
    found = re.search(r"Example: (crystal-diffusion .*)", function.__doc__ or "")
    return found[1].strip() if found else "crystal-diffusion --help"
