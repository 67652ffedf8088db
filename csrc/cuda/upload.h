// Small tables to the device as arguments of a kernel: asynchronous, in the stream's order, without memory that must outlive the
// call, and kept by a graph as they were.
#pragma once

#include "gpu.h"

namespace ql::cuda {

template <int words>
struct UploadArguments {
  uint64_t* to;
  int64_t count;
  uint64_t values[words];
};

constexpr int kUploadThreads = 128;
constexpr int kSmallUpload = 128, kLargeUpload = 4064;  // a launch takes 32,764 bytes of arguments
static_assert(sizeof(UploadArguments<kLargeUpload>) <= 32764);

template <int words>
__global__ void __launch_bounds__(kUploadThreads) upload_kernel(const __grid_constant__ UploadArguments<words> a) {
  for (int i = place().thread; i < a.count; i += kUploadThreads) a.to[i] = a.values[i];
}

}  // namespace ql::cuda
