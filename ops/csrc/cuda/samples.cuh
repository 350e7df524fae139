// Where samples lie, and how a group shares them.
#pragma once

#include "attention.cuh"

namespace detbox {

// Pixels of a sample are `origin + slope * offset`.
struct Line {
  float origin, slope;
};

template <typename T>
__device__ __forceinline__ Line line_of(const Attention<T>& attention, int level, int axis) {
  const Sizes& sizes = attention.sizes;
  const float size = axis ? sizes.map_height[level] : sizes.map_width[level];
  if (sizes.reference_size == 0) return {-0.5f, size};
  const float origin = attention.reference(level, axis) * size - 0.5f;
  if (sizes.reference_size == 2) return {origin, 1.0f};
  return {origin, attention.reference(level, 2 + axis) * sizes.half_part * size};
}

// The four cells around a sample: 0 and 1 above, 2 and 3 below.
struct Corners {
  int first;  // element of corner 0, seen from (image, head)
  int map;    // width of the level, and below it four bits: which corners lie in the level

  __device__ __forceinline__ bool has(int corner, int mask) const {
    return map & mask & 1 << corner;
  }
  __device__ __forceinline__ int element(int corner, int step) const {
    return first + (corner & 1 ? step : 0) + (corner & 2 ? (map >> 4) * step : 0);
  }
};

// Where a sample lies among its corners.
struct Place {
  Corners corners;
  float right, down, weight;
};

template <typename T>
__device__ __forceinline__ Place place_of(const Attention<T>& attention, int sample) {
  const Sizes& sizes = attention.sizes;
  const int level = sample / sizes.points;
  const int height = sizes.map_height[level], width = sizes.map_width[level];
  const Line across = line_of(attention, level, 0), along = line_of(attention, level, 1);
  const float x = across.origin + across.slope * attention.offset(sample, 0);
  const float y = along.origin + along.slope * attention.offset(sample, 1);
  const float weight = attention.weight(sample);
  // Compared as floats: NaN and numbers beyond int end here.
  if (!(x >= -1.0f && x < width && y >= -1.0f && y < height)) return {{0, 0}, 0.0f, 0.0f, weight};

  const int column = static_cast<int>(floorf(x)), row = static_cast<int>(floorf(y));
  const int columns = (column >= 0 ? 5 : 0) | (column + 1 < width ? 10 : 0);
  const int rows = (row >= 0 ? 3 : 0) | (row + 1 < height ? 12 : 0);
  const int token = sizes.map_start[level] + row * width + column;
  return {{token * attention.step(), width << 4 | (rows & columns)}, x - column, y - row, weight};
}

struct Weights {
  float of[4];
};

__device__ __forceinline__ Weights corner_weights(const Place& place, float weight) {
  const float below = weight * place.down, above = weight - below;
  const float above_right = above * place.right, below_right = below * place.right;
  return {{above - above_right, above_right, below - below_right, below_right}};
}

// A sample as its group needs it.
struct Sample {
  Corners corners;
  Weights weights;
};

// Samples past the last weigh nothing and have no corner.
template <typename T>
__device__ __forceinline__ Sample sample_of(const Attention<T>& attention, int sample) {
  if (sample >= attention.samples()) return {};
  const Place place = place_of(attention, sample);
  return {place.corners, corner_weights(place, place.weight)};
}

template <int GROUP>
__device__ __forceinline__ Corners corners_from(const Sample& mine, int lane) {
  return {__shfl_sync(kWarp, mine.corners.first, lane, GROUP),
          __shfl_sync(kWarp, mine.corners.map, lane, GROUP)};
}

template <int GROUP>
__device__ __forceinline__ Weights weights_from(const Sample& mine, int lane) {
  Weights weights;
#pragma unroll
  for (int i = 0; i < 4; ++i) weights.of[i] = __shfl_sync(kWarp, mine.weights.of[i], lane, GROUP);
  return weights;
}

// A lane's channels of the corners of N samples: their loads are all under way before the first is
// waited for.
template <typename T, int VECTOR, int N, int GROUP>
struct Cells {
  Corners corners[N];
  Vector<T, VECTOR> at[N][4];

  __device__ __forceinline__ Cells(
      const T* value, const Sample& mine, int lane, int step, int mask) {
#pragma unroll
    for (int k = 0; k < N; ++k) {
      corners[k] = corners_from<GROUP>(mine, lane + k);
#pragma unroll
      for (int i = 0; i < 4; ++i)
        at[k][i] = load_if<T, VECTOR>(
            corners[k].has(i, mask), value + corners[k].element(i, step));
    }
  }
};

// With VECTOR > 1 the group holds all channels at once; otherwise it takes them in turns.
template <int VECTOR>
__device__ __forceinline__ int last_turn(const Sizes& sizes) {
  return VECTOR > 1 ? 1 : sizes.width;
}

}  // namespace detbox
