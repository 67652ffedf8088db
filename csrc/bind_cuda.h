// The CUDA plans in Python.
#pragma once

#include <pybind11/pybind11.h>

namespace ql {

void bind_cuda(pybind11::module_& module);

}  // namespace ql
