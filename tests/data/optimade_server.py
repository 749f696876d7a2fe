"""A real OPTIMADE server on loopback that holds crystals made here."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pymatgen.core import Lattice, Structure

_CATIONS = {
    "Li": 0.9,
    "Na": 1.16,
    "K": 1.52,
    "Mg": 0.86,
    "Ca": 1.14,
    "Sr": 1.32,
    "Ba": 1.49,
    "Mn": 0.97,
    "Fe": 0.92,
    "Zn": 0.88,
}
_ANIONS = {
    "F": 1.19,
    "Cl": 1.67,
    "Br": 1.82,
    "I": 2.06,
    "O": 1.26,
    "S": 1.7,
    "Se": 1.84,
    "Te": 2.07,
    "N": 1.32,
    "P": 1.9,
}


def two_hundred_crystals() -> list[tuple[str, Structure]]:
    """Ten cations with ten anions (Shannon radii, 1976), as rock salt and as caesium chloride."""
    found = []
    for cation, first in _CATIONS.items():
        for anion, second in _ANIONS.items():
            half = first + second
            salt = Lattice([[0, half, half], [half, 0, half], [half, half, 0]])
            cube = Lattice.cubic(2 * half / 3**0.5)
            for label, cell in (("salt", salt), ("cube", cube)):
                crystal = Structure(cell, [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])
                found.append((f"{label}/{cation}{anion}", crystal))
    return found


def entry(name: str, crystal: Structure, **labels: Any) -> dict[str, Any]:
    """A crystal as an OPTIMADE structure, labels without the prefix of the provider."""
    symbols = [site.specie.symbol for site in crystal]
    elements = sorted(set(symbols))
    counts = crystal.composition.reduced_composition
    reduced = "".join(f"{e}{int(counts[e]) if counts[e] > 1 else ''}" for e in elements)
    amounts = {e: symbols.count(e) for e in elements}
    order = sorted(amounts.values(), reverse=True)
    anonymous = "".join(
        f"{letter}{n // min(order) if n > min(order) else ''}"
        for letter, n in zip("ABCDEFGH", order, strict=False)
    )
    return {
        "id": name,
        "type": "structures",
        "attributes": {
            "last_modified": "2024-02-03T04:05:06Z",
            "elements": elements,
            "nelements": len(elements),
            "elements_ratios": [amounts[e] / len(symbols) for e in elements],
            "chemical_formula_reduced": reduced,
            "chemical_formula_descriptive": reduced,
            "chemical_formula_anonymous": anonymous,
            "dimension_types": [1, 1, 1],
            "nperiodic_dimensions": 3,
            "lattice_vectors": crystal.lattice.matrix.tolist(),
            "cartesian_site_positions": crystal.cart_coords.tolist(),
            "nsites": len(symbols),
            "species_at_sites": symbols,
            "species": [
                {"name": e, "chemical_symbols": [e], "concentration": [1.0]} for e in elements
            ],
            "structure_features": [],
            **labels,
        },
    }


@contextlib.contextmanager
def optimade_server(folder: Path, entries: list[dict[str, Any]]) -> Iterator[str]:
    """The address of a server of the reference implementation that holds these entries."""
    import uvicorn
    from optimade.server.config import ServerConfig
    from optimade.server.create_app import create_app

    data = folder / "entries.jsonl"
    header = {"x-optimade": {"meta": {"api_version": "1.2.0"}}}
    data.write_text("\n".join(json.dumps(line) for line in (header, *entries)) + "\n")
    config = ServerConfig(
        database_backend="mongomock",
        insert_test_data=False,
        insert_from_jsonl=str(data),
        log_dir=str(folder),
        provider={"name": "Test", "description": "Crystals of the tests", "prefix": "test"},
        provider_fields={
            "structures": [
                {"name": "band_gap", "type": "float", "unit": "eV", "description": "gap"},
                {"name": "functional", "type": "string", "description": "functional"},
            ]
        },
        page_limit=20,
        page_limit_max=60,
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(create_app(config), host="127.0.0.1", port=port, log_level="error")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
