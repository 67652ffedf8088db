"""The training demo behind ``python -m qlangevin train``."""
