// Vectors of channels: the vector types of GCC and clang, lowered to what the machine has.
#pragma once

#include <cstdint>
#include <cstring>

#define INLINE inline __attribute__((always_inline))

namespace {

struct BFloat16 {
  uint16_t bits;
};

// What a stored type is computed in.
template <class Stored>
struct Computed {
  using type = float;
};
template <>
struct Computed<double> {
  using type = double;
};
template <class Stored>
using Real = typename Computed<Stored>::type;

constexpr int kVectorBytes = 32;

template <class R>
constexpr int kLanes = kVectorBytes / sizeof(R);

template <class R>
struct VectorOf {
  typedef R type __attribute__((vector_size(kVectorBytes)));
};
template <class R>
using Vector = typename VectorOf<R>::type;

template <class R>
INLINE Vector<R> copied(const R* from) {
  Vector<R> lanes;
  memcpy(&lanes, from, sizeof(lanes));
  return lanes;
}

INLINE Vector<float> load(const float* from) { return copied(from); }
INLINE Vector<double> load(const double* from) { return copied(from); }

INLINE Vector<float> load(const BFloat16* from) {
  typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));
  typedef uint32_t Wholes __attribute__((vector_size(kVectorBytes)));
  Halves bits;
  memcpy(&bits, from, sizeof(bits));
  const Wholes wide = __builtin_convertvector(bits, Wholes) << 16;
  Vector<float> lanes;
  memcpy(&lanes, &wide, sizeof(lanes));
  return lanes;
}

template <class R>
INLINE void store(R* to, Vector<R> lanes) {
  memcpy(to, &lanes, sizeof(lanes));
}

INLINE float widen(float x) { return x; }
INLINE double widen(double x) { return x; }
INLINE float widen(BFloat16 x) {
  const uint32_t wide = static_cast<uint32_t>(x.bits) << 16;
  float real;
  memcpy(&real, &wide, sizeof(real));
  return real;
}

INLINE void narrow(float x, float* to) { *to = x; }
INLINE void narrow(double x, double* to) { *to = x; }
INLINE void narrow(float x, BFloat16* to) {  // to the nearest, ties to even
  uint32_t wide;
  memcpy(&wide, &x, sizeof(wide));
  const uint32_t rounded = (wide + 0x7fff + ((wide >> 16) & 1)) >> 16;
  to->bits = static_cast<uint16_t>(x == x ? rounded : 0x7fc0);
}

template <class R>
INLINE R sum(Vector<R> lanes) {
  R total = 0;
  for (int lane = 0; lane < kLanes<R>; ++lane) total += lanes[lane];
  return total;
}

// The sums of four vectors at once cost half of four sums one by one.
template <class R>
INLINE void sums(Vector<R> a, Vector<R> b, Vector<R> c, Vector<R> d, R* to) {
  to[0] = sum<R>(a), to[1] = sum<R>(b), to[2] = sum<R>(c), to[3] = sum<R>(d);
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
typedef float Quad __attribute__((vector_size(16)));

INLINE Quad fold(Vector<float> lanes) {
  return __builtin_shufflevector(lanes, lanes, 0, 1, 2, 3) +
         __builtin_shufflevector(lanes, lanes, 4, 5, 6, 7);
}

INLINE Quad interleave(Quad a, Quad b) {
  return __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
}

template <>
INLINE void sums<float>(Vector<float> a, Vector<float> b, Vector<float> c, Vector<float> d,
                        float* to) {
  const Quad ab = interleave(fold(a), fold(b)), cd = interleave(fold(c), fold(d));
  const Quad total =
      __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
  memcpy(to, &total, sizeof(total));
}
#endif
#endif

}  // namespace
