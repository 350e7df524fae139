// The CPU library: checks, the choice of instruction set, and threads over images, heads, queries.
#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "kernel.h"

namespace {

enum Code : int32_t { kFine, kType, kLevels, kMemory };

const Kernel& kernel() {
#ifdef DETBOX_X86
  static const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                         __builtin_cpu_supports("bmi2");
  if (v3) return kernel_v3;
#endif
  return kernel_baseline;
}

int32_t check(const DetboxProblem& problem) {
  const bool known = problem.type == DETBOX_FLOAT32 || problem.type == DETBOX_FLOAT64 ||
                     problem.type == DETBOX_BFLOAT16;
  if (!known) return kType;
  return problem.levels > DETBOX_MAX_LEVELS ? kLevels : kFine;
}

// Runs task(0 .. count - 1) on `threads` threads, the caller's among them.
template <class Task>
int32_t run(int64_t count, int64_t threads, Task task) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> fine{true};
  const auto work = [&] {
    for (int64_t index; (index = next++) < count;) {
      if (!task(index)) fine = false;
    }
  };
  std::vector<std::thread> others;
  for (int64_t k = 1; k < std::min(threads, count); ++k) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
  return fine ? kFine : kMemory;
}

}  // namespace

extern "C" {

int32_t detbox_abi() { return DETBOX_ABI; }

const char* detbox_cpu_variant() { return &kernel() == &kernel_baseline ? "baseline" : "x86-64-v3"; }

int32_t detbox_forward(const DetboxProblem* problem, const DetboxTensors* tensors, void*) {
  if (const int32_t code = check(*problem)) return code;
  const int64_t slices = problem->batch * problem->heads;
  if (!slices || !problem->queries) return kFine;
  // A few blocks per thread, so that none waits long for the last one.
  const int64_t blocks = std::max<int64_t>(1, 2 * problem->threads / slices);
  const int64_t size = (problem->queries + blocks - 1) / blocks;
  return run(slices * blocks, problem->threads, [&](int64_t index) {
    const int64_t first = index % blocks * size;
    const int64_t last = std::min(problem->queries, first + size);
    return kernel().forward(*problem, *tensors, index / blocks, first, last);
  });
}

// One task per image and head: it alone writes these rows of grad_value, in the order of the
// queries, so that sums are equal on any number of threads.
int32_t detbox_backward(const DetboxProblem* problem, const DetboxTensors* tensors, void*) {
  if (const int32_t code = check(*problem)) return code;
  return run(problem->batch * problem->heads, problem->threads, [&](int64_t slice) {
    return kernel().backward(*problem, *tensors, slice);
  });
}

const char* detbox_error(int32_t code) {
  switch (code) {
    case kFine:
      return "no error";
    case kType:
      return "the CPU op takes float32, float64 and bfloat16; try op=pytorch";
    case kLevels:
      return "the CPU op takes at most 16 levels; try op=pytorch";
    default:
      return "out of memory";
  }
}
}
