"""Requests in words: a grammar, which says what it understood, ignored and found contradictory."""

from crystal_diffusion.generation.words.reading import Reading, read_text

__all__ = ["Reading", "read_text"]
