"""The tests; ``tests.crystals`` and ``tests.models`` hold what several of them build."""
