// Where the samples of one query and head lie. Plain loops over arrays, which compilers vectorise.
#pragma once

#include <cstdlib>

#include "../interface.h"
#include "lanes.h"

namespace {

// Memory that is given back at the end of a task.
struct Memory {
  char* start;
  size_t used = 0;
  explicit Memory(size_t bytes) : start(static_cast<char*>(malloc(bytes))) {}
  ~Memory() { free(start); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  template <class Item>
  Item* take(size_t count) {
    Item* items = reinterpret_cast<Item*>(start + used);
    used += (count * sizeof(Item) + 63) / 64 * 64;
    return items;
  }
};

// Corner order: left top, right top, left bottom, right bottom.
constexpr int kCorners = 4;

// Arrays over the L * P samples, filled up to whole vectors with samples that weigh nothing.
template <class R>
struct Samples {
  int count, padded;
  R *width, *height;                // of the level
  int32_t *columns, *rows, *start;  // of the level, in cells
  R *x, *y, *weight;                // cells from the center of the first; softmax
  R *right, *below;                 // fractions, 0 for a sample outside
  int32_t* token[kCorners];         // -1 where the corner is outside
  R* share[kCorners];               // bilinear, times the weight

  static int padded_count(const DetboxProblem& problem) {
    return static_cast<int>((problem.levels * problem.points + 15) / 16 * 16);
  }
  static size_t bytes(const DetboxProblem& problem) {
    return 20 * (padded_count(problem) * sizeof(R) + 64);
  }

  Samples(const DetboxProblem& problem, Memory& memory)
      : count(static_cast<int>(problem.levels * problem.points)), padded(padded_count(problem)) {
    width = zeros<R>(memory), height = zeros<R>(memory);
    columns = zeros<int32_t>(memory), rows = zeros<int32_t>(memory);
    start = zeros<int32_t>(memory);
    x = zeros<R>(memory), y = zeros<R>(memory), weight = zeros<R>(memory);
    right = zeros<R>(memory), below = zeros<R>(memory);
    for (int corner = 0; corner < kCorners; ++corner) {
      token[corner] = zeros<int32_t>(memory), share[corner] = zeros<R>(memory);
    }
    int sample = 0, first = 0;
    for (int level = 0; level < problem.levels; ++level) {
      const int h = static_cast<int>(problem.shapes[2 * level]);
      const int w = static_cast<int>(problem.shapes[2 * level + 1]);
      for (int point = 0; point < problem.points; ++point, ++sample) {
        height[sample] = rows[sample] = h, width[sample] = columns[sample] = w;
        start[sample] = first;
      }
      first += h * w;
    }
  }

 private:
  template <class Item>
  Item* zeros(Memory& memory) const {
    Item* array = memory.take<Item>(padded);
    memset(array, 0, padded * sizeof(Item));
    return array;
  }
};

// e^x for x <= 0, to about one unit in the last place; of NaN it is NaN.
INLINE float exponential(float x) {
  x = x < -87.0f ? -87.0f : x;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const float whole = (x * 1.44269504f + magic) - magic;
  const float rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  float series = 1.0f / 5040;
  series = series * rest + 1.0f / 720;
  series = series * rest + 1.0f / 120;
  series = series * rest + 1.0f / 24;
  series = series * rest + 1.0f / 6;
  series = series * rest + 0.5f;
  series = series * rest + 1.0f;
  series = series * rest + 1.0f;
  const int32_t bits = (static_cast<int32_t>(whole) + 127) << 23;
  float power;
  memcpy(&power, &bits, sizeof(power));
  return series * power;
}

INLINE double exponential(double x) { return __builtin_exp(x); }

template <class R>
INLINE void softmax(int count, int padded, R* __restrict weight) {
  R largest = weight[0], total = 0;
  for (int k = 1; k < count; ++k) largest = weight[k] > largest ? weight[k] : largest;
  for (int k = 0; k < padded; ++k) weight[k] = exponential(weight[k] - largest);
  for (int k = 0; k < count; ++k) total += weight[k];
  const R scale = 1 / total;
  for (int k = 0; k < padded; ++k) weight[k] *= scale;
}

// Cells and fractions of every place. A sample counts within one cell around the level.
template <class R>
INLINE void find_corners(const int padded, const R* __restrict xs, const R* __restrict ys,
                         const R* __restrict widths, const R* __restrict heights,
                         const int32_t* __restrict columns, const int32_t* __restrict rows,
                         const int32_t* __restrict starts, R* __restrict rights,
                         R* __restrict belows, int32_t* __restrict left_top,
                         int32_t* __restrict right_top, int32_t* __restrict left_bottom,
                         int32_t* __restrict right_bottom) {
  for (int k = 0; k < padded; ++k) {
    R x = xs[k], y = ys[k];
    const bool counts = (x >= -1) & (x < widths[k]) & (y >= -1) & (y < heights[k]);
    x = counts ? x : 0, y = counts ? y : 0;  // also a NaN, which must not become an index
    int32_t column = static_cast<int32_t>(x), row = static_cast<int32_t>(y);
    column -= static_cast<R>(column) > x ? 1 : 0;  // the cast goes towards zero, places go down
    row -= static_cast<R>(row) > y ? 1 : 0;
    rights[k] = x - static_cast<R>(column), belows[k] = y - static_cast<R>(row);
    const bool left = counts & (column >= 0), right = counts & (column + 1 < columns[k]);
    const bool top = row >= 0, bottom = row + 1 < rows[k];
    const int32_t first = starts[k] + row * columns[k] + column;
    left_top[k] = (left & top) ? first : -1;
    right_top[k] = (right & top) ? first + 1 : -1;
    left_bottom[k] = (left & bottom) ? first + columns[k] : -1;
    right_bottom[k] = (right & bottom) ? first + columns[k] + 1 : -1;
  }
}

template <class R>
INLINE void find_corners(Samples<R>& s) {
  find_corners(s.padded, s.x, s.y, s.width, s.height, s.columns, s.rows, s.start, s.right, s.below,
               s.token[0], s.token[1], s.token[2], s.token[3]);
}

// Bilinear shares of the corners, times the weight.
template <class R>
INLINE void find_shares(const int padded, const R* __restrict rights, const R* __restrict belows,
                        const R* __restrict weights, R* __restrict left_top,
                        R* __restrict right_top, R* __restrict left_bottom,
                        R* __restrict right_bottom) {
  for (int k = 0; k < padded; ++k) {
    const R right = weights[k] * rights[k], left = weights[k] - right;
    right_bottom[k] = right * belows[k];
    right_top[k] = right - right_bottom[k];
    left_bottom[k] = left * belows[k];
    left_top[k] = left - left_bottom[k];
  }
}

template <class R>
INLINE void find_shares(Samples<R>& s) {
  find_shares(s.padded, s.right, s.below, s.weight, s.share[0], s.share[1], s.share[2],
              s.share[3]);
}

// From the corners' products with the output's gradient to gradients of place and weight.
template <class R>
INLINE void find_gradients(const int padded, const R* __restrict products,
                           const R* __restrict rights, const R* __restrict belows,
                           const R* __restrict weights, R* __restrict grad_x,
                           R* __restrict grad_y, R* __restrict grad_weight) {
  for (int k = 0; k < padded; ++k) {
    const R* corner = products + kCorners * k;
    const R right = rights[k], below = belows[k];
    const R along_top = corner[1] - corner[0], along_bottom = corner[3] - corner[2];
    const R top = corner[0] + right * along_top, bottom = corner[2] + right * along_bottom;
    grad_x[k] = weights[k] * (along_top + below * (along_bottom - along_top));
    grad_y[k] = weights[k] * (bottom - top);
    grad_weight[k] = top + below * (bottom - top);
  }
}

}  // namespace
