"""Crystals from databases: OPTIMADE, the Materials Project, COD, and exports of the ICSD."""
