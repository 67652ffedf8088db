"""Quantized and Langevin optimizers for PyTorch."""
