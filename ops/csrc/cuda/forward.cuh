// The forward kernel.
#pragma once

#include "samples.cuh"

namespace detbox {

constexpr int kForwardBlocks = 4;  // per multiprocessor: leaves a thread 64 registers

// The sum over all samples, of VECTOR channels from `value` on.
template <typename T, int VECTOR, int GROUP>
__device__ __forceinline__ void attend(
    const Attention<T>& attention, const T* value, int mask, float (&sums)[VECTOR]) {
  constexpr int together = 2;
#pragma unroll 1
  for (int start = 0; start < attention.samples(); start += GROUP) {
    const Sample mine = sample_of(attention, start + lane_of_group<GROUP>());
    const int end = min(GROUP, attention.samples() - start);
#pragma unroll 1
    for (int lane = 0; lane < end; lane += together) {
      const Cells<T, VECTOR, together, GROUP> cells(value, mine, lane, attention.step(), mask);
#pragma unroll
      for (int k = 0; k < together; ++k) {
        const Weights weights = weights_from<GROUP>(mine, lane + k);
#pragma unroll
        for (int i = 0; i < 4 * VECTOR; ++i)
          sums[i % VECTOR] +=
              weights.of[i / VECTOR] * to_float(cells.at[k][i / VECTOR].channels[i % VECTOR]);
      }
    }
  }
}

template <typename T, int VECTOR, int GROUP>
__global__ void __launch_bounds__(kThreads, kForwardBlocks) forward_kernel(
    const __grid_constant__ Sizes sizes, const __grid_constant__ DetboxTensors tensors) {
  const Attention<T> attention = attention_of<T, GROUP>(sizes, tensors);
  const T* value = static_cast<const T*>(tensors.value) + attention.first_value;
  T* output = static_cast<T*>(tensors.output) + attention.row * sizes.width;
  for (int first = 0; first < last_turn<VECTOR>(sizes); first += GROUP * VECTOR) {
    const int channel = first + lane_of_group<GROUP>() * VECTOR;
    const bool active = attention.exists && channel < sizes.width;
    float sums[VECTOR] = {};
    attend<T, VECTOR, GROUP>(attention, value + channel, active ? kAllCorners : 0, sums);
    if (!active) continue;
    Vector<T, VECTOR> rounded;
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) store(&rounded.channels[i], sums[i]);
    *reinterpret_cast<Vector<T, VECTOR>*>(output + channel) = rounded;
  }
}

}  // namespace detbox
