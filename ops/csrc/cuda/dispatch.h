// Which kernel serves a problem, and with how many blocks; what cannot be served, in words.
// Plain C++: the emulation in the tests goes the same way as a GPU.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "ms_deform_attn.cuh"

namespace detbox {

// Codes above zero are CUDA's own.
enum Refusal : int32_t {
  kUnknownType = -1,
  kDoubles = -2,
  kUnknownReference = -3,
  kTooManyLevels = -4,
  kTooManyPoints = -5,
  kTooManyElements = -6,
  kTooManyBlocks = -7,
};

inline const char* refusal(int32_t code) {
  switch (code) {
    case kUnknownType:
      return "expected float32, float16 or bfloat16, got another type; convert the value";
    case kDoubles:
      return "expected float32, float16 or bfloat16, got float64; use the backend pytorch";
    case kUnknownReference:
      return "expected references of 2 or 4 numbers; use the backend pytorch";
    case kTooManyLevels:
      return "expected at most 16 levels; use the backend pytorch";
    case kTooManyPoints:
      return "expected at most 1536 samples (levels * points) per query and head for the backward "
             "pass; use the backend pytorch";
    case kTooManyElements:
      return "expected at most 2^30 elements and fewer than 2^27 tokens of value per image, since "
             "they are indexed in 32 bits; use smaller images or the backend pytorch";
    case kTooManyBlocks:
      return "expected fewer queries, their blocks exceed 2^31; use a smaller batch";
    default:
      return nullptr;
  }
}

constexpr int64_t kScratchBytes = 48 * 1024;  // of shared memory that any GPU grants unasked
// Per query and head, for which the scratch of a warp of the narrowest groups suffices.
constexpr int64_t kSamplesOfVectors = kScratchBytes / (16 * sizeof(float4));

inline int32_t check(const DetboxProblem& problem) {
  const bool known = problem.reference_size == 0 || problem.reference_size == 2 ||
                     problem.reference_size == 4;
  if (!known) return kUnknownReference;
  if (problem.levels > DETBOX_MAX_LEVELS) return kTooManyLevels;
  if (problem.tokens >= int64_t{1} << 27) return kTooManyElements;
  const double elements = double(problem.tokens) * problem.heads * problem.width;
  return elements > double(int64_t{1} << 30) ? kTooManyElements : 0;
}

inline Sizes sizes_of(const DetboxProblem& problem, int64_t tiles) {
  Sizes sizes = {};
  sizes.tokens = int(problem.tokens);
  sizes.heads = int(problem.heads);
  sizes.width = int(problem.width);
  sizes.queries = int(problem.queries);
  sizes.levels = int(problem.levels);
  sizes.points = int(problem.points);
  sizes.reference_size = int(problem.reference_size);
  sizes.tiles = int(tiles);
  sizes.half_part = 0.5f / float(problem.points);
  for (int level = 0, start = 0; level < sizes.levels; ++level) {
    sizes.map_height[level] = int(problem.shapes[2 * level]);
    sizes.map_width[level] = int(problem.shapes[2 * level + 1]);
    sizes.map_start[level] = start;
    start += sizes.map_height[level] * sizes.map_width[level];
  }
  return sizes;
}

// Calls launch(kernel, blocks, threads, bytes of scratch, sizes, tensors).
template <typename T, int VECTOR, int GROUP, typename Launch>
int32_t launch_groups(
    const DetboxProblem& problem, const DetboxTensors& tensors, bool backward, Launch launch) {
  const int64_t samples = problem.levels * problem.points;
  const int64_t bytes = backward ? samples * int64_t(sizeof(float4)) : 0;
  int64_t threads = kThreads;
  while (threads > 32 && threads / GROUP * bytes > kScratchBytes) threads /= 2;
  const int64_t groups = threads / GROUP;
  if (groups * bytes > kScratchBytes) return kTooManyPoints;
  const int64_t tiles = (problem.queries + groups - 1) / groups;
  const int64_t blocks = problem.batch * problem.heads * tiles;
  if (blocks > INT32_MAX || problem.queries > INT32_MAX - kThreads) return kTooManyBlocks;
  const auto kernel =
      backward ? backward_kernel<T, VECTOR, GROUP> : forward_kernel<T, VECTOR, GROUP>;
  return launch(kernel, unsigned(blocks), unsigned(threads), size_t(groups * bytes),
                sizes_of(problem, tiles), tensors);
}

inline bool aligned(const DetboxTensors& tensors) {
  const void* pointers[] = {tensors.value, tensors.output, tensors.grad_output, tensors.grad_value};
  return std::all_of(std::begin(pointers), std::end(pointers), [](const void* each) {
    return reinterpret_cast<uintptr_t>(each) % sizeof(uint4) == 0;
  });
}

template <typename T, typename Launch>
int32_t launch_type(
    const DetboxProblem& problem, const DetboxTensors& tensors, bool backward, Launch launch) {
  constexpr int vector = sizeof(uint4) / sizeof(T);
  const bool vectors = problem.width % vector == 0 && aligned(tensors) &&
                       problem.levels * problem.points <= kSamplesOfVectors;
  if (vectors && problem.width <= 16)
    return launch_groups<T, vector, 16 / vector>(problem, tensors, backward, launch);
  if (vectors && problem.width <= 32)
    return launch_groups<T, vector, 32 / vector>(problem, tensors, backward, launch);
  if (vectors && problem.width <= 64)
    return launch_groups<T, vector, 64 / vector>(problem, tensors, backward, launch);
  return launch_groups<T, 1, 16>(problem, tensors, backward, launch);
}

template <typename Launch>
int32_t dispatch(
    const DetboxProblem& problem, const DetboxTensors& tensors, bool backward, Launch launch) {
  if (const int32_t code = check(problem)) return code;
  if (problem.batch * problem.queries * problem.heads * problem.width == 0) return 0;
  switch (problem.type) {
    case DETBOX_FLOAT32:
      return launch_type<float>(problem, tensors, backward, launch);
    case DETBOX_BFLOAT16:
      return launch_type<__nv_bfloat16>(problem, tensors, backward, launch);
    case DETBOX_FLOAT16:
      return launch_type<__half>(problem, tensors, backward, launch);
    default:
      return problem.type == DETBOX_FLOAT64 ? kDoubles : kUnknownType;
  }
}

}  // namespace detbox
