/// @file
/// From packed codes to what the tiles multiply with: widened integers or floats, a panel at a time.
/// A decoded panel is used for every row of x, so its cost is shared by all of them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bodies/math.inl.hpp"
#include "qeff/core/macros.hpp"
#include "qeff/kernels/packed_weights.hpp"

namespace qeff::kernels {

template <class S>
struct Decode {
  using F32 = typename S::F32;
  using I32 = typename S::I32;
  using Bytes = typename S::Bytes;

  // --- integers --------------------------------------------------------------------------------

  /// Writes the steps of packed line `line` at `out` (kSteps * kStepBytes).
  QEFF_INLINE static void store_steps(const std::byte* line, std::byte* out) noexcept {
    if constexpr (S::kExpand) {
      S::store_step(out, S::template step_of_line<0>(line));
      S::store_step(out + S::kStepBytes, S::template step_of_line<1>(line));
    } else {
      S::store_bytes(out, S::load_bytes(line));
    }
  }

  static void expand_i8(const std::byte* codes, std::size_t lines, std::byte* out) noexcept {
    for (std::size_t l = 0; l < lines; ++l) store_steps(codes + l * 64, out + l * S::kSteps * S::kStepBytes);
  }

  /// code - zero_point as int8 for all lines of a panel. @pre one group, or group_size a multiple of 4
  static void expand_u4(const PackedView& w, std::size_t panel, std::byte* out) noexcept {
    const std::size_t lines = w.k_padded() / 4, groups = w.groups();
    const std::size_t group_lines = groups == 1 ? lines : w.group_size / 4;
    const std::byte* codes = w.codes + panel * panel_bytes(w.format, w.k_padded());
    const std::uint8_t* zeros = w.zero_points + panel * groups * kPanel;
    for (std::size_t l = 0; l < lines; ++l) {
      const Bytes both = S::load_bytes(codes + (l / 16) * 512 + (l % 8) * 64);
      const Bytes code = l % 16 < 8 ? S::low_nibbles(both) : S::high_nibbles(both);
      const std::size_t g = l / group_lines < groups ? l / group_lines : groups - 1;
      alignas(64) std::byte line[64];
      S::store_bytes(line, S::sub(code, S::repeat4(zeros + g * kPanel)));
      store_steps(line, out + l * S::kSteps * S::kStepBytes);
    }
  }

  // --- floats ----------------------------------------------------------------------------------

  /// Bytes of a decoded float panel.
  QEFF_INLINE static constexpr std::size_t float_panel_bytes(Activations mode, std::size_t k_padded) noexcept {
    return k_padded * kPanel * (S::kBf16 && mode == Activations::bf16 ? 2 : 4);
  }

  /// Decodes panel `panel`: float32 [k][16], or bf16 pairs [k / 2][16][2] where S multiplies those.
  /// With bf16 activations the values are rounded to bf16 either way.
  static void expand_float(const PackedView& w, std::size_t panel, std::byte* out) noexcept {
    switch (w.format) {
      case WeightFormat::i8: return lines<kI8>(w, panel, out);
      case WeightFormat::u8: return lines<kU8>(w, panel, out);
      case WeightFormat::u4: return lines<kU4>(w, panel, out);
      case WeightFormat::cb4: return lines<kCodebook>(w, panel, out);
      case WeightFormat::e4m3: return lines<kE4M3>(w, panel, out);
      case WeightFormat::e5m2: return lines<kE5M2>(w, panel, out);
      case WeightFormat::bf16: return bf16_panel(w, panel, out);
      case WeightFormat::f32: return f32_panel(w, panel, out);
    }
  }

 private:
  enum Code { kI8, kU8, kU4, kCodebook, kE4M3, kE5M2 };

  /// One line of 4 reduction indices: 16 dwords of 4 codes, one dword a column.
  template <Code kCode>
  QEFF_INLINE static I32 load_line(const std::byte* codes, std::size_t l) noexcept {
    if constexpr (kCode == kU4 || kCode == kCodebook) {
      const Bytes both = S::load_bytes(codes + (l / 16) * 512 + (l % 8) * 64);
      alignas(64) std::byte line[64];
      S::store_bytes(line, l % 16 < 8 ? S::low_nibbles(both) : S::high_nibbles(both));
      return S::load(reinterpret_cast<const std::int32_t*>(line));
    } else {
      return S::load(reinterpret_cast<const std::int32_t*>(codes + l * 64));
    }
  }

  /// The values of byte j of each dword before the scale.
  template <Code kCode, int kJ>
  QEFF_INLINE static F32 value(I32 line, const float* codebook, F32 zero) noexcept {
    if constexpr (kCode == kI8) {
      return S::to_f32(S::template sar<24>(S::template shl<24 - 8 * kJ>(line)));
    } else if constexpr (kCode == kE4M3 || kCode == kE5M2) {
      return minifloat<kCode, kJ>(line);
    } else {
      const I32 code = S::and_(S::template shr<8 * kJ>(line), S::set1(std::int32_t{255}));
      if constexpr (kCode == kCodebook) return S::lookup16(codebook, code);
      return S::sub(S::to_f32(code), zero);
    }
  }

  /// FP8 to float32, exact for all 256 codes: the fields moved into place are the value times a
  /// power of two, subnormals included; NaN (and Inf of E5M2) are set by mask.
  template <Code kCode, int kJ>
  QEFF_INLINE static F32 minifloat(I32 line) noexcept {
    constexpr bool kE4 = kCode == kE4M3;
    const I32 top = S::template shl<24 - 8 * kJ>(line);  // the byte in bits 24..31
    const I32 sign = S::and_(top, S::set1(static_cast<std::int32_t>(0x80000000)));
    const I32 magnitude = S::and_(top, S::set1(std::int32_t{0x7f000000}));
    const F32 tiny = S::as_f32(S::template shr<kE4 ? 4 : 3>(magnitude));
    const F32 scaled = S::mul(tiny, S::set1(kE4 ? 0x1p120f : 0x1p112f));
    constexpr std::int32_t kSpecial = kE4 ? 0x7f000000 : 0x7c000000;
    const I32 special = S::equal(S::and_(magnitude, S::set1(kSpecial)), S::set1(kSpecial));
    const I32 bits = S::or_(S::as_i32(scaled), S::and_(special, S::set1(std::int32_t{0x7f800000})));
    const I32 nan = kE4 ? S::and_(special, S::set1(std::int32_t{0x00400000})) : S::set1(std::int32_t{0});
    return S::as_f32(S::or_(S::or_(bits, nan), sign));
  }

  template <Code kCode>
  QEFF_INLINE static void load_scale(const PackedView& w, std::size_t panel, std::size_t k, F32& scale,
                                     F32& zero) noexcept {
    const std::size_t groups = w.groups();
    const std::size_t g = k / w.group_size < groups ? k / w.group_size : groups - 1;
    const std::size_t at = (panel * groups + g) * kPanel;
    scale = S::load(w.scales + at);
    if constexpr (kCode == kU8 || kCode == kU4) zero = S::to_f32(S::load_u8(w.zero_points + at));
  }

  /// Decodes all lines of a panel; a group boundary may fall inside a line.
  template <Code kCode>
  static void lines(const PackedView& w, std::size_t panel, std::byte* out) noexcept {
    const std::byte* codes = w.codes + panel * panel_bytes(w.format, w.k_padded());
    F32 scale = S::set1(0.0f), zero = S::set1(0.0f);
    std::size_t next_group = 0;  // the reduction index at which scale and zero change
    for (std::size_t k = 0; k < w.k_padded(); k += 4) {
      const I32 line = load_line<kCode>(codes, k / 4);
      F32 v[4];
      const auto one = [&]<int kJ>() QEFF_INLINE_LAMBDA {
        if (k + kJ >= next_group) {
          load_scale<kCode>(w, panel, k + kJ, scale, zero);
          next_group += w.group_size;
        }
        v[kJ] = S::mul(value<kCode, kJ>(line, w.codebook, zero), scale);
      };
      one.template operator()<0>();
      one.template operator()<1>();
      one.template operator()<2>();
      one.template operator()<3>();
      store4(w.activations, v, k, out);
    }
  }

  QEFF_INLINE static void store4(Activations mode, F32 (&v)[4], std::size_t k, std::byte* out) noexcept {
    if (mode == Activations::bf16) {
      for (F32& e : v) e = Math<S>::round_bf16(e);
      if constexpr (S::kBf16) {
        store_pair(v[0], v[1], out + k * 32);
        store_pair(v[2], v[3], out + (k + 2) * 32);
        return;
      }
    }
    float* f = reinterpret_cast<float*>(out) + k * kPanel;
    for (int j = 0; j < 4; ++j) S::store(f + j * 16, v[j]);
  }

  /// Two bf16-rounded vectors to one of pairs. @pre the low 16 bits of each lane are 0
  QEFF_INLINE static void store_pair(F32 a, F32 b, std::byte* out) noexcept {
    const I32 pair = S::or_(S::template shr<16>(S::as_i32(a)), S::as_i32(b));
    S::store(reinterpret_cast<std::int32_t*>(out), pair);
  }

  static void bf16_panel(const PackedView& w, std::size_t panel, std::byte* out) noexcept {
    const std::byte* codes = w.codes + panel * panel_bytes(w.format, w.k_padded());
    for (std::size_t k = 0; k < w.k_padded(); k += 2) {
      const I32 pair = S::load(reinterpret_cast<const std::int32_t*>(codes + k * 32));
      if constexpr (S::kBf16) {
        if (w.activations == Activations::bf16) {
          S::store(reinterpret_cast<std::int32_t*>(out + k * 32), pair);
          continue;
        }
      }
      float* f = reinterpret_cast<float*>(out) + k * kPanel;
      S::store(f, S::as_f32(S::template shl<16>(pair)));
      S::store(f + 16, S::as_f32(S::and_(pair, S::set1(static_cast<std::int32_t>(0xffff0000)))));
    }
  }

  static void f32_panel(const PackedView& w, std::size_t panel, std::byte* out) noexcept {
    const float* codes = reinterpret_cast<const float*>(w.codes + panel * panel_bytes(w.format, w.k_padded()));
    for (std::size_t k = 0; k < w.k_padded(); k += 4) {
      F32 v[4];
      for (std::size_t j = 0; j < 4; ++j) v[j] = S::load(codes + (k + j) * kPanel);
      store4(w.activations, v, k, out);
    }
  }
};

}  // namespace qeff::kernels
