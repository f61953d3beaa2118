/// @file
/// What prepared rows of x look like, decided by weights and number of rows; prepare_rows writes and
/// gemm reads by the same function. Integer sums are exact: the choice shows in time only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bodies/tile.inl.hpp"
#include "qeff/core/macros.hpp"
#include "qeff/kernels/packed_weights.hpp"
#include "qeff/kernels/tuning.hpp"

namespace qeff::kernels {

enum class RowForm {
  floats,     ///< float32 or bf16: k_padded values
  quantized,  ///< k_padded S::ActI8; where S takes codes as unsigned, then -128 times their sums over each group, int32
  nibbles,    ///< k_padded plain int8 codes, then minus their sums over each group, int32
  words,      ///< k_padded codes of 16 bits
  nibble_words  ///< codes of 16 bits (word_limit), k in the order 0 2 1 3 of four, then the sums as of nibbles
};

/// The integer that the largest value of a codebook becomes in products of 16 bits: a step is then a tenth of
/// what bf16 rounds it by.
inline constexpr std::size_t kCodebookWord = 2047;

/// Reduction indices whose 4-bit products a policy adds before it widens their sum: 8 lines.
inline constexpr std::size_t kNibbleUnit = 32;

template <class S>
struct Rows {
  /// A policy with tiles of its own multiplies many rows of signed codes faster.
  static constexpr bool kTiles = requires { typename S::Tile; };

  QEFF_INLINE static RowForm form(const PackedView& w, std::size_t rows) noexcept {
    const bool whole_units = w.group_size == w.k || w.group_size % kNibbleUnit == 0;
    const bool nibbles = w.format == WeightFormat::u4 && whole_units;
    if (w.activations == Activations::bf16 && S::kNibbleWords && whole_units && group(w) <= most_word_group(w.format))
      return RowForm::nibble_words;
    if (w.activations != Activations::int8) return RowForm::floats;
    if (nibbles && rows <= most_nibble_rows()) return RowForm::nibbles;
    return S::kWide && rows > tuning().byte_rows ? RowForm::words : RowForm::quantized;
  }

  /// Bytes of one row, a multiple of 64; not one of 512, so that a tile's rows share no set of a cache.
  QEFF_INLINE static std::size_t bytes(const PackedView& w, std::size_t rows) noexcept {
    const std::size_t n = used_bytes(w, form(w, rows));
    return n % 512 == 0 ? n + 64 : n;
  }

  /// What is stored for group g where the codes of a row end, in the forms that have sums.
  QEFF_INLINE static std::int32_t group_sum(const std::byte* end_of_codes, std::size_t g) noexcept {
    std::int32_t sum;
    __builtin_memcpy(&sum, end_of_codes + g * sizeof sum, sizeof sum);
    return sum;
  }

  /// The largest code of nibble_words: sums over a group stay below 2^31. A step is then at most max|x| / 8195, of
  /// u4 weights in groups of up to 4369 max|x| / 32767, where bf16 rounds x by up to |x| / 512.
  QEFF_INLINE static float word_limit(const PackedView& w) noexcept {
    const std::size_t most = 0x7fffffff / (most_word(w.format) * group(w));
    return static_cast<float>(most < 32767 ? most : 32767);
  }

 private:
  QEFF_INLINE static std::size_t used_bytes(const PackedView& w, RowForm form) noexcept {
    const std::size_t k = w.k_padded();
    switch (form) {
      case RowForm::quantized: return k * sizeof(typename S::ActI8) + (S::kUnsignedCodes ? sum_bytes(w) : 0);
      case RowForm::nibbles: return k + sum_bytes(w);
      case RowForm::words: return k * 2;
      case RowForm::nibble_words: return k * 2 + sum_bytes(w);
      case RowForm::floats: break;
    }
    return k * (w.activations == Activations::bf16 && S::kBf16 ? 2 : 4);
  }
  /// Most rows that multiply 4-bit codes as they are stored.
  QEFF_INLINE static std::size_t most_nibble_rows() noexcept {
    return kTiles ? tuning().nibble_rows : S::kDecodesNibbles ? tuning().decode_rows : ~std::size_t{0};
  }
  QEFF_INLINE static std::size_t group(const PackedView& w) noexcept { return w.group_size < w.k ? w.group_size : w.k; }
  /// The largest weight of nibble_words.
  QEFF_INLINE static std::size_t most_word(WeightFormat format) noexcept {
    return format == WeightFormat::u4 ? 15 : kCodebookWord;
  }
  /// The largest group of nibble_words that leaves activations enough bits.
  QEFF_INLINE static std::size_t most_word_group(WeightFormat format) noexcept {
    return format == WeightFormat::u4 ? ~std::size_t{0} : format == WeightFormat::cb4 ? 128 : 0;
  }
  QEFF_INLINE static std::size_t sum_bytes(const PackedView& w) noexcept {
    return (w.groups() * sizeof(std::int32_t) + 63) / 64 * 64;
  }
};

}  // namespace qeff::kernels
