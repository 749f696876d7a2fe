"""The training loop, its batches, checkpoints and several processes; tensors only."""
