"""Requests in words: a grammar, which says what it understood, ignored and found contradictory."""

from crystal_diffusion.generation.words.reading import TextReading, read_text

__all__ = ["TextReading", "read_text"]
