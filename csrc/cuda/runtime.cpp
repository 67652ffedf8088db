#include "runtime.h"

#include <cuda_runtime_api.h>

namespace ql::cuda {
namespace {

void check(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // forgets it, unless the device is lost
  throw CudaError(std::string(call) + ": " + cudaGetErrorName(error) + ": " + cudaGetErrorString(error));
}

}  // namespace

std::string why_unusable(int device) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    cudaGetLastError();
    return std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
  }
  if (device >= count) return "there are " + std::to_string(count) + " CUDA devices";
  int major = 0, minor = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "cudaDeviceGetAttribute");
  if (10 * major + minor < QL_OLDEST_ARCHITECTURE)
    return "its compute capability is " + std::to_string(major) + "." + std::to_string(minor) +
           ", and the oldest of this build " + std::to_string(QL_OLDEST_ARCHITECTURE / 10) + "." +
           std::to_string(QL_OLDEST_ARCHITECTURE % 10);
  return "";
}

DeviceScope::DeviceScope(int device) : before_(0) {
  check(cudaGetDevice(&before_), "cudaGetDevice");
  check(cudaSetDevice(device), "cudaSetDevice");
}

DeviceScope::~DeviceScope() {
  cudaSetDevice(before_);
}

bool is_capturing(Stream stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &status), "cudaStreamIsCapturing");
  return status != cudaStreamCaptureStatusNone;
}

void copy_to_device(void* to, const void* from, size_t bytes, Stream stream) {
  // From pageable memory: staged before it returns.
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream)), "cudaMemcpyAsync");
}

void copy_to_host(void* to, const void* from, size_t bytes, Stream stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, static_cast<cudaStream_t>(stream)), "cudaMemcpyAsync");
  check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "cudaStreamSynchronize");
}

void launch_kernel(const void* kernel, int64_t blocks, int threads, Stream stream, void* arguments) {
  if (blocks > 0x7FFFFFFF) throw CudaError("a launch of " + std::to_string(blocks) + " blocks; at most 2^31 - 1 are possible");
  const dim3 grid(static_cast<unsigned>(blocks)), block(static_cast<unsigned>(threads));
  check(cudaLaunchKernel(kernel, grid, block, &arguments, 0, static_cast<cudaStream_t>(stream)), "cudaLaunchKernel");
}

}  // namespace ql::cuda
