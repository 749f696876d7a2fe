"""Known crystals: the shipped index, what is new against it, and the energies of its hulls.

Nothing that proposes, ranks or learns may import this room: it holds rows of validation and test
sets, which benchmarks ask for (`tests/known/test_blind.py`).
"""
