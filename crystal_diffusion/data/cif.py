"""CIF text to crystals: gemmi reads, the symmetry operations of the file are applied here.

An ordinary file (operations listed, or a space group without choice of setting; whole
occupancies; elements spelled as elements) gives the same crystal as pymatgen's parser, with the
sites in the order of the file and without oxidation states, at a small part of its cost.
Everything else (partial occupancy, groups with several settings named without operations, magnetic
CIF, odd symbols) goes through pymatgen itself.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Sequence

import gemmi
import numpy as np

from crystal_diffusion.data.bounds import (
    LARGEST_COORDINATE,
    MOST_ATOMS,
    MOST_IMAGES,
    MOST_IMAGES_SLOW,
    MOST_OPERATIONS,
    TooMuch,
)
from crystal_diffusion.data.records import (
    Occupancy,
    PlainCrystal,
    failed,
    lattice_from_parameters,
    shorten,
)

#: Two sites nearer than this in every fractional coordinate are one site; pymatgen's value.
SITE_TOLERANCE = 1e-4
#: Coordinates this near (relative) to 1/3 and 2/3 are those; pymatgen's value.
THIRD_TOLERANCE = 1e-4
#: Above this many atoms, coinciding sites are looked for with a tree instead of a table.
TREE_FROM = 400
#: Pairs of images compared at once.
_TABLE = 200_000

_CELL_TAGS = (
    *(f"_cell_length_{x}" for x in "abc"),
    *(f"_cell_angle_{x}" for x in ("alpha", "beta", "gamma")),
)
_OPERATION_TAGS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
#: In the order in which pymatgen asks for them.
_GROUP_TAGS = (
    "_symmetry_space_group_name_H-M",
    "_space_group_name_Hall",
    "_space_group_name_H-M_alt",
    "_symmetry_space_group_name_Hall",
    "_space_group_IT_number",
    "_symmetry_Int_Tables_number",
)
#: Tags of magnetic CIFs and labels of water groups, which only pymatgen's parser understands.
_MAGNETIC = ("_atom_site_moment", "_space_group_magn", "_space_group_symop_magn")
_GROUPS = re.compile(r"Hw|Ow|Wat|wat|OH|NO3|O-H")
_LETTERS = re.compile(r"[A-Za-z]+")


class _NotOrdinary(Exception):
    """This block needs pymatgen's parser."""


def parse_cif(text: str | bytes, name: str, source: str) -> list[PlainCrystal]:
    """All crystals of a CIF text; what cannot be read is a crystal with a problem.

    Args:
        text: the whole file.
        name: id for a file with one crystal; the others get ``name#block``.
        source: where the text came from, for messages.
    """
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    if not raw.strip():
        return [failed(name, source, "the file is empty; write it again or remove it", "empty")]
    try:
        # Level 0: duplicated names are for us to report, not a reason to refuse the whole file.
        document = gemmi.cif.read_string(raw, 0)
    except (RuntimeError, ValueError) as error:
        return _with_pymatgen(raw, name, source, f"it is no CIF ({shorten(error)})")
    blocks = [block for block in document if _has_sites(block)]
    if not blocks:
        return [
            failed(
                name,
                source,
                "no atoms with fractional coordinates in the CIF; add or remove it",
                "empty",
            )
        ]
    names = _block_names(name, blocks)
    if len({block.name for block in blocks}) < len(blocks):
        # pymatgen keeps only the last of equally named blocks, so it must not see such a file.
        return [_parse_block(b, n, source, None) for b, n in zip(blocks, names, strict=True)]
    return [_parse_block(b, n, source, raw) for b, n in zip(blocks, names, strict=True)]


def _has_sites(block: gemmi.cif.Block) -> bool:
    return len(block.find_values("_atom_site_fract_x")) > 0


def _block_names(name: str, blocks: Sequence[gemmi.cif.Block]) -> list[str]:
    if len(blocks) == 1:
        return [name]
    return [f"{name}#{i + 1}" for i in range(len(blocks))]


def _parse_block(
    block: gemmi.cif.Block, name: str, source: str, whole: bytes | None
) -> PlainCrystal:
    try:
        sites, operations = _announced(block)
        return _ordinary(block, name, source)
    except _NotOrdinary as reason:
        if whole is None:
            return failed(name, source, f"{reason}, and its data_ name occurs twice; rename it")
        if sites * operations > MOST_IMAGES_SLOW:
            text = f"{reason}, with {sites} sites and {operations} operations"
            return failed(name, source, f"cannot be read: {text}; give a smaller cell")
        single = block_text(whole, block)
        return _with_pymatgen(single, name, source, str(reason))[0]
    # One block that makes a reader fail must not cost those after it.
    except Exception as error:
        return failed(name, source, f"cannot be read ({shorten(error)}); correct or remove it")


def _announced(block: gemmi.cif.Block) -> tuple[int, int]:
    """Sites and operations of a block.

    Raises:
        TooMuch: when they are more than the bounds allow.
    """
    sites = len(block.find_values("_atom_site_fract_x"))
    operations = max(1, *(len(block.find_values(tag)) for tag in _OPERATION_TAGS))
    if operations > MOST_OPERATIONS:
        raise TooMuch(f"{operations} symmetry operations; no group has more than 192")
    if sites > MOST_ATOMS or sites * operations > MOST_IMAGES:
        raise TooMuch(f"{sites} sites and {operations} operations; {MOST_ATOMS} atoms are the most")
    return sites, operations


def block_text(whole: bytes, block: gemmi.cif.Block) -> bytes:
    """The text of one block, written anew by gemmi; the whole text when there is no other."""
    if whole.count(b"data_") <= 1:
        return whole
    return str(block.as_string()).encode("utf-8", "replace")


def _number(text: str) -> float:
    """A CIF number without its uncertainty; NaN for ``?``, ``.`` and what is no number."""
    try:
        return float(gemmi.cif.as_string(text).split("(", 1)[0])
    except ValueError:
        return float("nan")


def _ordinary(block: gemmi.cif.Block, name: str, source: str) -> PlainCrystal:
    """The crystal of an ordinary block.

    Raises:
        _NotOrdinary: when pymatgen has to read it.
    """
    cell = np.array([_number(block.find_value(tag) or "?") for tag in _CELL_TAGS])
    if not np.all(np.isfinite(cell)):
        raise _NotOrdinary("cell parameters are missing or not numbers")
    columns = [block.find_values(f"_atom_site_fract_{x}") for x in "xyz"]
    coords = np.array([[_number(v) for v in column] for column in columns]).T
    symbols = block.find_values("_atom_site_type_symbol") or block.find_values("_atom_site_label")
    if len(symbols) != len(coords):
        raise _NotOrdinary("the atom table has no symbols")
    if any(item_tag.startswith(_MAGNETIC) for item_tag in _tags(block)):
        raise _NotOrdinary("magnetic CIF")
    texts = [gemmi.cif.as_string(s) for s in symbols]
    strict = bool(block.find_values("_atom_site_type_symbol"))
    numbers = np.array([atomic_number(s, strict) for s in texts])
    if (numbers == 0).any():
        bad = texts[int(np.flatnonzero(numbers == 0)[0])]
        return failed(
            name, source, f"unknown element {bad!r}; correct its symbol", "unknown element"
        )
    if (numbers < 0).any():
        raise _NotOrdinary("symbols that stand for groups of atoms")
    occupancy = np.array([_occupancy(v) for v in block.find_values("_atom_site_occupancy")])
    if len(occupancy):
        if len(occupancy) != len(coords) or not np.isin(occupancy, (0.0, 1.0)).all():
            raise _NotOrdinary("partial occupancy")
        coords, numbers = coords[occupancy > 0], numbers[occupancy > 0]
    if not np.all(np.isfinite(coords)):
        bad_row = int(np.flatnonzero(~np.isfinite(coords).all(-1))[0])
        return failed(
            name,
            source,
            f"atom {bad_row + 1} has coordinates that are not finite; correct them",
            "not finite",
        )
    if np.abs(coords).max(initial=0.0) > LARGEST_COORDINATE:
        far = float(np.abs(coords).max())
        text = f"a coordinate of {far:.0e} is no fraction of a cell; correct it"
        return failed(name, source, text, "not finite")
    rotations, translations = _operations(block)
    full, rows = expand(_snap_thirds(coords), rotations, translations)
    if _coincide(full):
        raise _NotOrdinary("two rows of the atom table describe one site")
    notes: tuple[str, ...] = ()
    if any(_number(v) > 0 for v in block.find_values("_atom_site_attached_hydrogens")):
        notes = ("hydrogens that the CIF only counts are not in the structure",)
    return PlainCrystal(
        name, lattice_from_parameters(cell), full, numbers[rows], {}, source, notes=notes
    )


def _tags(block: gemmi.cif.Block) -> list[str]:
    tags: list[str] = []
    for item in block:
        if item.pair is not None:
            tags.append(str(item.pair[0]).lower())  # type: ignore[index]
        elif item.loop is not None:
            tags.extend(tag.lower() for tag in item.loop.tags)
    return tags


def _occupancy(text: str) -> float:
    value = _number(text)
    return 1.0 if np.isnan(value) else value


@functools.lru_cache(maxsize=4096)
def atomic_number(symbol: str, strict: bool = True) -> int:
    """The element in a CIF symbol or label: ``Fe3+``, ``O1``, ``CA2``.

    Args:
        symbol: text of the type symbol or the label.
        strict: the leading letters must be the element and nothing else; labels (``OW1``,
            ``Fe1A``) may say more after it.

    Returns:
        1 to 118; 0 for no known element; -1 for a symbol that stands for a group of atoms.
    """
    if _GROUPS.match(symbol) or " + " in symbol or symbol[:2].title() in ("D", "T"):
        return -1
    match = _LETTERS.match(symbol)
    if match is None:
        return 0
    letters = match.group()
    if strict and len(letters) > 2:
        return 0
    for length in (2, 1) if not strict else (len(letters),):
        number = int(gemmi.Element(letters[:length].title()).atomic_number)
        if number and len(letters) >= length:
            return number if letters[:length].title() != "D" else -1
    return 0


@functools.lru_cache(maxsize=1024)
def _parse_operations(triplets: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    rotations, translations = [], []
    try:
        for triplet in triplets:
            operation = gemmi.Op(triplet)
            rotations.append(operation.rot)
            translations.append(operation.tran)
    except RuntimeError as error:
        raise _NotOrdinary(f"symmetry operations that gemmi cannot read ({error})") from error
    turn = np.array(rotations) / gemmi.Op.DEN
    if not np.array_equal(turn, np.round(turn)):
        raise _NotOrdinary("symmetry operations with broken rotations")
    if not np.allclose(np.abs(np.linalg.det(turn)), 1.0):
        wrong = triplets[int(np.flatnonzero(np.abs(np.abs(np.linalg.det(turn)) - 1) > 0.1)[0])]
        raise ValueError(f"'{wrong}' is no symmetry operation: it changes volumes")
    return turn, np.array(translations) / gemmi.Op.DEN


def _operations(block: gemmi.cif.Block) -> tuple[np.ndarray, np.ndarray]:
    """Rotations ``(operations, 3, 3)`` and translations ``(operations, 3)`` of a block."""
    for tag in _OPERATION_TAGS:
        values = block.find_values(tag)
        if len(values):
            return _parse_operations(tuple(gemmi.cif.as_string(v) for v in values))
    for tag in _GROUP_TAGS:
        given = gemmi.cif.as_string(block.find_value(tag) or "?")
        if given:
            return _group_operations(given)
    return np.eye(3)[None], np.zeros((1, 3))


@functools.lru_cache(maxsize=256)
def _group_operations(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Operations of a group named without them, where the name leaves no choice of setting."""
    bare = "".join(name.split())
    if bare.isdigit():
        group = gemmi.find_spacegroup_by_number(int(bare))
    else:
        group = gemmi.find_spacegroup_by_name(bare)
    if group is None or sum(other.hm == group.hm for other in gemmi.spacegroup_table()) > 1:
        raise _NotOrdinary(f"the space group '{name}' without its operations")
    return _parse_operations(tuple(op.triplet() for op in group.operations()))


def _snap_thirds(coords: np.ndarray) -> np.ndarray:
    """0.3333 and 0.6667 as 1/3 and 2/3, so that special positions close under the operations."""
    snapped = coords.copy()
    for third in (1 / 3, 2 / 3):
        snapped[np.abs(coords / third - 1) <= THIRD_TOLERANCE] = third
    return snapped


def expand(
    coords: np.ndarray, rotations: np.ndarray, translations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """All images of the sites under the operations, equal images once.

    Args:
        coords: ``(sites, 3)`` fractional.
        rotations: ``(operations, 3, 3)``.
        translations: ``(operations, 3)``.

    Returns:
        ``(atoms, 3)`` in [0, 1], and ``(atoms,)`` the site that each is an image of.
    """
    images = np.einsum("oij,sj->soi", rotations, coords) + translations
    images -= np.floor(images)
    if len(rotations) == 1:
        return images[:, 0], np.arange(len(coords))
    keep = np.concatenate([_first_images(part) for part in _portions(images)])
    rows = np.repeat(np.arange(len(coords)), keep.sum(1))
    return images[keep], rows


def _portions(images: np.ndarray) -> list[np.ndarray]:
    """The orbits in groups small enough for a table of all pairs of images."""
    step = max(1, _TABLE // images.shape[1] ** 2)
    return [images[i : i + step] for i in range(0, len(images), step)]


def _first_images(images: np.ndarray) -> np.ndarray:
    """``(sites, operations)``: which images equal none that was kept before, as pymatgen does."""
    count = images.shape[1]
    delta = images[:, :, None] - images[:, None]
    delta -= np.round(delta)
    earlier = (np.abs(delta) < SITE_TOLERANCE).all(-1) & np.tril(np.ones((count, count), bool), -1)
    keep = ~earlier.any(-1)
    explained = (earlier & keep[:, None]).any(-1)
    for site in np.flatnonzero((~keep & ~explained).any(-1)):
        # Near the tolerance, equal to one that equals another is not yet equal to that other.
        for index in np.flatnonzero(~keep[site]):
            keep[site, index] = not (earlier[site, index] & keep[site]).any()
    return np.asarray(keep)


def _coincide(coords: np.ndarray) -> bool:
    """Whether any two of the sites are one."""
    count = len(coords)
    if count > TREE_FROM:
        from scipy.spatial import cKDTree

        boxed = coords - np.floor(coords)
        # Sites on one spot first: the tree would list every pair of them.
        if len(np.unique(np.floor(boxed / SITE_TOLERANCE), axis=0)) < count:
            return True
        tree = cKDTree(np.where(boxed >= 1.0, 0.0, boxed), boxsize=1.0)
        return bool(tree.query_pairs(SITE_TOLERANCE, p=np.inf, output_type="ndarray").size)
    delta = coords[:, None] - coords[None]
    delta -= np.round(delta)
    return int((np.abs(delta) < SITE_TOLERANCE).all(-1).sum()) > count


def _with_pymatgen(raw: bytes, name: str, source: str, reason: str) -> list[PlainCrystal]:
    """The crystals as pymatgen's parser understands the text."""
    from pymatgen.io.cif import CifParser

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # Tolerance 1.02: occupancies are rounded to two or three digits in print.
            parser = CifParser.from_str(raw.decode("utf-8", "replace"), occupancy_tolerance=1.02)
            structures = parser.parse_structures(primitive=False, on_error="ignore")
        # Parsers of foreign text fail in every way there is; each is a recorded problem here.
        except Exception as error:
            return [_explain(name, source, reason, shorten(error))]
    if not structures:
        return [_explain(name, source, reason, "no structure found")]
    names = [name] if len(structures) == 1 else [f"{name}#{i + 1}" for i in range(len(structures))]
    return [from_sites(s, n, source) for s, n in zip(structures, names, strict=True)]


def _explain(name: str, source: str, reason: str, detail: str) -> PlainCrystal:
    causes = [w for w in _UNHELPFUL if w in detail]
    text = reason if causes else f"{reason}; pymatgen says: {detail}"
    return failed(name, source, f"cannot be read: {text}; correct or remove it")


#: What pymatgen says when it has nothing to say.
_UNHELPFUL = ("Invalid CIF file with no structures", "no structure found")


def from_sites(structure: object, name: str, source: str) -> PlainCrystal:
    """A pymatgen structure as arrays, without oxidation states; disordered ones keep their sites.

    Args:
        structure: a pymatgen ``Structure``.
        name: id of the crystal.
        source: where it came from.
    """
    lattice = np.array(structure.lattice.matrix)  # type: ignore[attr-defined]
    coords = np.array(structure.frac_coords).reshape(-1, 3)  # type: ignore[attr-defined]
    species: list[dict[int, float]] = []
    ordered = True
    for site in structure:  # type: ignore[attr-defined]
        shares: dict[int, float] = {}
        for element, share in site.species.items():
            number = int(getattr(element, "Z", 0))
            if type(element).__name__ == "DummySpecies" or number < 1:
                return failed(
                    name,
                    source,
                    f"unknown element '{element}'; correct its symbol",
                    "unknown element",
                )
            shares[number] = shares.get(number, 0.0) + float(share)
        ordered &= len(shares) == 1 and abs(sum(shares.values()) - 1) < 1e-6
        species.append(shares)
    if ordered:
        numbers = np.array([next(iter(s)) for s in species], dtype=np.int64)
        return PlainCrystal(name, lattice, coords, numbers, {}, source)
    return PlainCrystal(name, lattice, source=source, occupancy=Occupancy(coords, tuple(species)))
