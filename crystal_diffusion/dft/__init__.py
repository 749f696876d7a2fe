"""Inputs for density-functional codes, and what comes back from them."""
