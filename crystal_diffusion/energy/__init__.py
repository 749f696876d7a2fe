"""Energies of interatomic potentials: relaxation, reference energies, hulls."""
