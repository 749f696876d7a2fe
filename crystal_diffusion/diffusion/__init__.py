"""Noise processes, the models that undo them, and the sampler; tensors only."""
