// The module qlangevin._gpu_on_host: what qlangevin._native offers of CUDA, compiled for the host.
#include "../../csrc/bind_cuda.h"
#include "../../csrc/core/scalars.h"

PYBIND11_MODULE(_gpu_on_host, m) {
  m.doc() = "The CUDA kernels' own source, run by loops over blocks and threads.";
  ql::bind_cuda(m);
  m.def("norm_of", &ql::norm_of);
  m.def("clip_coefficient", &ql::clip_coefficient);
  m.def("compensation_factor", &ql::compensation_factor);
}
