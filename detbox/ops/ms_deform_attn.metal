// Multi-scale deformable attention for Apple GPUs: what detbox/ops/reference.py defines.
//
// A head of a query belongs to `lanes` neighbouring threads: a power of two up to 32, so they share
// a simdgroup. Each owns vectors of 4 channels; sums over the head meet by shuffles, which all
// threads of a simdgroup reach together because loop bounds are the same for all.
#include <metal_stdlib>
using namespace metal;

namespace detbox {

// As detbox/ops/mps.py packs it.
struct Problem {
  int tokens, heads, width, queries, levels, points;
  int reference_size;   // 0: offsets are locations, logits are weights; 2: points; 4: boxes
  int lanes;            // threads per head
  int aligned;          // whether vectors of 4 channels are whole and can be read at once
  int references_grad;  // whether it is wanted
  int shapes[32];       // height, width per level
};

// One head of one query, as one of its threads sees it.
struct Head {
  int lane;   // which thread
  int index;  // of (batch, query, head)
  int query;  // of (batch, query)
  int value;  // where the head's channels of the image's first token start
};

// All tensors from the head on.
template <typename T, typename O>
struct Inputs {
  device const T* value;
  device const float* references;
  device const O* offsets;
  device const T* logits;
};

struct Level {
  int first;  // token
  int height, width;
  float2 size;           // width, height
  float2 origin, scale;  // pixel = origin + offset * scale
};

// The four pixels around a point.
struct Cell {
  bool inside;    // whether any of them can be
  int left, top;  // the first of them
  float2 part;    // of the way to the next pixel
};

struct Corner {
  bool inside;
  int token;
  float share;
  float2 slope;  // d share / d pixel
};

struct Softmax {
  float top, scale;  // weight = exp(logit - top) * scale
};

Head head_of(uint thread_index, constant Problem& problem) {
  Head head;
  head.lane = int(thread_index) % problem.lanes;
  head.index = int(thread_index) / problem.lanes;
  head.query = head.index / problem.heads;
  const int image = head.query / problem.queries;
  const int channels = image * problem.tokens * problem.heads + head.index % problem.heads;
  head.value = channels * problem.width;
  return head;
}

template <typename T, typename O>
Inputs<T, O> inputs_of(
    device const T* value, device const float* references, device const O* offsets,
    device const T* logits, Head head, constant Problem& problem) {
  const int sample = head.index * problem.levels * problem.points;
  Inputs<T, O> inputs;
  inputs.value = value + head.value;
  inputs.references = references + head.query * problem.levels * problem.reference_size;
  inputs.offsets = offsets + 2 * sample;
  inputs.logits = logits + sample;
  return inputs;
}

Level level_of(
    int index, int first, device const float* references, constant Problem& problem) {
  Level level;
  level.first = first;
  level.height = problem.shapes[2 * index];
  level.width = problem.shapes[2 * index + 1];
  level.size = float2(float(level.width), float(level.height));
  level.origin = float2(-0.5f, -0.5f);
  level.scale = level.size;
  if (problem.reference_size == 0) return level;
  device const float* reference = references + index * problem.reference_size;
  level.origin += float2(reference[0], reference[1]) * level.size;
  level.scale = float2(1.0f, 1.0f);
  if (problem.reference_size == 4)
    level.scale = float2(reference[2], reference[3]) * level.size * (0.5f / float(problem.points));
  return level;
}

template <typename O>
float2 offset_of(device const O* offsets, int sample) {
  return float2(float(offsets[2 * sample]), float(offsets[2 * sample + 1]));
}

Cell cell_of(float2 offset, Level level) {
  const float2 pixel = level.origin + offset * level.scale;
  const float2 corner = floor(pixel);
  Cell cell;
  // Asked before any conversion to int: a point may be NaN or farther out than an int reaches.
  cell.inside = pixel.x >= -1.0f && pixel.x < level.size.x &&
                pixel.y >= -1.0f && pixel.y < level.size.y;
  cell.left = cell.inside ? int(corner.x) : 0;
  cell.top = cell.inside ? int(corner.y) : 0;
  cell.part = pixel - corner;
  return cell;
}

Corner corner_of(int index, Cell cell, Level level) {
  const bool right = index % 2 == 1, below = index / 2 == 1;
  const int x = cell.left + int(right), y = cell.top + int(below);
  const float share_x = right ? cell.part.x : 1.0f - cell.part.x;
  const float share_y = below ? cell.part.y : 1.0f - cell.part.y;
  Corner corner;
  corner.inside = x >= 0 && x < level.width && y >= 0 && y < level.height;
  corner.token = level.first + y * level.width + x;
  corner.share = share_x * share_y;
  corner.slope = float2(right ? share_y : -share_y, below ? share_x : -share_x);
  return corner;
}

// Four channels of a row as floats; those past the end are 0.
template <typename T>
float4 channels_of(device const T* row, int channel, constant Problem& problem) {
  if (problem.aligned) return float4(*(device const vec<T, 4>*)(row + channel));
  float4 channels = float4(0.0f);
  for (int i = 0; i < 4 && channel + i < problem.width; ++i) channels[i] = float(row[channel + i]);
  return channels;
}

float3 sum_over_head(float3 sum, constant Problem& problem) {
  for (int step = problem.lanes / 2; step > 0; step /= 2) {
    const ushort mask = ushort(step);
    sum.x += simd_shuffle_xor(sum.x, mask);
    sum.y += simd_shuffle_xor(sum.y, mask);
    sum.z += simd_shuffle_xor(sum.z, mask);
  }
  return sum;
}

float max_over_head(float top, constant Problem& problem) {
  for (int step = problem.lanes / 2; step > 0; step /= 2)
    top = max(top, simd_shuffle_xor(top, ushort(step)));
  return top;
}

// The head's threads share the logits among them.
template <typename T>
Softmax softmax_of(device const T* logits, Head head, constant Problem& problem) {
  const int samples = problem.levels * problem.points;
  Softmax softmax;
  softmax.scale = 1.0f;
  softmax.top = -INFINITY;
  if (problem.reference_size == 0) return softmax;
  for (int i = head.lane; i < samples; i += problem.lanes)
    softmax.top = max(softmax.top, float(logits[i]));
  softmax.top = max_over_head(softmax.top, problem);
  float sum = 0.0f;
  for (int i = head.lane; i < samples; i += problem.lanes)
    sum += exp(float(logits[i]) - softmax.top);
  softmax.scale = 1.0f / sum_over_head(float3(sum, 0.0f, 0.0f), problem).x;
  return softmax;
}

template <typename T>
float weight_of(device const T* logits, int sample, Softmax softmax, constant Problem& problem) {
  const float logit = float(logits[sample]);
  return problem.reference_size == 0 ? logit : exp(logit - softmax.top) * softmax.scale;
}

template <typename T>
float4 interpolate(
    device const T* value, int channel, Cell cell, Level level, constant Problem& problem) {
  float4 sum = float4(0.0f);
  for (int i = 0; i < 4; ++i) {
    const Corner corner = corner_of(i, cell, level);
    if (!corner.inside) continue;
    const int row = corner.token * problem.heads * problem.width;
    sum += corner.share * channels_of(value + row, channel, problem);
  }
  return sum;
}

// Four channels of a head's output.
template <typename T, typename O>
float4 attend(Inputs<T, O> inputs, int channel, Softmax softmax, constant Problem& problem) {
  float4 sum = float4(0.0f);
  int first = 0, sample = 0;
  for (int index = 0; index < problem.levels; ++index) {
    const Level level = level_of(index, first, inputs.references, problem);
    for (int point = 0; point < problem.points; ++point, ++sample) {
      const Cell cell = cell_of(offset_of(inputs.offsets, sample), level);
      if (!cell.inside) continue;
      const float weight = weight_of(inputs.logits, sample, softmax, problem);
      sum += weight * interpolate(inputs.value, channel, cell, level, problem);
    }
    first += level.height * level.width;
  }
  return sum;
}

template <typename T, typename O>
void attend_forward(
    device const T* value, device const float* references, device const O* offsets,
    device const T* logits, device T* output, constant Problem& problem, uint thread_index) {
  const Head head = head_of(thread_index, problem);
  const Inputs<T, O> inputs = inputs_of(value, references, offsets, logits, head, problem);
  const Softmax softmax = softmax_of(inputs.logits, head, problem);
  device T* row = output + head.index * problem.width;
  for (int first = 4 * head.lane; first < problem.width; first += 4 * problem.lanes) {
    const float4 channels = attend(inputs, first, softmax, problem);
    for (int i = 0; i < 4 && first + i < problem.width; ++i) row[first + i] = T(channels[i]);
  }
}

#if __METAL_VERSION__ >= 300
typedef atomic_float Total;

void add(device Total* total, float amount) {
  atomic_fetch_add_explicit(total, amount, memory_order_relaxed);
}
#else
// Floats have no atomic addition before Metal 3: exchange their bits until nobody came between.
typedef atomic_uint Total;

void add(device Total* total, float amount) {
  uint seen = atomic_load_explicit(total, memory_order_relaxed);
  while (!atomic_compare_exchange_weak_explicit(
      total, &seen, as_type<uint>(as_type<float>(seen) + amount), memory_order_relaxed,
      memory_order_relaxed)) {
  }
}
#endif

// Gradients to read and to write, from the head on.
template <typename T, typename O>
struct Gradients {
  device const T* output;
  device Total* value;
  device float* references;
  device O* offsets;
  device float* logits;
};

template <typename T, typename O>
Gradients<T, O> gradients_of(
    device const T* output, device Total* value, device float* references, device O* offsets,
    device float* logits, Head head, constant Problem& problem) {
  const int level = head.index * problem.levels;
  Gradients<T, O> gradients;
  gradients.output = output + head.index * problem.width;
  gradients.value = value + head.value;
  gradients.references = references + level * problem.reference_size;
  gradients.offsets = offsets + 2 * level * problem.points;
  gradients.logits = logits + level * problem.points;
  return gradients;
}

// One corner's part, from this thread's channels, in the gradients of weight, x and y; its value
// gets its own. The gradient of x and y still lacks the weight.
template <typename T, typename O>
float3 spread_corner(
    Inputs<T, O> inputs, Gradients<T, O> gradients, Corner corner, float weight, Head head,
    constant Problem& problem) {
  const int row = corner.token * problem.heads * problem.width;
  float product = 0.0f;
  for (int first = 4 * head.lane; first < problem.width; first += 4 * problem.lanes) {
    const float4 grad = channels_of(gradients.output, first, problem);
    product += dot(grad, channels_of(inputs.value + row, first, problem));
    for (int i = 0; i < 4 && first + i < problem.width; ++i)
      add(gradients.value + row + first + i, weight * corner.share * grad[i]);
  }
  return product * float3(corner.share, corner.slope.x, corner.slope.y);
}

template <typename T, typename O>
float3 spread_sample(
    Inputs<T, O> inputs, Gradients<T, O> gradients, Cell cell, Level level, float weight, Head head,
    constant Problem& problem) {
  float3 sum = float3(0.0f);
  for (int i = 0; i < 4 && cell.inside; ++i) {
    const Corner corner = corner_of(i, cell, level);
    if (corner.inside)
      sum += spread_corner(inputs, gradients, corner, weight, head, problem);
  }
  return sum_over_head(sum, problem);
}

void write_references(
    device float* gradient, float2 center, float2 size, Level level, constant Problem& problem) {
  const float2 box = size * level.size * (0.5f / float(problem.points));
  gradient[0] = center.x * level.size.x;
  gradient[1] = center.y * level.size.y;
  if (problem.reference_size < 4) return;
  gradient[2] = box.x;
  gradient[3] = box.y;
}

// Returns the level's part of sum(weight * d loss / d weight).
template <typename T, typename O>
float spread_level(
    Inputs<T, O> inputs, Gradients<T, O> gradients, int index, Level level, Softmax softmax,
    Head head, constant Problem& problem) {
  float2 center = float2(0.0f), size = float2(0.0f);
  float weighted = 0.0f;
  for (int point = 0; point < problem.points; ++point) {
    const int sample = index * problem.points + point;
    const float2 offset = offset_of(inputs.offsets, sample);
    const Cell cell = cell_of(offset, level);
    const float weight = weight_of(inputs.logits, sample, softmax, problem);
    const float3 sum = spread_sample(inputs, gradients, cell, level, weight, head, problem);
    const float2 pixel = cell.inside ? weight * float2(sum.y, sum.z) : float2(0.0f);
    weighted += weight * sum.x;
    center += pixel;
    if (cell.inside) size += pixel * offset;
    if (head.lane != sample % problem.lanes) continue;
    gradients.offsets[2 * sample] = O(pixel.x * level.scale.x);
    gradients.offsets[2 * sample + 1] = O(pixel.y * level.scale.y);
    gradients.logits[sample] = sum.x;
  }
  if (problem.references_grad && head.lane == 0)
    write_references(
        gradients.references + index * problem.reference_size, center, size, level, problem);
  return weighted;
}

// From weights to logits. Each thread rereads only what it wrote itself.
template <typename T>
void finish_logits(
    device float* gradient, device const T* logits, float weighted, Softmax softmax, Head head,
    constant Problem& problem) {
  if (problem.reference_size == 0) return;
  for (int i = head.lane; i < problem.levels * problem.points; i += problem.lanes)
    gradient[i] = weight_of(logits, i, softmax, problem) * (gradient[i] - weighted);
}

template <typename T, typename O>
void attend_backward(
    device const T* value, device const float* references, device const O* offsets,
    device const T* logits, device const T* grad_output, device Total* grad_value,
    device float* grad_references, device O* grad_offsets, device float* grad_logits,
    constant Problem& problem, uint thread_index) {
  const Head head = head_of(thread_index, problem);
  const Inputs<T, O> inputs = inputs_of(value, references, offsets, logits, head, problem);
  const Gradients<T, O> gradients = gradients_of(
      grad_output, grad_value, grad_references, grad_offsets, grad_logits, head, problem);
  const Softmax softmax = softmax_of(inputs.logits, head, problem);
  float weighted = 0.0f;
  int first = 0;
  for (int index = 0; index < problem.levels; ++index) {
    const Level level = level_of(index, first, inputs.references, problem);
    weighted += spread_level(inputs, gradients, index, level, softmax, head, problem);
    first += level.height * level.width;
  }
  finish_logits(gradients.logits, inputs.logits, weighted, softmax, head, problem);
}

}  // namespace detbox

// T is the type of value, O that of offsets: locations are always float.
#define KERNELS(T, O)                                                                            \
  kernel void attend_forward_##T##_##O(                                                          \
      device const T* value [[buffer(0)]], device const float* references [[buffer(1)]],         \
      device const O* offsets [[buffer(2)]], device const T* logits [[buffer(3)]],               \
      device T* output [[buffer(4)]], constant detbox::Problem& problem [[buffer(5)]],           \
      uint thread_index [[thread_position_in_grid]]) {                                           \
    detbox::attend_forward(value, references, offsets, logits, output, problem, thread_index);   \
  }                                                                                              \
  kernel void attend_backward_##T##_##O(                                                         \
      device const T* value [[buffer(0)]], device const float* references [[buffer(1)]],         \
      device const O* offsets [[buffer(2)]], device const T* logits [[buffer(3)]],               \
      device const T* grad_output [[buffer(4)]], device detbox::Total* grad_value [[buffer(5)]], \
      device float* grad_references [[buffer(6)]], device O* grad_offsets [[buffer(7)]],         \
      device float* grad_logits [[buffer(8)]], constant detbox::Problem& problem [[buffer(9)]],  \
      uint thread_index [[thread_position_in_grid]]) {                                           \
    detbox::attend_backward(                                                                     \
        value, references, offsets, logits, grad_output, grad_value, grad_references,            \
        grad_offsets, grad_logits, problem, thread_index);                                       \
  }

KERNELS(float, float)
KERNELS(half, half)
KERNELS(half, float)
#if __METAL_VERSION__ >= 310
KERNELS(bfloat, bfloat)
KERNELS(bfloat, float)
#endif
