#include "runtime.h"

#include <cuda_runtime_api.h>

namespace ql::cuda {
namespace {

void check(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // forgets it, unless the device is lost
  throw CudaError(std::string(call) + ": " + cudaGetErrorName(error) + ": " + cudaGetErrorString(error));
}

constexpr int kArchitectures[] = {QL_CUDA_ARCHITECTURES};  // in ascending order

// Machine code runs on later devices of its generation, and the newest one's PTX on every later device.
bool has_code_for(int device) {
  int newest = 0;
  for (const int architecture : kArchitectures) {
    if (architecture / 10 == device / 10 && architecture <= device) return true;
    newest = architecture;
  }
  return newest <= device;
}

std::string with_point(int tenths) {
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10);
}

// 13020 is 13.2.
std::string release(int version) {
  return with_point(version / 1000 * 10 + version % 1000 / 10);
}

std::string why_no_devices(cudaError_t error) {
  const std::string name = std::string(" (") + cudaGetErrorName(error) + ")";
  int driver = 0;
  if (error == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess) {
    if (driver == 0) return "no NVIDIA driver is installed" + name;
    return "the NVIDIA driver is too old: it is of CUDA " + release(driver) + ", and this build of " + release(CUDART_VERSION) +
           ": update the driver, or install again with an nvcc of CUDA " + release(driver) + name;
  }
  return std::string(cudaGetErrorString(error)) + name;
}

}  // namespace

std::string why_unusable(int device) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    cudaGetLastError();
    return why_no_devices(error);
  }
  if (device >= count) return "the number of CUDA devices is " + std::to_string(count);
  int major = 0, minor = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "cudaDeviceGetAttribute");
  const int capability = 10 * major + minor;
  if (has_code_for(capability)) return "";
  return "its compute capability is " + with_point(capability) + ", for which this build has no code: install again with " +
         "QLANGEVIN_CUDA_ARCHS=" + std::to_string(capability) + " in the environment";
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
