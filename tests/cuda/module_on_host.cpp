// The module qlangevin._gpu_on_host: what qlangevin._native offers of CUDA, compiled for the host.
#include <pybind11/stl.h>

#include "../../csrc/bind_cuda.h"
#include "../../csrc/convert.h"
#include "../../csrc/core/scalars.h"
#include "../../csrc/cuda/kernel.h"

namespace {

// Which kernel steps tensors of these types, as a number; 0 if none does.
uintptr_t find_step(const std::string& rule, const std::vector<std::string>& storage, bool observed, bool unusual) {
  const ql::StorageTypes types{ql::storage_of(storage.at(0)), ql::storage_of(storage.at(1)), ql::storage_of(storage.at(2))};
  return reinterpret_cast<uintptr_t>(ql::cuda::find_rule(rule).find_step(types, {observed, unusual}));
}

}  // namespace

PYBIND11_MODULE(_gpu_on_host, m) {
  m.doc() = "The CUDA kernels' own source, run by loops over blocks and threads.";
  ql::bind_cuda(m);
  m.def("find_step", &find_step);
  m.def("norm_of", &ql::norm_of);
  m.def("clip_coefficient", &ql::clip_coefficient);
  m.def("compensation_factor", &ql::compensation_factor);
}
