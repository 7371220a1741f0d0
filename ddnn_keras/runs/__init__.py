"""A training from the command line to its run directory."""
