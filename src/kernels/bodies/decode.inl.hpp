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

  /// Signed bytes of the 4-bit codes of a panel: code - zero_point, or round(127 codebook / largest), to
  /// be scaled by codebook_step. @pre one group, or group_size a multiple of 4
  static void expand_nibbles(const PackedView& w, std::size_t panel, std::byte* out) noexcept {
    if (w.format == WeightFormat::cb4) {
      alignas(64) std::int8_t table[16];
      round_codebook(w, codebook_step(w), table);
      return each_nibble_line(w, panel, [&](std::size_t l, Bytes code) QEFF_INLINE_LAMBDA {
        S::store_bytes(out + l * 64, S::lookup_bytes(table, code));
      });
    }
    each_zeroed_line(w, panel, [&](std::size_t l, Bytes code, Bytes zero) QEFF_INLINE_LAMBDA {
      S::store_bytes(out + l * 64, S::sub(code, zero));
    });
  }

  /// use(line, its codes, their zero points) for all lines of a panel of u4; a byte each. @pre as expand_nibbles
  template <class Use>
  QEFF_INLINE static void each_zeroed_line(const PackedView& w, std::size_t panel, Use&& use) noexcept {
    const std::size_t groups = w.groups();
    const std::size_t group_lines = groups == 1 ? w.k_padded() / 4 : w.group_size / 4;
    const std::uint8_t* zeros = w.zero_points + panel * groups * kPanel;
    const auto zero_at = [&](std::size_t l) QEFF_INLINE_LAMBDA {
      const std::size_t g = l / group_lines < groups ? l / group_lines : groups - 1;
      return S::repeat4(zeros + g * kPanel);
    };
    const bool whole_units = groups == 1 || group_lines % 8 == 0;
    Bytes zero[2];
    each_nibble_line(w, panel, [&](std::size_t l, Bytes code) QEFF_INLINE_LAMBDA {
      Bytes& of_unit = zero[l / 8 % 2];
      if (!whole_units || l % 8 == 0) of_unit = zero_at(l);
      use(l, code, of_unit);
    });
  }

  /// What an integer stands for before its scale, 1 but for codebooks, whose largest value becomes `limit`.
  QEFF_INLINE static float codebook_step(const PackedView& w, std::size_t limit = 127) noexcept {
    if (w.format != WeightFormat::cb4) return 1.0f;
    float largest = 0.0f;
    for (int i = 0; i < 16; ++i) {
      const float magnitude = w.codebook[i] < 0 ? -w.codebook[i] : w.codebook[i];
      if (magnitude > largest) largest = magnitude;
    }
    return largest > 0.0f ? largest / static_cast<float>(limit) : 1.0f;
  }

  /// table[i] = round(codebook[i] / step)
  template <class Code>
  static void round_codebook(const PackedView& w, float step, Code* table) noexcept {
    alignas(64) std::int32_t codes[16];
    S::store(codes, S::round(S::div(S::load(w.codebook), S::set1(step))));
    for (int i = 0; i < 16; ++i) table[i] = static_cast<Code>(codes[i]);
  }

  /// 16 scales from element `at` on.
  QEFF_INLINE static F32 scales(const PackedView& w, std::size_t at) noexcept {
    if (w.bf16_scales != nullptr) return S::as_f32(S::template shl<16>(S::load_u16(w.bf16_scales + at)));
    return S::load(w.scales + at);
  }

  // --- floats ----------------------------------------------------------------------------------

  /// Bytes of a decoded float panel.
  QEFF_INLINE static constexpr std::size_t float_panel_bytes(Activations mode, std::size_t k_padded) noexcept {
    return k_padded * kPanel * (S::kBf16 && mode == Activations::bf16 ? 2 : 4);
  }

  /// Whether values are decoded without their scale, which the sums then get: a panel has one scale a
  /// column, and the codes are exact in bf16, so nothing is rounded.
  QEFF_INLINE static bool scale_last(const PackedView& w) noexcept {
    return w.scales != nullptr && w.groups() == 1 && w.format != WeightFormat::cb4;
  }

  /// Decodes panel `panel`: float32 [k][16], or bf16 pairs [k / 2][16][2] where S multiplies those.
  /// With bf16 activations the values are rounded to bf16 either way.
  static void expand_float(const PackedView& w, std::size_t panel, std::byte* out) noexcept {
    each_line(w, panel, [&](std::size_t k, F32 (&v)[4]) QEFF_INLINE_LAMBDA {
      if (S::kBf16 && w.activations == Activations::bf16) {
        S::store(reinterpret_cast<std::int32_t*>(out + k * 32), pair(v[0], v[1]));
        S::store(reinterpret_cast<std::int32_t*>(out + (k + 2) * 32), pair(v[2], v[3]));
        return;
      }
      float* f = reinterpret_cast<float*>(out) + k * kPanel;
      for (int j = 0; j < 4; ++j) S::store(f + j * 16, v[j]);
    });
  }

  /// Two bf16-rounded vectors to one of pairs. @pre the low 16 bits of each lane are 0
  QEFF_INLINE static I32 pair(F32 a, F32 b) noexcept {
    return S::or_(S::template shr<16>(S::as_i32(a)), S::as_i32(b));
  }

  /// use(k, values of k..k+3) for every line of a panel in ascending order, as the products take them.
  template <class Use>
  QEFF_INLINE static void each_line(const PackedView& w, std::size_t panel, Use&& use) noexcept {
    switch (w.format) {
      case WeightFormat::i8: return scaled_lines<kI8>(w, panel, use);
      case WeightFormat::u8: return scaled_lines<kU8>(w, panel, use);
      case WeightFormat::u4: return scaled_lines<kU4>(w, panel, use);
      case WeightFormat::cb4: return scaled_lines<kCodebook>(w, panel, use);
      case WeightFormat::e4m3: return scaled_lines<kE4M3>(w, panel, use);
      case WeightFormat::e5m2: return scaled_lines<kE5M2>(w, panel, use);
      case WeightFormat::bf16: return bf16_lines(w, panel, use);
      case WeightFormat::f32: return f32_lines(w, panel, use);
    }
  }

  /// use(line, its codes) for every line of a panel, two at a time as they share their bytes.
  template <class Use>
  QEFF_INLINE static void each_nibble_line(const PackedView& w, std::size_t panel, Use&& use) noexcept {
    const std::byte* codes = w.codes + panel * panel_bytes(w.format, w.k_padded());
    for (std::size_t first = 0; first < w.k_padded() / 4; first += 16)
      for (std::size_t l = first; l < first + 8; ++l, codes += 64) {
        const Bytes both = S::load_bytes(codes);
        use(l, S::low_nibbles(both));
        use(l + 8, S::high_nibbles(both));
      }
  }

 private:
  enum Code { kI8, kU8, kU4, kCodebook, kE4M3, kE5M2 };

  /// Line `l` of 4-bit codes, a byte each.
  QEFF_INLINE static Bytes nibbles(const std::byte* codes, std::size_t l) noexcept {
    const Bytes both = S::load_bytes(codes + (l / 16) * 512 + (l % 8) * 64);
    return l % 16 < 8 ? S::low_nibbles(both) : S::high_nibbles(both);
  }

  /// One line of 4 reduction indices: 16 dwords of 4 codes, one dword a column.
  template <Code kCode>
  QEFF_INLINE static I32 load_line(const std::byte* codes, std::size_t l) noexcept {
    if constexpr (kCode == kU4 || kCode == kCodebook) {
      alignas(64) std::byte line[64];
      S::store_bytes(line, nibbles(codes, l));
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

  /// FP8 to float32, exact for all finite codes: the fields moved into place are the value times a
  /// power of two, subnormals included. The shift copies the sign below itself; the mask takes that off.
  template <Code kCode, int kJ>
  QEFF_INLINE static F32 minifloat(I32 line) noexcept {
    constexpr bool kE4 = kCode == kE4M3;
    const I32 top = S::template sar<kE4 ? 4 : 3>(S::template shl<24 - 8 * kJ>(line));
    const I32 mask = S::set1(static_cast<std::int32_t>(kE4 ? 0x87f00000u : 0x8fe00000u));
    return S::mul(S::as_f32(S::and_(top, mask)), S::set1(kE4 ? 0x1p120f : 0x1p112f));
  }

  /// Sets what minifloat cannot: NaN of both formats, Inf of E5M2 (all exponent bits are ones).
  template <Code kCode>
  static void set_special(I32 line, F32 (&v)[4]) noexcept {
    constexpr bool kE4 = kCode == kE4M3;
    const I32 bits = S::set1(std::int32_t{kE4 ? 0x7f000000 : 0x7c000000});
    const I32 top = S::set1(std::int32_t{kE4 ? 0x7fc00000 : 0x7f800000});
    const auto one = [&]<int kJ>() QEFF_INLINE_LAMBDA {
      const I32 is = S::equal(S::and_(S::template shl<24 - 8 * kJ>(line), bits), bits);
      v[kJ] = S::as_f32(S::or_(S::as_i32(v[kJ]), S::and_(is, top)));
    };
    one.template operator()<0>();
    one.template operator()<1>();
    one.template operator()<2>();
    one.template operator()<3>();
  }

  template <Code kCode>
  QEFF_INLINE static void load_scale(const PackedView& w, std::size_t panel, std::size_t k, F32& scale,
                                     F32& zero) noexcept {
    const std::size_t groups = w.groups();
    const std::size_t g = k / w.group_size < groups ? k / w.group_size : groups - 1;
    const std::size_t at = (panel * groups + g) * kPanel;
    scale = scales(w, at);
    if constexpr (kCode == kU8 || kCode == kU4) zero = S::to_f32(S::load_u8(w.zero_points + at));
  }

  enum Scaling { kNone, kScaled, kRounded };  ///< kRounded: scaled, then rounded to bf16.

  template <Code kCode, class Use>
  QEFF_INLINE static void scaled_lines(const PackedView& w, std::size_t panel, Use&& use) noexcept {
    if constexpr (kCode != kCodebook)
      if (scale_last(w)) return lines<kCode, kNone>(w, panel, use);
    if (w.activations == Activations::bf16)
      lines<kCode, kRounded>(w, panel, use);
    else
      lines<kCode, kScaled>(w, panel, use);
  }

  /// All lines of a panel; a group boundary may fall inside a line.
  template <Code kCode, Scaling kScaling, class Use>
  QEFF_INLINE static void lines(const PackedView& w, std::size_t panel, Use&& use) noexcept {
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
        v[kJ] = value<kCode, kJ>(line, w.codebook, zero);
        if constexpr (kScaling != kNone) v[kJ] = S::mul(v[kJ], scale);
        if constexpr (kScaling == kRounded) v[kJ] = Math<S>::round_bf16(v[kJ]);
      };
      one.template operator()<0>();
      one.template operator()<1>();
      one.template operator()<2>();
      one.template operator()<3>();
      if constexpr (kCode == kE4M3 || kCode == kE5M2)
        if (S::any_has(S::load_bytes(codes + k * kPanel), kCode == kE4M3 ? 0x7f : 0x7c)) [[unlikely]]
          set_special<kCode>(line, v);
      use(k, v);
    }
  }

  template <class Use>
  static void bf16_lines(const PackedView& w, std::size_t panel, Use&& use) noexcept {
    const std::byte* codes = w.codes + panel * panel_bytes(w.format, w.k_padded());
    for (std::size_t k = 0; k < w.k_padded(); k += 4) {
      F32 v[4];
      for (std::size_t j = 0; j < 2; ++j) {
        const I32 both = S::load(reinterpret_cast<const std::int32_t*>(codes + (k + 2 * j) * 32));
        v[2 * j] = S::as_f32(S::template shl<16>(both));
        v[2 * j + 1] = S::as_f32(S::and_(both, S::set1(static_cast<std::int32_t>(0xffff0000))));
      }
      use(k, v);
    }
  }

  template <class Use>
  static void f32_lines(const PackedView& w, std::size_t panel, Use&& use) noexcept {
    const float* codes = reinterpret_cast<const float*>(w.codes + panel * panel_bytes(w.format, w.k_padded()));
    for (std::size_t k = 0; k < w.k_padded(); k += 4) {
      F32 v[4];
      for (std::size_t j = 0; j < 4; ++j) {
        v[j] = S::load(codes + (k + j) * kPanel);
        if (w.activations == Activations::bf16) v[j] = Math<S>::round_bf16(v[j]);
      }
      use(k, v);
    }
  }
};

}  // namespace qeff::kernels
