"""Damage: what transmission errors, other programs and ill will do to a file."""

from __future__ import annotations

import json
import random
import re
from typing import Any

#: What is put in the place of a number or a word.
WORDS = (
    b"nan", b"-nan", b"inf", b"-inf", b"1e400", b"-1e300", b"1e-320", b"0", b"-0", b"-1", b"00",
    b"1e5", b"99999999999999999999", b"1000000000", b"0x10", b"1/3", b"?", b".", b"''", b'""', b"",
    b"True", b"None", b"null", b"[]", b"{}", b"=1+1", b"../../x", b"/abs/x", b"x[/y]", b"\xff\xfe",
    b"\x00", b"\xe2\x80\xa8", b"O1-", b"Xx", b"Hh+7", b"D", b"x,y,2*z", b"loop_", b"data_", b";",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 0.5, 1e308, float("nan"), float("inf"), 10**30, 10**400, "", "x", "001",
    "../../x", "=1+1", [], {}, [[]], [None], {"a": {}}, ["x"] * 3, "x" * 2000, [0] * 300,
)  # fmt: skip
_NUMBER = re.compile(rb"[-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")
_WORD = re.compile(rb"[^\s,;:\"'=()\[\]{}]+")


def damage(raw: bytes, rng: random.Random, others: tuple[bytes, ...] = ()) -> bytes:
    """A damaged copy: one to four changes, each of a kind drawn at random."""
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        kind = rng.choice(_KINDS)
        data = kind(data, rng)
        if others and rng.random() < 0.05:
            data = _graft(data, rng.choice(others), rng)
        if len(data) > 400_000:
            data = data[:400_000]
    return bytes(data)


def _place(data: bytearray, rng: random.Random) -> int:
    return rng.randrange(len(data) + 1)


def _flip(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 1, 2, 8, 32))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _overwrite(data: bytearray, rng: random.Random) -> bytearray:
    start = _place(data, rng)
    count = rng.choice((1, 4, 8, 64))
    data[start : start + count] = rng.randbytes(count)
    return data


def _cut(data: bytearray, rng: random.Random) -> bytearray:
    return data[: _place(data, rng)]


def _remove(data: bytearray, rng: random.Random) -> bytearray:
    start = _place(data, rng)
    del data[start : start + rng.choice((1, 2, 10, 100, 1000))]
    return data


def _repeat(data: bytearray, rng: random.Random) -> bytearray:
    start = _place(data, rng)
    part = data[start : start + rng.choice((1, 10, 100, 1000))]
    return data[:start] + part * rng.choice((2, 3, 50)) + data[start:]


def _number(data: bytearray, rng: random.Random) -> bytearray:
    return _replaced(data, _NUMBER, rng)


def _word(data: bytearray, rng: random.Random) -> bytearray:
    return _replaced(data, _WORD, rng)


def _replaced(data: bytearray, pattern: re.Pattern[bytes], rng: random.Random) -> bytearray:
    found = list(pattern.finditer(bytes(data[:100_000])))
    if not found:
        return _overwrite(data, rng)
    match = rng.choice(found)
    return data[: match.start()] + rng.choice(WORDS) + data[match.end() :]


def _lines(data: bytearray, rng: random.Random) -> bytearray:
    lines = bytes(data).split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    act = rng.randrange(4)
    if act == 0:
        del lines[first]
    elif act == 1:
        lines.insert(first, lines[second])
    elif act == 2:
        lines[first], lines[second] = lines[second], lines[first]
    else:
        lines[first] = lines[first] * rng.choice((2, 20))
    return bytearray(b"\n".join(lines))


def _graft(data: bytearray, other: bytes, rng: random.Random) -> bytearray:
    start = rng.randrange(len(other) + 1)
    part = other[start : start + rng.choice((10, 100, 1000))]
    place = _place(data, rng)
    return data[:place] + part + data[place:]


_KINDS = (_flip, _overwrite, _cut, _remove, _repeat, _number, _number, _word, _word, _lines)


def damage_json(raw: bytes, rng: random.Random) -> bytes:
    """JSON, or JSON lines, in which a value somewhere is another one; the rest stays sound."""
    lines = raw.split(b"\n") if b"\n{" in raw else [raw]
    row = rng.randrange(len(lines))
    try:
        tree = json.loads(lines[row])
    except ValueError:
        return damage(raw, rng)
    if not isinstance(tree, dict | list) or rng.random() < 0.02:
        tree = rng.choice(VALUES)
    else:
        for _ in range(rng.choice((1, 1, 2))):
            _change(tree, rng)
    try:
        lines[row] = json.dumps(tree).encode()
    except ValueError:
        return damage(raw, rng)
    return b"\n".join(lines)


def _change(node: Any, rng: random.Random) -> None:
    """Walk down to some value and replace, remove or repeat it."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = rng.choice(keys)
        child = node[key]
        if isinstance(child, dict | list) and child and rng.random() < 0.8:
            node = child
            continue
        act = rng.random()
        if act < 0.7:
            node[key] = rng.choice(VALUES)
        elif act < 0.85:
            del node[key]
        elif isinstance(node, list):
            node.extend([child] * rng.choice((1, 5, 50)))
        else:
            node[str(rng.choice(VALUES))[:30]] = child
        return
