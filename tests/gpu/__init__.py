"""Tests that need a GPU; without one all of them are skipped. `python -m tests.gpu.run` builds, runs them and measures."""
