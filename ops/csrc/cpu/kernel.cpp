// Deformable attention of one image and head on a CPU. Built once per instruction set, each time
// with another DETBOX_VARIANT; library.cpp chooses among them at run time. Nothing here may come
// from the standard library's templates: the linker could hand their code to another variant.
#include "kernel.h"

#include "places.h"
#include "rows.h"

namespace {

template <class Stored>
class Slice {
  using R = Real<Stored>;

 public:
  Slice(const DetboxProblem& problem, const DetboxTensors& tensors, int64_t slice)
      : p_(problem),
        t_(tensors),
        image_(slice / problem.heads),
        head_(slice % problem.heads),
        width_(static_cast<int>(problem.width)),
        padded_((width_ + kLanes<R> - 1) / kLanes<R> * kLanes<R>) {}

  bool forward(int64_t first, int64_t last) {
    Memory memory(scratch() + packed_bytes());
    if (!memory.start) return false;
    Samples<R> samples(p_, memory);
    const Rows<const Stored> value = value_rows(memory);
    R* row = memory.take<R>(padded_);
    for (int64_t query = first; query < last; ++query) {
      locate(query, samples);
      in_blocks<R>(padded_, Gather{samples, value, row});
      write_row(row, static_cast<Stored*>(t_.output) + row_of(query) * width_);
    }
    return true;
  }

  bool backward() {
    Memory memory(scratch() + packed_bytes() + gradient_bytes());
    if (!memory.start) return false;
    Samples<R> samples(p_, memory);
    const Rows<const Stored> value = value_rows(memory);
    const Rows<R> grad_value = gradient_rows(memory);
    R* row = memory.take<R>(padded_);
    memset(row, 0, padded_ * sizeof(R));
    Gradients grads(samples.padded, memory);
    for (int64_t query = 0; query < p_.queries; ++query) {
      locate(query, samples);
      read_row(static_cast<const Stored*>(t_.grad_output) + row_of(query) * width_, row);
      memset(grads.products, 0, samples.count * kCorners * sizeof(R));
      in_blocks<R>(padded_, Scatter{samples, value, row, grad_value, grads.products});
      finish(query, samples, grads);
    }
    if (!in_place()) write_gradient(grad_value);
    return true;
  }

 private:
  struct Gather {
    const Samples<R>& samples;
    const Rows<const Stored>& value;
    R* row;
    template <int kVectors>
    INLINE void run(int channel) const {
      gather<kVectors>(samples, value.at(channel), row + channel);
    }
  };

  struct Scatter {
    const Samples<R>& samples;
    const Rows<const Stored>& value;
    const R* row;
    const Rows<R>& grad_value;
    R* products;
    template <int kVectors>
    INLINE void run(int channel) const {
      scatter<kVectors>(samples, value.at(channel), row + channel, grad_value.at(channel),
                        products);
    }
  };

  struct Gradients {
    R *products, *x, *y, *weight;
    Gradients(int padded, Memory& memory)
        : products(memory.take<R>(padded * kCorners)),
          x(memory.take<R>(padded)),
          y(memory.take<R>(padded)),
          weight(memory.take<R>(padded)) {}
  };

  int64_t row_of(int64_t query) const { return (image_ * p_.queries + query) * p_.heads + head_; }
  int64_t samples_of(int64_t query) const { return row_of(query) * p_.levels * p_.points; }
  const R* references(int64_t query) const {
    const int64_t index = (image_ * p_.queries + query) * p_.levels * p_.reference_size;
    return static_cast<const R*>(t_.references) + index;
  }
  int64_t first_token() const { return image_ * p_.tokens * p_.heads + head_; }

  // A head's rows lie far apart; many reads pay for a copy that puts them side by side.
  bool packs() const { return width_ != padded_ || p_.queries * p_.points * 2 > p_.tokens; }
  // Gradients are added up where they are wanted, if the type has digits enough.
  bool in_place() const { return sizeof(Stored) == sizeof(R) && !packs(); }

  size_t scratch() const {
    const size_t row = padded_ * sizeof(R) + 64;
    return Samples<R>::bytes(p_) + 4 * row + 8 * (Samples<R>::padded_count(p_) * sizeof(R) + 64);
  }
  size_t packed_bytes() const { return packs() ? p_.tokens * padded_ * sizeof(Stored) + 64 : 0; }
  size_t gradient_bytes() const { return in_place() ? 0 : p_.tokens * padded_ * sizeof(R) + 64; }

  Rows<const Stored> value_rows(Memory& memory) const {
    Stored* outside = memory.take<Stored>(padded_);
    memset(outside, 0, padded_ * sizeof(Stored));
    const Stored* first = static_cast<const Stored*>(t_.value) + first_token() * width_;
    if (!packs()) return {first, p_.heads * width_, outside};
    Stored* packed = memory.take<Stored>(p_.tokens * padded_);
    for (int64_t token = 0; token < p_.tokens; ++token) {
      Stored* row = packed + token * padded_;
      memcpy(row, first + token * p_.heads * width_, width_ * sizeof(Stored));
      memset(row + width_, 0, (padded_ - width_) * sizeof(Stored));
    }
    return {packed, padded_, outside};
  }

  Rows<R> gradient_rows(Memory& memory) const {
    R* outside = memory.take<R>(padded_);
    if (!in_place()) {
      R* rows = memory.take<R>(p_.tokens * padded_);
      memset(rows, 0, p_.tokens * padded_ * sizeof(R));
      return {rows, padded_, outside};
    }
    R* first = static_cast<R*>(t_.grad_value) + first_token() * width_;
    for (int64_t token = 0; token < p_.tokens; ++token) {
      memset(first + token * p_.heads * width_, 0, width_ * sizeof(R));
    }
    return {first, p_.heads * width_, outside};
  }

  void write_gradient(const Rows<R>& rows) const {
    Stored* first = static_cast<Stored*>(t_.grad_value) + first_token() * width_;
    for (int64_t token = 0; token < p_.tokens; ++token) {
      write_row(rows.first + token * rows.stride, first + token * p_.heads * width_);
    }
  }

  INLINE void write_row(const R* row, Stored* to) const {
    for (int channel = 0; channel < width_; ++channel) narrow(row[channel], to + channel);
  }
  INLINE void read_row(const Stored* from, R* row) const {
    for (int channel = 0; channel < width_; ++channel) row[channel] = widen(from[channel]);
  }

  // The rows of one head lie too far apart for the machine to guess the next.
  INLINE void prefetch(int64_t query) const {
    const int64_t first = samples_of(query), count = p_.levels * p_.points;
    const size_t offset = p_.reference_size ? sizeof(Stored) : sizeof(R);
    touch(t_.offsets, 2 * first * offset, 2 * count * offset);
    touch(t_.logits, first * sizeof(Stored), count * sizeof(Stored));
    if (t_.grad_output) {
      touch(t_.grad_output, row_of(query) * width_ * sizeof(Stored), width_ * sizeof(Stored));
    }
  }

  static INLINE void touch(const void* tensor, size_t first, size_t bytes) {
    const char* start = static_cast<const char*>(tensor) + first;
    for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch(start + line);
  }

  // Locations are places and have their type; offsets have that of the value.
  INLINE void locate(int64_t query, Samples<R>& samples) const {
    const int64_t first = samples_of(query);
    prefetch(query + 8);
    read_weights(p_, static_cast<const Stored*>(t_.logits) + first, samples);
    if (p_.reference_size) {
      read_places(p_, references(query), static_cast<const Stored*>(t_.offsets) + 2 * first, samples);
    } else {
      read_places(p_, references(query), static_cast<const R*>(t_.offsets) + 2 * first, samples);
    }
    find_corners(samples);
    find_shares(samples);
  }

  INLINE void finish(int64_t query, const Samples<R>& samples, Gradients& grads) const {
    const int64_t first = samples_of(query);
    find_gradients(samples.padded, grads.products, samples.right, samples.below, samples.weight,
                   grads.x, grads.y, grads.weight);
    write_weights(p_, samples, grads.weight, static_cast<Stored*>(t_.grad_logits) + first);
    if (p_.reference_size) {
      R* shares = static_cast<R*>(t_.grad_references);
      if (shares) shares += row_of(query) * p_.levels * p_.reference_size;
      write_places(p_, references(query), static_cast<const Stored*>(t_.offsets) + 2 * first,
                   samples, grads.x, grads.y, static_cast<Stored*>(t_.grad_offsets) + 2 * first,
                   shares);
    } else {
      write_places<R, R>(p_, nullptr, static_cast<const R*>(t_.offsets) + 2 * first, samples,
                         grads.x, grads.y, static_cast<R*>(t_.grad_offsets) + 2 * first, nullptr);
    }
  }

  const DetboxProblem& p_;
  const DetboxTensors& t_;
  const int64_t image_, head_;
  const int width_, padded_;
};

bool forward(const DetboxProblem& problem, const DetboxTensors& tensors, int64_t slice,
             int64_t first, int64_t last) {
  switch (problem.type) {
    case DETBOX_FLOAT64:
      return Slice<double>(problem, tensors, slice).forward(first, last);
    case DETBOX_BFLOAT16:
      return Slice<BFloat16>(problem, tensors, slice).forward(first, last);
    default:
      return Slice<float>(problem, tensors, slice).forward(first, last);
  }
}

bool backward(const DetboxProblem& problem, const DetboxTensors& tensors, int64_t slice) {
  switch (problem.type) {
    case DETBOX_FLOAT64:
      return Slice<double>(problem, tensors, slice).backward();
    case DETBOX_BFLOAT16:
      return Slice<BFloat16>(problem, tensors, slice).backward();
    default:
      return Slice<float>(problem, tensors, slice).backward();
  }
}

}  // namespace

extern const Kernel DETBOX_VARIANT = {forward, backward};
