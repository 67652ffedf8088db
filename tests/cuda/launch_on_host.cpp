// See runtime_on_host.cpp.
#include "../../csrc/cuda/launch.cu"
