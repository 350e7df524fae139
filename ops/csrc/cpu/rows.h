// Rows of channels: reading four of them per sample, and adding to them.
#pragma once

#include "samples.h"

namespace {

// The rows of one image and head, token by token; those outside every level are one spare row.
template <class Item>
struct Rows {
  Item* first;
  int64_t stride;
  Item* outside;

  INLINE Item* of(int32_t token) const { return token < 0 ? outside : first + token * stride; }
  Rows at(int channel) const { return {first + channel, stride, outside + channel}; }
};

// output[channels] = the sum of all samples' corners, times their weighted shares.
template <int kVectors, class R, class Stored>
INLINE void gather(const Samples<R>& samples, const Rows<const Stored>& value, R* output) {
  Vector<R> total[kVectors] = {};
  for (int k = 0; k < samples.count; ++k) {
#pragma GCC unroll 4
    for (int corner = 0; corner < kCorners; ++corner) {
      const Stored* row = value.of(samples.token[corner][k]);
      const R share = samples.share[corner][k];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) total[v] += share * load(row + v * kLanes<R>);
    }
  }
  for (int v = 0; v < kVectors; ++v) store(output + v * kLanes<R>, total[v]);
}

// Adds `grad` to all corners' rows, times their weighted shares, and each corner's product of
// value and `grad` to products (L * P, 4).
template <int kVectors, class R, class Stored>
INLINE void scatter(const Samples<R>& samples, const Rows<const Stored>& value, const R* grad,
                    const Rows<R>& grad_value, R* products) {
  Vector<R> grads[kVectors];
  for (int v = 0; v < kVectors; ++v) grads[v] = load(grad + v * kLanes<R>);
  for (int k = 0; k < samples.count; ++k) {
    Vector<R> product[kCorners] = {};
#pragma GCC unroll 4
    for (int corner = 0; corner < kCorners; ++corner) {
      const int32_t token = samples.token[corner][k];
      const Stored* row = value.of(token);
      R* grad_row = grad_value.of(token);
      const R share = samples.share[corner][k];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const int lane = v * kLanes<R>;
        product[corner] += grads[v] * load(row + lane);
        store<R>(grad_row + lane, load(grad_row + lane) + share * grads[v]);
      }
    }
    R four[kCorners];
    sums<R>(product[0], product[1], product[2], product[3], four);
    for (int corner = 0; corner < kCorners; ++corner) products[k * kCorners + corner] += four[corner];
  }
}

// Calls `block` with the widest numbers of vectors that fill `channels`: 4, then 2, then 1.
template <class R, class Block>
INLINE void in_blocks(int channels, Block block) {
  int channel = 0;
  for (; channel + 4 * kLanes<R> <= channels; channel += 4 * kLanes<R>) block.template run<4>(channel);
  for (; channel + 2 * kLanes<R> <= channels; channel += 2 * kLanes<R>) block.template run<2>(channel);
  for (; channel < channels; channel += kLanes<R>) block.template run<1>(channel);
}

}  // namespace
