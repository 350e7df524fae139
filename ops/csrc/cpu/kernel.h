// What every build of kernel.cpp offers to library.cpp.
#pragma once

#include "../interface.h"

struct Kernel {
  // Both return false when there is no memory. `slice` is image * heads + head.
  bool (*forward)(const DetboxProblem&, const DetboxTensors&, int64_t slice, int64_t first_query,
                  int64_t last_query);
  bool (*backward)(const DetboxProblem&, const DetboxTensors&, int64_t slice);
};

extern const Kernel kernel_baseline;
#ifdef DETBOX_X86
extern const Kernel kernel_v3;
#endif
