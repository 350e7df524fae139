// What every kernel builds on: numbers, vectors of channels, sums over a group of lanes, and the
// (image, query, head) that a group serves.
#pragma once

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

#include <cmath>
#include <cstring>

#include "../interface.h"

namespace detbox {

constexpr int kThreads = 256;  // of a block, at most
constexpr unsigned kWarp = 0xffffffffu;
constexpr int kAllCorners = 15;

// Passed to the kernels by value: the shapes never cross the bus.
struct Sizes {
  int tokens, heads, width, queries, levels, points, reference_size;
  int tiles;        // blocks per image and head
  float half_part;  // 0.5 / points: share of a reference box that an offset of 1 spans
  int map_height[DETBOX_MAX_LEVELS], map_width[DETBOX_MAX_LEVELS], map_start[DETBOX_MAX_LEVELS];
};

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ void store(float* to, float x) { *to = x; }
__device__ __forceinline__ void store(__half* to, float x) { *to = __float2half_rn(x); }
__device__ __forceinline__ void store(__nv_bfloat16* to, float x) { *to = __float2bfloat16_rn(x); }

// N channels that travel in one instruction.
template <typename T, int N>
struct alignas(N * sizeof(T)) Vector {
  T channels[N];
};

template <typename T, int N>
__device__ __forceinline__ Vector<T, N> load_if(bool wanted, const T* from) {
  Vector<T, N> vector;
  if constexpr (N * sizeof(T) == sizeof(uint4)) {
    uint4 bits = {0, 0, 0, 0};
    if (wanted) bits = __ldg(reinterpret_cast<const uint4*>(from));
    memcpy(&vector, &bits, sizeof(bits));
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      store(&vector.channels[i], 0.0f);
      if (wanted) vector.channels[i] = __ldg(from + i);
    }
  }
  return vector;
}

template <int GROUP>
__device__ __forceinline__ int lane_of_group() {
  return threadIdx.x % GROUP;
}

template <int GROUP>
__device__ __forceinline__ float group_sum(float x) {
#pragma unroll
  for (int mask = GROUP / 2; mask > 0; mask /= 2) x += __shfl_xor_sync(kWarp, x, mask);
  return x;
}

template <int GROUP>
__device__ __forceinline__ float group_max(float x) {
#pragma unroll
  for (int mask = GROUP / 2; mask > 0; mask /= 2) x = fmaxf(x, __shfl_xor_sync(kWarp, x, mask));
  return x;
}

// What a group works on: one (image, query, head).
template <typename T>
struct Attention {
  const Sizes& sizes;
  const DetboxTensors& tensors;
  int64_t row = 0;          // of (image, query, head)
  int64_t first_value = 0;  // element of value at which (image, head) begins
  bool exists = false;  // groups past the last query repeat it, but read no value and write nothing
  const void* offsets = nullptr;
  const T* logits = nullptr;
  const float* references = nullptr;
  float largest = 0.0f, scale = 1.0f;  // a logit's softmax is exp(logit - largest) * scale

  __device__ __forceinline__ int samples() const { return sizes.levels * sizes.points; }
  __device__ __forceinline__ int step() const { return sizes.heads * sizes.width; }

  __device__ __forceinline__ float weight(int sample) const {
    const float logit = to_float(__ldg(logits + sample));
    return sizes.reference_size ? expf(logit - largest) * scale : logit;
  }

  // Coordinate 0 (x) or 1 (y) of a sample.
  __device__ __forceinline__ float offset(int sample, int axis) const {
    const int i = 2 * sample + axis;
    if (sizes.reference_size == 0) return __ldg(static_cast<const float*>(offsets) + i);
    return to_float(__ldg(static_cast<const T*>(offsets) + i));
  }

  __device__ __forceinline__ float reference(int level, int i) const {
    return __ldg(references + level * sizes.reference_size + i);
  }

  template <int GROUP>
  __device__ __forceinline__ void prepare_softmax() {
    largest = -INFINITY;
#pragma unroll 2  // of 16 samples a lane of a float32 head of 32 channels has two
    for (int i = lane_of_group<GROUP>(); i < samples(); i += GROUP)
      largest = fmaxf(largest, to_float(__ldg(logits + i)));
    largest = group_max<GROUP>(largest);
    float sum = 0.0f;
#pragma unroll 2
    for (int i = lane_of_group<GROUP>(); i < samples(); i += GROUP)
      sum += expf(to_float(__ldg(logits + i)) - largest);
    scale = 1.0f / group_sum<GROUP>(sum);
  }
};

template <typename T, int GROUP>
__device__ __forceinline__ Attention<T> attention_of(
    const Sizes& sizes, const DetboxTensors& tensors) {
  const unsigned head = blockIdx.x % sizes.heads, tile = blockIdx.x / sizes.heads % sizes.tiles;
  const int64_t image = blockIdx.x / sizes.heads / sizes.tiles;
  const int query = tile * (blockDim.x / GROUP) + threadIdx.x / GROUP;
  const int64_t place = image * sizes.queries + min(query, sizes.queries - 1);
  Attention<T> attention = {sizes, tensors};
  attention.row = place * sizes.heads + head;
  attention.first_value = (image * sizes.tokens * sizes.heads + head) * sizes.width;
  attention.exists = query < sizes.queries;
  const int64_t sample = attention.row * attention.samples();
  const int bytes = sizes.reference_size ? sizeof(T) : sizeof(float);
  attention.offsets = static_cast<const char*>(tensors.offsets) + 2 * sample * bytes;
  attention.logits = static_cast<const T*>(tensors.logits) + sample;
  attention.references = static_cast<const float*>(tensors.references) +
                         place * sizes.levels * sizes.reference_size;
  if (sizes.reference_size) attention.template prepare_softmax<GROUP>();
  return attention;
}

}  // namespace detbox
