// Runs the kernels of detbox/ops/ms_deform_attn.metal on the CPU, one simdgroup after another: its
// threads are fibers that take turns at every shuffle.
#include <ucontext.h>

#include <functional>
#include <map>
#include <string>
#include <utility>

#include "ms_deform_attn.metal"

#undef device
#undef constant
#undef thread
#undef kernel

namespace {

constexpr unsigned kWidth = 32;
enum Outcome { kFine = 0, kNoKernel = 1, kApart = 2, kAbsent = 3 };
using Kernel = std::function<void(void** buffers, uint thread_index)>;

struct Fiber {
  ucontext_t context;
  alignas(16) char stack[1 << 16];
  bool ended;
  unsigned shuffles, mask;
  float given[2];  // by parity: a neighbour may be one shuffle ahead
};

struct Simdgroup {
  Fiber fibers[kWidth];
  ucontext_t scheduler;
  Kernel kernel;
  void** buffers;
  unsigned first, active, current;
  Outcome outcome;
} group;

void run_fiber() {
  group.kernel(group.buffers, group.first + group.current);
  group.fibers[group.current].ended = true;
}

void start(Fiber& fiber) {
  fiber.ended = false;
  fiber.shuffles = fiber.mask = 0;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = sizeof fiber.stack;
  fiber.context.uc_link = &group.scheduler;
  makecontext(&fiber.context, run_fiber, 0);
}

// All must now have ended, or wait at the same shuffle.
void check_together() {
  const Fiber& one = group.fibers[0];
  for (unsigned i = 1; i < group.active; ++i) {
    const Fiber& other = group.fibers[i];
    const bool same = one.shuffles == other.shuffles && one.mask == other.mask;
    if (one.ended != other.ended || !same) group.outcome = kApart;
  }
}

void run_simdgroup() {
  for (unsigned i = 0; i < group.active; ++i) start(group.fibers[i]);
  while (!group.fibers[0].ended && group.outcome == kFine) {
    for (unsigned i = 0; i < group.active; ++i) {
      // Every other simdgroup backwards: who relies on an order without a shuffle is found out.
      group.current = group.first / kWidth % 2 ? group.active - 1 - i : i;
      swapcontext(&group.scheduler, &group.fibers[group.current].context);
    }
    check_together();
  }
}

// A kernel's parameters: tensors, the Problem, the thread's index.
template <typename P>
struct Parameter;
template <typename T>
struct Parameter<T*> {
  static T* of(void** buffer, uint) { return static_cast<T*>(*buffer); }
};
template <>
struct Parameter<detbox::Problem&> {
  static detbox::Problem& of(void** buffer, uint) { return *static_cast<detbox::Problem*>(*buffer); }
};
template <>
struct Parameter<uint> {
  static uint of(void**, uint thread_index) { return thread_index; }
};

template <typename... P, size_t... I>
Kernel any_kernel(void (*kernel)(P...), std::index_sequence<I...>) {
  return [kernel](void** buffers, uint thread_index) {
    kernel(Parameter<P>::of(buffers + I, thread_index)...);
  };
}

template <typename... P>
Kernel any_kernel(void (*kernel)(P...)) {
  return any_kernel(kernel, std::index_sequence_for<P...>());
}

#define NAMED(kernel) {#kernel, any_kernel(kernel)}
#define BOTH(types) NAMED(attend_forward_##types), NAMED(attend_backward_##types)

const std::map<std::string, Kernel> kKernels = {
    BOTH(float_float), BOTH(half_half), BOTH(half_float),
#if __METAL_VERSION__ >= 310
    BOTH(bfloat_bfloat), BOTH(bfloat_float),
#endif
};

}  // namespace

namespace metal {

float simd_shuffle_xor(float number, ushort mask) {
  Fiber& fiber = group.fibers[group.current];
  const unsigned turn = fiber.shuffles++ % 2, other = group.current ^ mask;
  fiber.given[turn] = number;
  fiber.mask = mask;
  swapcontext(&fiber.context, &group.scheduler);
  if (other < group.active) return group.fibers[other].given[turn];
  group.outcome = kAbsent;
  return NAN;
}

}  // namespace metal

extern "C" int metal_launch(const char* name, void** buffers, uint64_t threads) {
  const auto found = kKernels.find(name);
  if (found == kKernels.end()) return kNoKernel;
  group.kernel = found->second;
  group.buffers = buffers;
  group.outcome = kFine;
  for (uint64_t first = 0; first < threads && group.outcome == kFine; first += kWidth) {
    group.first = unsigned(first);
    group.active = unsigned(threads - first < kWidth ? threads - first : kWidth);
    run_simdgroup();
  }
  return group.outcome;
}
