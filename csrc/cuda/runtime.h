// The little of the CUDA runtime that the plans use. Every call is checked: a failure throws CudaError with the CUDA error's
// name. Under QL_GPU_ON_HOST (the tests) "the device" is the host's memory, and a launch a loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#if defined(QL_GPU_ON_HOST)
#include "gpu.h"
#endif

namespace ql::cuda {

class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

using Stream = void*;  // a cudaStream_t

// Why the kernels cannot run on a device, in words; empty if they can.
std::string why_unusable(int device);

// Makes a device the current one, and the one before again at the end.
class DeviceScope {
 public:
  explicit DeviceScope(int device);
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int before_;
};

bool is_capturing(Stream stream);

// The host's memory may be used again when it returns.
void copy_to_device(void* to, const void* from, size_t bytes, Stream stream);

// Waits for the stream.
void copy_to_host(void* to, const void* from, size_t bytes, Stream stream);

void launch_kernel(const void* kernel, int64_t blocks, int threads, Stream stream, void* arguments);

template <class A>
void launch(void (*kernel)(A), int64_t blocks, int threads, Stream stream, A arguments) {
  if (blocks == 0) return;
#if defined(QL_GPU_ON_HOST)
  (void)stream;
  for (host_place.block = 0; host_place.block < blocks; ++host_place.block)
    for (host_place.thread = 0; host_place.thread < threads; ++host_place.thread) kernel(arguments);
#else
  launch_kernel(reinterpret_cast<const void*>(kernel), blocks, threads, stream, &arguments);
#endif
}

}  // namespace ql::cuda
