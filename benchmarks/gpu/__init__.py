"""The goals of the GPU kernels, measured on one GPU: `python -m benchmarks.gpu`; `make gpu` runs it after the tests."""
