// See runtime_on_host.cpp.
#include "../../csrc/cuda/rules.cu"
