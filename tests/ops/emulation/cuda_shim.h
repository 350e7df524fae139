// What ops/csrc/cuda/ms_deform_attn.cuh takes from CUDA, for a C++ compiler.
//
// The 32 lanes of a warp are fibers that take turns at every shuffle. A lane hands over its value,
// lets the other 31 hand over theirs, and reads. Warps, which do not know each other, run one after
// another.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstring>

#define __CUDA_ARCH__ EMULATED_ARCH
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
#define __device__
#define __global__
#define __shared__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)

using std::max;
using std::min;

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct Dimensions {
  unsigned x;
};
static Dimensions threadIdx, blockIdx, blockDim;

// ---- Numbers of two bytes ----------------------------------------------------------------------

struct __half {
  uint16_t bits;
};
struct __nv_bfloat16 {
  uint16_t bits;
};

template <typename To, typename From>
To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

inline float __bfloat162float(__nv_bfloat16 x) {
  return same_bits<float>(uint32_t(x.bits) << 16);
}

inline __nv_bfloat16 __float2bfloat16_rn(float x) {
  const uint32_t bits = same_bits<uint32_t>(x);
  if (x != x) return {0x7fff};
  return {uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

// Shifted into place, a half is a float whose exponent is 112 too small: also a subnormal one.
inline float __half2float(__half x) {
  const uint32_t sign = uint32_t(x.bits & 0x8000) << 16, size = x.bits & 0x7fff;
  const float magnitude = size < 0x7c00 ? same_bits<float>(size << 13) * 0x1p112f
                                        : same_bits<float>(0x7f800000 | size << 13);
  return same_bits<float>(same_bits<uint32_t>(magnitude) | sign);
}

inline __half __float2half_rn(float x) {
  const uint32_t bits = same_bits<uint32_t>(x), size = bits & 0x7fffffff;
  const uint16_t sign = bits >> 16 & 0x8000;
  if (x != x) return {0x7fff};
  if (size >= 0x477ff000) return {uint16_t(sign | 0x7c00)};  // 65520 rounds to infinity
  // Below 2^-14 a half counts in steps of 2^-24, which are the last bits of 0.5 + x.
  if (size < 0x38800000)
    return {uint16_t(sign | (same_bits<uint32_t>(same_bits<float>(size) + 0.5f) - 0x3f000000))};
  return {uint16_t(sign | ((size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13))};
}

// ---- Memory ------------------------------------------------------------------------------------

template <typename T>
T __ldg(const T* from) {
  return *from;
}

inline void atomicAdd(float* to, float x) { *to += x; }

inline void atomicAdd(float4* to, float4 x) {
  *to = {to->x + x.x, to->y + x.y, to->z + x.z, to->w + x.w};
}

// ---- Warps -------------------------------------------------------------------------------------

constexpr int kLanes = 32;

class Warp {
 public:
  Warp() {
    for (Lane& lane : lanes_) {
      getcontext(&lane.start);
      lane.start.uc_stack.ss_sp = lane.stack;
      lane.start.uc_stack.ss_size = sizeof lane.stack;
      makecontext(&lane.start, live, 0);
    }
  }

  // Runs `body(context)` on every lane. False: some lanes went through more shuffles than others.
  bool run(unsigned first_thread, void (*body)(const void*), const void* context) {
    body_ = body;
    context_ = context;
    first_ = first_thread;
    running_ = kLanes;
    for (Lane& lane : lanes_) lane.turns = 0, lane.done = false;
    begin();
    return std::all_of(lanes_, lanes_ + kLanes,
                       [&](const Lane& lane) { return lane.turns == lanes_[0].turns; });
  }

  // Gives a value away and returns the one of lane `from`.
  uint32_t exchange(uint32_t value, int from) {
    const int own = current_, half = lanes_[own].turns++ % 2;  // a lane may be one turn ahead
    given_[half][own] = value;
    take_turns();
    return given_[half][from];
  }

  int lane() const { return current_; }

 private:
  struct Lane {
    alignas(16) char stack[1 << 16];
    ucontext_t start;
    jmp_buf resume;
    bool started = false, done = false;
    unsigned turns;
  };

  static void live();

  __attribute__((noinline)) void begin() {
    if (!_setjmp(caller_)) enter(0);
  }

  __attribute__((noinline)) void take_turns() {
    const int own = current_;
    if (_setjmp(lanes_[own].resume)) return;
    if (running_ == 0) _longjmp(caller_, 1);
    enter((own + 1) % kLanes);
  }

  // jmp_buf, since ucontext asks the kernel at every switch.
  [[noreturn]] void enter(int lane) {
    current_ = lane;
    threadIdx.x = first_ + lane;
    if (lanes_[lane].started) _longjmp(lanes_[lane].resume, 1);
    lanes_[lane].started = true;
    setcontext(&lanes_[lane].start);
    __builtin_unreachable();
  }

  void (*body_)(const void*) = nullptr;
  const void* context_ = nullptr;
  unsigned first_ = 0;
  int current_ = 0, running_ = 0;
  jmp_buf caller_;
  Lane lanes_[kLanes];
  uint32_t given_[2][kLanes];
};

static Warp warp;

// A lane's life: it outlasts the bodies, since making a context is dear.
inline void Warp::live() {
  for (;;) {
    warp.body_(warp.context_);
    Lane& lane = warp.lanes_[warp.current_];
    lane.done = true;
    --warp.running_;
    while (lane.done) warp.take_turns();
  }
}

template <typename T>
T __shfl_sync(unsigned, T value, int lane, int width = kLanes) {
  const int group = warp.lane() / width * width;
  return same_bits<T>(warp.exchange(same_bits<uint32_t>(value), group + lane % width));
}

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return same_bits<T>(warp.exchange(same_bits<uint32_t>(value), warp.lane() ^ mask));
}

inline void __syncwarp() { warp.exchange(0, 0); }
