// The C interface of ops/csrc/interface.h over the CUDA kernels, run on the CPU: the unmodified
// device code and the unmodified choice of kernel and launch.
#include "cuda_shim.h"

#include "cuda/dispatch.h"

namespace detbox {

float4 scratch[kScratchBytes / sizeof(float4)];

namespace {

constexpr int32_t kDiverged = 1;

struct Arguments {
  void (*kernel)(Sizes, DetboxTensors);
  const Sizes& sizes;
  const DetboxTensors& tensors;
};

void run_lane(const void* context) {
  const Arguments& arguments = *static_cast<const Arguments*>(context);
  arguments.kernel(arguments.sizes, arguments.tensors);
}

int32_t launch(
    void (*kernel)(Sizes, DetboxTensors), unsigned blocks, unsigned threads, size_t bytes,
    const Sizes& sizes, const DetboxTensors& tensors) {
  const Arguments arguments = {kernel, sizes, tensors};
  blockDim.x = threads;
  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
    // Shared memory begins with anything.
    std::fill_n(reinterpret_cast<float*>(scratch), bytes / sizeof(float), NAN);
    for (unsigned first = 0; first < threads; first += kLanes)
      if (!warp.run(first, run_lane, &arguments)) return kDiverged;
  }
  return 0;
}

}  // namespace
}  // namespace detbox

extern "C" {

int32_t detbox_abi() { return DETBOX_ABI; }

int32_t detbox_forward(const DetboxProblem* problem, const DetboxTensors* tensors, void*) {
  return detbox::dispatch(*problem, *tensors, false, detbox::launch);
}

int32_t detbox_backward(const DetboxProblem* problem, const DetboxTensors* tensors, void*) {
  return detbox::dispatch(*problem, *tensors, true, detbox::launch);
}

const char* detbox_error(int32_t code) {
  const char* reason = detbox::refusal(code);
  return reason ? reason : "lanes of a warp went through different numbers of shuffles";
}
}
