"""Figures of structure prediction agree with direct use of pymatgen and with their definitions."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import smact
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from smact.screening import pauling_test

from crystal_diffusion.errors import InputError
from crystal_diffusion.evaluation import evaluate_predictions
from crystal_diffusion.evaluation.validity import (
    composition_of,
    compositional_validity,
    structural_validity,
    structural_validity_published,
)
from crystal_diffusion.matching import StructureMatch


def published_composition(structure: Structure) -> bool:
    """The published definition, straightforward: a product over all oxidation states."""
    counts = Counter(site.specie.symbol for site in structure)
    common = math.gcd(*counts.values())
    symbols = list(counts)
    if len(symbols) == 1 or all(s in smact.metals for s in symbols):
        return True
    elements = [smact.Element(s) for s in symbols]
    states = [e.oxidation_states_smact14 or [] for e in elements]
    for charges in itertools.product(*states):
        total = sum(q * counts[s] // common for q, s in zip(charges, symbols, strict=True))
        if total == 0 and pauling_test(charges, [e.pauling_eneg for e in elements]):
            return True
    return False


def published_structure(structure: Structure) -> bool:
    """The published definition, straightforward."""
    matrix = structure.distance_matrix + np.diag(np.full(len(structure), 10.0))
    return bool(matrix.min() >= 0.5 and structure.volume >= 0.1)


def test_rates_and_rmse_agree_with_pymatgen(targets, candidates) -> None:
    table = evaluate_predictions(targets, candidates, ks=(1, 2, 3), processes=1)
    theirs = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    rms = {
        name: [theirs.get_rms_dist(c, targets[name]) for c in found]
        for name, found in candidates.items()
    }
    values = {name: [None if r is None else r[0] for r in found] for name, found in rms.items()}
    for k in (1, 2, 3):
        best = [
            min((v for v in found[:k] if v is not None), default=None) for found in values.values()
        ]
        hits = [v for v in best if v is not None]
        assert table.metric(f"match_rate@{k}").value == pytest.approx(len(hits) / len(targets))
        assert table.metric(f"match_rate@{k}").n == len(targets)
        assert table.metric(f"rmse@{k}").value == pytest.approx(np.mean(hits), abs=1e-9)
        assert table.metric(f"rmse@{k}").n == len(hits)
    first = [found[0] for found in values.values()]
    assert table.metric("match_rate, answered").value == pytest.approx(
        sum(v is not None for v in first) / len(targets)
    )
    charged = [0.5 if v is None else v for v in first] + [0.5]
    assert table.metric("cRMSE").value == pytest.approx(np.mean(charged), abs=1e-9)
    assert 0 < table.metric("match_rate@1").value < table.metric("match_rate@3").value < 1


def test_filtered_counts_only_valid_pairs(targets, candidates) -> None:
    table = evaluate_predictions(targets, candidates, processes=1)
    theirs = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    wanted = [
        theirs.get_rms_dist(found[0], targets[name]) is not None
        and published_structure(found[0])
        and published_structure(targets[name])
        and published_composition(targets[name])
        for name, found in candidates.items()
    ]
    assert table.metric("match_rate@1, filtered").value == pytest.approx(sum(wanted) / len(targets))
    # A squeezed copy matches (volumes are scaled) but is not valid, so the two figures differ.
    assert table.metric("match_rate@1, filtered").value < table.metric("match_rate@1").value


def test_space_groups_agree_with_pymatgen(targets, candidates) -> None:
    table = evaluate_predictions(targets, candidates, processes=1)
    for row in table.rows:
        assert (
            row["space_group"]
            == SpacegroupAnalyzer(targets[row["id"]], symprec=0.1).get_space_group_number()
        )


def test_validity_agrees_with_the_published_definition(targets, candidates) -> None:
    everything = [*targets.values(), *(c for found in candidates.values() for c in found)]
    for structure in everything:
        assert structural_validity_published(structure) == published_structure(structure)
    rng = np.random.default_rng(0)
    symbols = ["H", "Li", "C", "N", "O", "F", "Na", "S", "Cl", "Ti", "Fe", "Cu", "Br", "La", "He"]
    answers = set()
    for _ in range(150):
        kinds = rng.choice(symbols, rng.integers(1, 5), replace=False)
        species = [s for s in kinds for _ in range(rng.integers(1, 5))]
        made = Structure(Lattice.cubic(9), species, rng.random((len(species), 3)))
        wanted = published_composition(made)
        answers.add(wanted)
        assert compositional_validity(composition_of(made)) == wanted, made.formula
    assert answers == {True, False}


def test_own_images_count() -> None:
    """One atom in a cell of 0.4 Å is valid to the published code and not to ours."""
    needle = Structure(Lattice.orthorhombic(0.4, 5, 5), ["Fe"], [[0, 0, 0]])
    assert structural_validity_published(needle) and not structural_validity(needle)
    limit = Structure(Lattice.orthorhombic(0.5, 5, 5), ["Fe"], [[0, 0, 0]])
    assert structural_validity(limit)
    flat = Structure(Lattice(np.diag([3.0, 3, 1e-9])), ["Fe"], [[0, 0, 0]])
    assert not structural_validity(flat)


def test_metre_shares_candidates_of_one_composition() -> None:
    """Two polymorphs whose answers were exchanged: no target matches, both references are met."""
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2), ["Mg", "O"], [[0] * 3, [0.5] * 3])
    blende = Structure.from_spacegroup(
        "F-43m", Lattice.cubic(4.6), ["Mg", "O"], [[0] * 3, [0.25] * 3]
    )
    truth, answers = {"salt": salt, "blende": blende}, {"salt": [blende], "blende": [salt]}
    strict = StructureMatch(0.2, 0.2, 5)
    exchanged = evaluate_predictions(truth, answers, matcher=strict, processes=1)
    alone = evaluate_predictions(truth, answers, matcher=strict, processes=1, metre=False)
    assert exchanged.metric("match_rate, answered").value == 0
    assert exchanged.metric("METRe").value == 1
    assert exchanged.metric("cRMSE").value == pytest.approx(0, abs=1e-6)
    assert alone.metric("METRe").value == 0
    assert alone.metric("cRMSE").value == pytest.approx(0.2)


def test_ranked_and_drawn_order_are_different_figures(targets, candidates) -> None:
    """Candidate 1 in rank was drawn second: answered and @1 part."""
    draws = {name: [1, 0, 2] for name in candidates}
    table = evaluate_predictions(targets, candidates, draws=draws, processes=1)
    plain = evaluate_predictions(targets, candidates, processes=1)
    ranked = table.metric("match_rate, answered").value
    assert (
        ranked == plain.metric("match_rate, answered").value == plain.metric("match_rate@1").value
    )
    seconds = [r["rms"][1] is not None for r in plain.rows if r["rms"]]
    assert table.metric("match_rate@1").value == pytest.approx(sum(seconds) / len(targets))


def test_what_cannot_be_compared_is_a_recorded_miss(targets) -> None:
    flat = Structure(Lattice(np.diag([3.0, 3, 1e-9])), ["Mg", "O"], [[0] * 3, [0.5] * 3])
    salt = Structure(Lattice.cubic(3), ["Mg", "O"], [[0] * 3, [0.5] * 3])
    table = evaluate_predictions({"a": salt, "b": salt}, {"a": [flat], "b": [salt]}, processes=1)
    rate = table.metric("match_rate, answered")
    assert rate.value == 0.5 and rate.failed == ("a",)
    assert "without volume" in table.rows[0]["problems"][0]


def test_bad_input(targets, candidates) -> None:
    with pytest.raises(InputError, match="no target to evaluate"):
        evaluate_predictions({}, {})
    with pytest.raises(InputError, match="ids that are no target, for example 'who'"):
        evaluate_predictions(targets, {"who": candidates["t0"]})
    with pytest.raises(InputError, match="drawing order of t0"):
        evaluate_predictions(targets, candidates, draws={"t0": [0, 0, 1]})
    with pytest.raises(InputError, match="no figure 'luck'"):
        evaluate_predictions(targets, candidates, processes=1).metric("luck")


def test_every_figure_has_n_interval_and_definition(targets, candidates) -> None:
    table = evaluate_predictions(targets, candidates, processes=1)
    for result in table.metrics:
        assert result.definition and result.n > 0
        assert result.low <= result.value <= result.high
    text, document = table.to_text(), table.to_markdown()
    for result in table.metrics:
        assert result.name in text and f"| {result.name} |" in document
        assert result.definition in text and result.definition in document
