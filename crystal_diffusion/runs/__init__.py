"""The folder of a run: tables, structures, manifest."""
