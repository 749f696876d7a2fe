"""Scores of candidates and the order that follows from them."""
