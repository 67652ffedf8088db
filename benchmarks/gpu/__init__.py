"""The goals of the CUDA kernels, measured on one GPU: `python -m benchmarks.gpu`; `make gpu` runs it after the tests."""
