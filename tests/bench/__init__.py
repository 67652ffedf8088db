"""Tests of the comparison of optimizers."""
