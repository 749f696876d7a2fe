"""Bytes to text: the encodings in which files of crystals come.

Old databases and Windows programs write UTF-16, Latin-1 or a byte order mark. What a CIF says of
its crystal is ASCII in all of them; only names and comments differ.
"""

from __future__ import annotations

import codecs

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: So many bytes tell UTF-16 without a mark from text in single bytes.
_PROBE = 512


def decode(raw: bytes) -> str:
    """The text of a file: by its byte order mark, else UTF-8, else Windows' Latin-1 (cp1252).

    Every sequence of bytes is some text in Latin-1, so this never fails; bytes that are no text
    give a text that no reader understands.
    """
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return raw[len(mark) :].decode(encoding, "replace")
    if raw.isascii() and b"\0" not in raw[:_PROBE]:
        return raw.decode("ascii")
    head = raw[:_PROBE]
    if len(head) >= 4 and head[1::2].count(0) > 0.4 * len(head) > head[::2].count(0):
        return raw.decode("utf-16-le", "replace")
    if len(head) >= 4 and head[::2].count(0) > 0.4 * len(head) > head[1::2].count(0):
        return raw.decode("utf-16-be", "replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")
