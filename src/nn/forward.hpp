/// @file
/// The steps of an encoder's forward pass on packed tokens, shared by the runtime and calibration.
///
/// Every step works row by row or sequence by sequence, so neither the cut into slices nor the
/// number of threads changes a byte of the result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nn/encoder_model.hpp"
#include "nn/linear.hpp"
#include "qeff/core/aligned_buffer.hpp"
#include "qeff/nn/token_batch.hpp"

namespace qeff::nn {

/// Consecutive whole sequences of a batch.
struct Slice {
  const TokenBatch* batch = nullptr;
  std::size_t first = 0, count = 0;  ///< Sequences.

  [[nodiscard]] std::size_t begin(std::size_t sequence = 0) const noexcept {
    return batch->offsets[first + sequence];
  }
  [[nodiscard]] std::size_t tokens() const noexcept { return begin(count) - begin(); }
  /// Where sequence `i` of the slice starts among the slice's tokens.
  [[nodiscard]] std::size_t local(std::size_t sequence) const noexcept {
    return begin(sequence) - begin();
  }
};

/// Cuts a batch into slices of up to `tokens` tokens; a longer sequence is a slice of its own.
/// Depends on the batch alone.
[[nodiscard]] std::vector<Slice> cut(const TokenBatch& batch, std::size_t tokens);

/// Memory of one running slice, kept between calls.
struct Workspace {
  AlignedBuffer x;        ///< (tokens, hidden), the result
  AlignedBuffer qkv;      ///< (tokens, 3 hidden)
  AlignedBuffer context;  ///< (tokens, hidden)
  AlignedBuffer inner;    ///< (rows of an FFN block, intermediate)
  AlignedBuffer scratch;  ///< of attention, one part for each thread inside the slice
};

/// x = norm(words + positions + types), (tokens, hidden).
void embed_tokens(const EncoderModel& model, const Slice& slice, float* x);

/// context = attention(q, k, v) of each sequence and head; q, k and v are what `projection` gave.
void attend(const EncoderModel& model, const Linear& projection, const Slice& slice,
            const float* qkv, float* context, AlignedBuffer& scratch, Team team);

/// x = norm(x), m rows, in place.
void normalize_rows(const EncoderModel& model, const Norm& norm, float* x, std::size_t m);

/// The whole encoder; the result is in workspace.x.
void forward(const EncoderModel& model, const Slice& slice, Workspace& workspace, Team team);

}  // namespace qeff::nn
