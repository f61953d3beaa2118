/// @file
/// Keys and values of the tokens so far, in the form KernelTable::cached_attention reads.
///
/// int8, int4: a scale for each token and head, of keys and of values: max|x| / 127, and x / -8 for the x of largest
/// magnitude.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

#include "qeff/kernels/table.hpp"
#include "qeff/nn/decoder_architecture.hpp"

namespace qeff::nn {

class KvCache {
 public:
  KvCache(std::size_t layers, std::size_t sequences, std::size_t kv_heads, std::size_t head_dim,
          std::size_t ctx_len, kernels::CachedAs format);

  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }  ///< Tokens of a sequence.
  [[nodiscard]] kernels::CachedAs format() const noexcept { return format_; }
  /// Whether queries, keys, values and the resulting context are to go through rotate_heads.
  [[nodiscard]] bool rotated() const noexcept { return format_ == kernels::CachedAs::int4; }

  /// So many positions, from a multiple of it on, may share dwords: they are not to be stored by several threads at once.
  static constexpr std::size_t kSharing = 8;

  /// Stores key and value (kv_heads, head_dim) of the token at `position`.
  void store(std::size_t layer, std::size_t sequence, std::size_t position, const float* key,
             const float* value) noexcept;
  /// Asks for the memory of positions [first, last), so that storing there does not wait for each line in turn.
  void prefetch(std::size_t layer, std::size_t sequence, std::size_t first, std::size_t last) const noexcept;
  /// Copies the first `length` tokens of one sequence to another, all layers.
  void copy(std::size_t from, std::size_t to, std::size_t length) noexcept;
  /// Fills in where the keys and values of a head are, and how.
  void point(kernels::CachedAttentionArgs& args, std::size_t layer, std::size_t sequence,
             std::size_t head) const noexcept;

 private:
  template <kernels::CachedAs kFormat>
  void store_as(std::size_t layer, std::size_t sequence, std::size_t position, const float* key,
                const float* value) noexcept;
  struct Free {
    void operator()(void* p) const noexcept { std::free(p); }
  };
  [[nodiscard]] std::byte* head(std::size_t layer, std::size_t sequence, std::size_t head) const noexcept;

  std::size_t sequences_, kv_heads_, head_dim_;
  kernels::CachedAs format_;
  std::size_t steps_, capacity_;
  std::size_t key_bytes_, value_pitch_, value_bytes_, head_bytes_;  // of one head
  std::size_t bytes_;
  std::unique_ptr<void, Free> memory_;  // zeroed by the system when first touched
  std::byte* base_;
};

}  // namespace qeff::nn
