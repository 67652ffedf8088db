"""The comparison of optimizers behind ``python -m qlangevin bench``; benchmarks/ times the same cases."""
