"""The step in Triton: the mirror of csrc/core, for machines where nothing was compiled. Needs torch and triton alone."""
