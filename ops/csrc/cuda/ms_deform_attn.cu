// Launches the CUDA kernels behind the C interface of ops/csrc/interface.h.
//
// Nothing here waits, allocates or copies, so calls may be captured into a CUDA graph. They go to
// the current device.
#include <cuda_runtime.h>

#include <string>

#include "dispatch.h"

namespace {

#define DETBOX_TEXT(...) #__VA_ARGS__
#define DETBOX_EXPANDED(...) DETBOX_TEXT(__VA_ARGS__)

// nvcc's list, "800,860,900", as "8.0 8.6 9.0".
std::string built_for() {
  std::string listed = DETBOX_EXPANDED(__CUDA_ARCH_LIST__), names;
  for (size_t start = 0; start < listed.size();) {
    const size_t end = std::min(listed.find(',', start), listed.size());
    const int number = std::stoi(listed.substr(start, end - start));
    names += (names.empty() ? "" : " ") + std::to_string(number / 100) + "." +
             std::to_string(number / 10 % 10);
    start = end + 1;
  }
  return names;
}

std::string capability() {
  int device = 0, major = 0, minor = 0;
  const bool known =
      cudaGetDevice(&device) == cudaSuccess &&
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess;
  return known ? std::to_string(major) + "." + std::to_string(minor) : "of unknown capability";
}

std::string version(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

std::string no_image() {
  return "the CUDA library of detbox-ops is built for compute capability " + built_for() +
         ", this GPU is " + capability() + "; rebuild it: TORCH_CUDA_ARCH_LIST=" + capability() +
         " make ops";
}

std::string old_driver() {
  int driver = 0;
  cudaDriverGetVersion(&driver);
  if (driver == 0) return "this machine has no NVIDIA driver; install one or use the backend cpu";
  return "the CUDA library of detbox-ops is built with CUDA " + version(CUDART_VERSION) +
         ", this driver supports up to " + version(driver) +
         "; rebuild it with an older nvcc (make ops) or update the driver";
}

std::string explain(int32_t code) {
  if (const char* reason = detbox::refusal(code)) return reason;
  switch (code) {
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorUnsupportedPtxVersion:
      return no_image();
    case cudaErrorInsufficientDriver:
      return old_driver();
    default:
      const auto error = static_cast<cudaError_t>(code);
      return std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
  }
}

struct Launch {
  cudaStream_t stream;

  template <typename Kernel>
  int32_t operator()(
      Kernel kernel, unsigned blocks, unsigned threads, size_t scratch,
      const detbox::Sizes& sizes, const DetboxTensors& tensors) const {
    kernel<<<blocks, threads, scratch, stream>>>(sizes, tensors);
    return cudaGetLastError();
  }
};

}  // namespace

extern "C" {

int32_t detbox_abi() { return DETBOX_ABI; }

int32_t detbox_forward(const DetboxProblem* problem, const DetboxTensors* tensors, void* stream) {
  return detbox::dispatch(*problem, *tensors, false, Launch{static_cast<cudaStream_t>(stream)});
}

int32_t detbox_backward(const DetboxProblem* problem, const DetboxTensors* tensors, void* stream) {
  return detbox::dispatch(*problem, *tensors, true, Launch{static_cast<cudaStream_t>(stream)});
}

const char* detbox_error(int32_t code) {
  thread_local std::string reason;
  reason = explain(code);
  return reason.c_str();
}

// Compute capabilities, as TORCH_CUDA_ARCH_LIST would name them: "8.0 8.6 9.0".
const char* detbox_cuda_archs() {
  thread_local std::string names;
  names = built_for();
  return names.c_str();
}
}
