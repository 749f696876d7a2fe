"""Stages from candidates to a short list, and the store of what was found."""
