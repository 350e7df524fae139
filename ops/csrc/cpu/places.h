// From references, offsets and logits to the places and weights of samples, and their gradients.
#pragma once

#include "samples.h"

namespace {

// Along one axis of one level: a sample's place in cells is `origin + step * offset`.
template <class R>
struct Axis {
  R origin, step;
};

template <class R>
INLINE Axis<R> axis_of(const DetboxProblem& problem, const R* reference, int axis, R extent) {
  if (problem.reference_size == 0) return {R(-0.5), extent};
  const R center = reference[axis] * extent - R(0.5);
  if (problem.reference_size == 2) return {center, 1};
  return {center, reference[2 + axis] * extent / (2 * problem.points)};
}

// Turns offsets in samples.x and samples.y into cells. `kPoints`: a fixed number of points, or 0.
template <int kPoints, class R>
INLINE void place(const DetboxProblem& problem, const R* references, Samples<R>& samples) {
  const int points = kPoints ? kPoints : static_cast<int>(problem.points);
  for (int level = 0; level < problem.levels; ++level) {
    const R* reference = references + level * problem.reference_size;
    R* __restrict xs = samples.x + level * points;
    R* __restrict ys = samples.y + level * points;
    const Axis<R> x = axis_of(problem, reference, 0, samples.width[level * points]);
    const Axis<R> y = axis_of(problem, reference, 1, samples.height[level * points]);
    for (int point = 0; point < points; ++point) {
      xs[point] = x.origin + x.step * xs[point];
      ys[point] = y.origin + y.step * ys[point];
    }
  }
}

// Places of one query and head: `references` (L, R), `offsets` (L, P, 2).
template <class R, class Offset>
INLINE void read_places(const DetboxProblem& problem, const R* references, const Offset* offsets,
                        Samples<R>& samples) {
  R* __restrict xs = samples.x;
  R* __restrict ys = samples.y;
  for (int k = 0; k < samples.count; ++k) {
    xs[k] = widen(offsets[2 * k]);
    ys[k] = widen(offsets[2 * k + 1]);
  }
  if (problem.points == 4) {
    place<4>(problem, references, samples);
  } else {
    place<0>(problem, references, samples);
  }
}

template <class R, class Stored>
INLINE void read_weights(const DetboxProblem& problem, const Stored* logits, Samples<R>& samples) {
  for (int k = 0; k < samples.count; ++k) samples.weight[k] = widen(logits[k]);
  if (problem.reference_size) softmax(samples.count, samples.padded, samples.weight);
}

// Gradients of one query and head, from those of the places in cells (`grad_x`, `grad_y`).
// `grad_references` is one head's share, or null.
template <class R, class Offset>
INLINE void write_places(const DetboxProblem& problem, const R* references, const Offset* offsets,
                         const Samples<R>& samples, const R* grad_x, const R* grad_y,
                         Offset* grad_offsets, R* grad_references) {
  const int points = static_cast<int>(problem.points);
  const int size = static_cast<int>(problem.reference_size);
  for (int level = 0, k = 0; level < problem.levels; ++level) {
    const R extent[2] = {samples.width[k], samples.height[k]};
    for (int axis = 0; axis < 2; ++axis) {
      const R* grads = axis ? grad_y : grad_x;
      const R step = axis_of(problem, references + level * size, axis, extent[axis]).step;
      R center = 0, side = 0;
      for (int k2 = k; k2 < k + points; ++k2) {
        narrow(grads[k2] * step, grad_offsets + 2 * k2 + axis);
        center += grads[k2];
        // Offsets to nowhere, infinite or NaN, leave no gradient behind.
        side += grads[k2] == 0 ? 0 : grads[k2] * widen(offsets[2 * k2 + axis]);
      }
      if (!grad_references) continue;
      grad_references[level * size + axis] = center * extent[axis];
      if (size == 4) grad_references[level * size + 2 + axis] = side * extent[axis] / (2 * points);
    }
    k += points;
  }
}

template <class R, class Stored>
INLINE void write_weights(const DetboxProblem& problem, const Samples<R>& samples,
                          const R* grad_weight, Stored* grad_logits) {
  R mean = 0;
  if (problem.reference_size) {
    for (int k = 0; k < samples.count; ++k) mean += samples.weight[k] * grad_weight[k];
  }
  for (int k = 0; k < samples.count; ++k) {
    const R factor = problem.reference_size ? samples.weight[k] : R(1);
    narrow(factor * (grad_weight[k] - mean), grad_logits + k);
  }
}

}  // namespace
