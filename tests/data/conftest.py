"""A real OPTIMADE server with two hundred crystals, started once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from optimade_server import entry, optimade_server, two_hundred_crystals


@pytest.fixture(scope="session")
def optimade_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("optimade")
    entries = [
        entry(name, crystal, band_gap=1 + index / 100, functional="PBEsol")
        for index, (name, crystal) in enumerate(two_hundred_crystals())
    ]
    with optimade_server(folder, entries) as address:
        yield address
    shutil.rmtree(folder)
