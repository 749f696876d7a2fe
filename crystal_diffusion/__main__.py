"""`python -m crystal_diffusion` is the command `crystal-diffusion`."""

from crystal_diffusion.cli import main

main()
