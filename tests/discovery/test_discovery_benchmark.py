"""The figures of a benchmark of discovery: intervals, names of types, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.discovery.benchmark import (
    SourceFigures,
    benchmark_discovery,
    figures_table,
    type_label,
)
from crystal_diffusion.errors import InputError
from crystal_diffusion.evaluation.metrics import wilson
from crystal_diffusion.generation.loading import load
from crystal_diffusion.known.index import load_known


def test_intervals_are_wilsons() -> None:
    assert wilson(3, 40) == pytest.approx((0.0258, 0.1986), abs=1e-3)
    assert (wilson(0, 10)[0], wilson(10, 10)[1]) == pytest.approx((0.0, 1.0))


def test_a_type_has_the_name_the_library_gives_it() -> None:
    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    label = type_label(salt)
    assert label.startswith("AB_2_225")
    assert label in {str(name).split("#")[0] for name in load_known().library.type_label}


def test_the_table_gives_shares_of_what_was_asked_for_and_names_the_index() -> None:
    figures = SourceFigures(
        "noise", 40, 40, 38, 36, 30, {"diep": (1, 3), "other": (0, 5)}, {"other": 2}, 1, 2, 1, 90.0
    )
    text = figures_table([figures], "10 known crystals")
    assert "10 known crystals" in text and "| and at most 0.1 eV/atom, diep | 7.5 % (2.6 to" in text
    assert "| other cannot be asked | 2 |" in text and "| minutes | 1.5 |" in text


def test_unknown_sources_and_nothing_at_all_are_refused(tmp_path: Path) -> None:
    for sources, n in ((("magic",), 1), ((), 1), (("noise",), 0)):
        with pytest.raises(InputError, match="choose from noise, chosen-noise"):
            benchmark_discovery(load(), load_known(), tmp_path, n=n, sources=sources)
