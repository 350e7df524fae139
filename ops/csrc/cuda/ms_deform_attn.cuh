// Multi-scale deformable attention, forward and backward (Deformable DETR, eq. 3).
//
// Here and in the files included there is device code alone: no torch, no host calls, no launches.
// A C++ compiler therefore runs these very files thread by thread in the tests
// (tests/ops/emulation).
//
// GROUP neighbouring lanes serve one (image, query, head), VECTOR channels a lane. Every lane
// prepares its own samples (place, softmax) and hands them round by shuffles, so that this work is
// done once per sample and not once per channel. A block serves neighbouring queries of one head,
// which read much the same cells: they meet in the L1 cache.
#pragma once

#include "backward.cuh"
#include "forward.cuh"
