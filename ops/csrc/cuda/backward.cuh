// The backward kernel: adds to the gradient of value, writes those of places and logits.
#pragma once

#include "samples.cuh"

// Before CUDA 12.1 there is no vector atomic, before sm_90 there is no instruction for it.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900 && \
    __CUDACC_VER_MAJOR__ * 100 + __CUDACC_VER_MINOR__ >= 1201
#define DETBOX_VECTOR_ATOMICS 1
#else
#define DETBOX_VECTOR_ATOMICS 0
#endif

namespace detbox {

// Per multiprocessor: leaves a thread 80 registers, or 128 where grad_output is held twice.
constexpr int kBackwardBlocks = DETBOX_VECTOR_ATOMICS ? 3 : 2;

// A float4 per sample of a group: first the dot products of grad_output with the four corners, then
// the gradients of x, y and weight, and the weight.
extern __shared__ float4 scratch[];

__device__ __forceinline__ void add_vector(float* to, float scale, const float* vector) {
#if DETBOX_VECTOR_ATOMICS
  const float4 sum = {scale * vector[0], scale * vector[1], scale * vector[2], scale * vector[3]};
  atomicAdd(reinterpret_cast<float4*>(to), sum);
#endif
}

// Adds `scale * grad_output` to the gradient of one cell. Without vector atomics neighbouring lanes
// take neighbouring channels, so that an instruction still fills whole sectors.
template <typename T, int VECTOR, int GROUP>
struct CellGradient {
  static constexpr bool vectors = DETBOX_VECTOR_ATOMICS && VECTOR % 4 == 0;
  float grad_output[VECTOR];
  float* grad_value;
  int left;  // channels from this lane's first to the head's last

  __device__ __forceinline__ CellGradient(
      const Attention<T>& attention, const T* from, const Vector<T, VECTOR>& own, int first) {
    const int channel = first + lane_of_group<GROUP>() * (vectors ? VECTOR : 1);
    left = attention.exists ? attention.sizes.width - channel : 0;
    grad_value =
        static_cast<float*>(attention.tensors.grad_value) + attention.first_value + channel;
#pragma unroll
    for (int i = 0; i < VECTOR; ++i)
      grad_output[i] = to_float(
          vectors ? own.channels[i]
                  : load_if<T, 1>(i * GROUP < left, from + channel + i * GROUP).channels[0]);
  }

  __device__ __forceinline__ int mask() const { return left > 0 ? kAllCorners : 0; }

  __device__ __forceinline__ void add(int element, float scale) const {
#pragma unroll
    for (int i = 0; i < VECTOR; i += vectors ? 4 : 1) {
      if constexpr (vectors)
        add_vector(grad_value + element + i, scale, grad_output + i);
      else if (i * GROUP < left)
        atomicAdd(grad_value + element + i * GROUP, scale * grad_output[i]);
    }
  }
};

// Sums N values over a group in about N shuffles and not N * log2(GROUP): with every exchange a
// lane gives up half of its values. Leaves lane l with values from l * N / GROUP on.
template <int GROUP, int N>
__device__ __forceinline__ void transposed_sum(float (&values)[4]) {
  const bool upper = threadIdx.x & GROUP / 2;
  if constexpr (N == 1) values[0] += __shfl_xor_sync(kWarp, values[0], GROUP / 2);
#pragma unroll
  for (int i = 0; i < N / 2; ++i) {
    const float given = upper ? values[i] : values[i + N / 2];
    const float kept = upper ? values[i + N / 2] : values[i];
    values[i] = kept + __shfl_xor_sync(kWarp, given, GROUP / 2);
  }
  if constexpr (GROUP > 2) transposed_sum<GROUP / 2, (N > 1 ? N / 2 : 1)>(values);
}

// Sums a sample's four dot products over the group and adds them to `dots`, or begins them.
template <int GROUP>
__device__ __forceinline__ void keep_dots(float (&sums)[4], float4* dots, bool begin) {
  constexpr int share = GROUP < 4 ? 4 / GROUP : 1, copies = GROUP < 4 ? 1 : GROUP / 4;
  transposed_sum<GROUP, 4>(sums);
  const int lane = lane_of_group<GROUP>();
  if (lane % copies) return;
  float* to = reinterpret_cast<float*>(dots) + lane / copies * share;
#pragma unroll
  for (int i = 0; i < share; ++i) to[i] = begin ? sums[i] : to[i] + sums[i];
}

// Adds to the gradient of value; leaves the dot products of grad_output with corners in `dots`.
template <typename T, int VECTOR, int GROUP>
__device__ __forceinline__ void scatter(const Attention<T>& attention, int first, float4* dots) {
  const int step = attention.step(), channel = first + lane_of_group<GROUP>() * VECTOR;
  const int mask = attention.exists && channel < attention.sizes.width ? kAllCorners : 0;
  const T* value =
      static_cast<const T*>(attention.tensors.value) + attention.first_value + channel;
  const T* row = static_cast<const T*>(attention.tensors.grad_output) +
                 attention.row * attention.sizes.width;
  const Vector<T, VECTOR> grad_output = load_if<T, VECTOR>(mask, row + channel);
  const CellGradient<T, VECTOR, GROUP> gradient(attention, row, grad_output, first);
#pragma unroll 1
  for (int start = 0; start < attention.samples(); start += GROUP) {
    const Sample mine = sample_of(attention, start + lane_of_group<GROUP>());
    const int end = min(GROUP, attention.samples() - start);
#pragma unroll 1
    for (int lane = 0; lane < end; ++lane) {
      const Cells<T, VECTOR, 1, GROUP> cells(value, mine, lane, step, mask);
      const Weights weights = weights_from<GROUP>(mine, lane);
      float sums[4] = {};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (cells.corners[0].has(i, gradient.mask()))
          gradient.add(cells.corners[0].element(i, step), weights.of[i]);
#pragma unroll
        for (int c = 0; c < VECTOR; ++c)
          sums[i] += to_float(grad_output.channels[c]) * to_float(cells.at[0][i].channels[c]);
      }
      keep_dots<GROUP>(sums, dots + start + lane, first == 0);
    }
  }
}

// Turns a sample's dot products into gradients of x, y (pixels) and weight; adds the weight.
__device__ __forceinline__ float4 place_gradient(const Place& place, const float4& dots) {
  const Weights shares = corner_weights(place, 1.0f);
  const float above = dots.y - dots.x, below = dots.w - dots.z;
  const float left = dots.z - dots.x, right = dots.w - dots.y;
  return {
      place.weight * (above + place.down * (below - above)),
      place.weight * (left + place.right * (right - left)),
      shares.of[0] * dots.x + shares.of[1] * dots.y + shares.of[2] * dots.z + shares.of[3] * dots.w,
      place.weight,
  };
}

template <typename T>
__device__ __forceinline__ void store_offset_gradients(
    const Attention<T>& attention, int sample, float4 gradient) {
  const int level = sample / attention.sizes.points;
  const int64_t i = 2 * (attention.row * attention.samples() + sample);
  const float x = gradient.x * line_of(attention, level, 0).slope;
  const float y = gradient.y * line_of(attention, level, 1).slope;
  if (attention.sizes.reference_size) {
    store(static_cast<T*>(attention.tensors.grad_offsets) + i, x);
    store(static_cast<T*>(attention.tensors.grad_offsets) + i + 1, y);
  } else {
    static_cast<float*>(attention.tensors.grad_offsets)[i] = x;
    static_cast<float*>(attention.tensors.grad_offsets)[i + 1] = y;
  }
}

template <typename T, int GROUP>
__device__ __forceinline__ void sample_gradients(
    const Attention<T>& attention, float4* gradients) {
  float mean = 0.0f;  // of the weights' gradients, by weight: the softmax takes it away
#pragma unroll 1
  for (int i = lane_of_group<GROUP>(); i < attention.samples(); i += GROUP) {
    const float4 gradient = place_gradient(place_of(attention, i), gradients[i]);
    gradients[i] = gradient;
    mean += gradient.z * gradient.w;
    if (attention.exists) store_offset_gradients(attention, i, gradient);
  }
  mean = group_sum<GROUP>(mean);
  if (!attention.exists) return;
  T* grad_logits =
      static_cast<T*>(attention.tensors.grad_logits) + attention.row * attention.samples();
#pragma unroll 1
  for (int i = lane_of_group<GROUP>(); i < attention.samples(); i += GROUP) {
    const float gradient = gradients[i].z;
    store(grad_logits + i,
          attention.sizes.reference_size ? gradients[i].w * (gradient - mean) : gradient);
  }
}

// This head's share of the gradient of the references, a level a lane.
template <typename T, int GROUP>
__device__ __forceinline__ void reference_gradients(
    const Attention<T>& attention, const float4* gradients) {
  const Sizes& sizes = attention.sizes;
#pragma unroll 1
  for (int level = lane_of_group<GROUP>(); level < sizes.levels; level += GROUP) {
    float center_x = 0.0f, center_y = 0.0f, width = 0.0f, height = 0.0f;
#pragma unroll 1
    for (int i = level * sizes.points; i < (level + 1) * sizes.points; ++i) {
      const float x = gradients[i].x * sizes.map_width[level];
      const float y = gradients[i].y * sizes.map_height[level];
      center_x += x;
      center_y += y;
      // Offsets to nowhere, infinite or NaN, leave no gradient behind.
      width += x == 0.0f ? 0.0f : x * attention.offset(i, 0);
      height += y == 0.0f ? 0.0f : y * attention.offset(i, 1);
    }
    float* to = static_cast<float*>(attention.tensors.grad_references) +
                (attention.row * sizes.levels + level) * sizes.reference_size;
    to[0] = center_x;
    to[1] = center_y;
    if (sizes.reference_size == 2) continue;
    to[2] = width * sizes.half_part;
    to[3] = height * sizes.half_part;
  }
}

template <typename T, int VECTOR, int GROUP>
__global__ void __launch_bounds__(kThreads, kBackwardBlocks) backward_kernel(
    const __grid_constant__ Sizes sizes, const __grid_constant__ DetboxTensors tensors) {
  const Attention<T> attention = attention_of<T, GROUP>(sizes, tensors);
  float4* own = scratch + threadIdx.x / GROUP * attention.samples();
  for (int first = 0; first < last_turn<VECTOR>(sizes); first += GROUP * VECTOR)
    scatter<T, VECTOR, GROUP>(attention, first, own);
  __syncwarp();  // lanes of a group read each other's dot products
  sample_gradients<T, GROUP>(attention, own);
  if (!tensors.grad_references) return;
  __syncwarp();
  if (attention.exists) reference_gradients<T, GROUP>(attention, own);
}

}  // namespace detbox
