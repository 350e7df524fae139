// The C interface of every compiled library of detbox-ops: plain pointers and sizes, no torch and
// no Python, so that one build serves all their versions.
#pragma once

#include <cstdint>

#define DETBOX_ABI 1  // changes with anything below; detbox refuses a library of another number
#define DETBOX_MAX_LEVELS 16

// Types of `value`, `logits`, `output` and their gradients. Places (`references`, and `offsets`
// that are locations) come as float, or as double with DETBOX_FLOAT64.
enum DetboxType : int32_t {
  DETBOX_FLOAT32 = 0,
  DETBOX_FLOAT64 = 1,
  DETBOX_BFLOAT16 = 2,
  DETBOX_FLOAT16 = 3,
};

struct DetboxProblem {
  int64_t batch, tokens, heads, width, queries, levels, points;
  int64_t reference_size;  // 0: offsets are locations, logits are weights; 2: points; 4: boxes
  int64_t type;            // DetboxType
  int64_t threads;         // of the CPU; a GPU has its own
  int64_t shapes[2 * DETBOX_MAX_LEVELS];  // height, width per level
};

// Contiguous tensors. B batch, S tokens, H heads, D width, Q queries, L levels, P points,
// R reference_size. A forward call reads the first four and writes `output`.
struct DetboxTensors {
  const void* value;       // (B, S, H, D)
  const void* references;  // (B, Q, L, R); null when R is 0
  const void* offsets;     // (B, Q, H, L, P, 2)
  const void* logits;      // (B, Q, H, L, P)
  void* output;            // (B, Q, H, D)
  const void* grad_output;
  void* grad_value;
  void* grad_references;  // (B, Q, H, L, R) places' type, one share per head; null: not wanted
  void* grad_offsets;
  void* grad_logits;
};

extern "C" {
int32_t detbox_abi();
// Both return 0, or a code that detbox_error explains.
int32_t detbox_forward(const DetboxProblem* problem, const DetboxTensors* tensors, void* stream);
int32_t detbox_backward(const DetboxProblem* problem, const DetboxTensors* tensors, void* stream);
const char* detbox_error(int32_t code);
}
