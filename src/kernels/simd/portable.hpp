/// @file
/// The Simd policy spelled out on arrays: what every operation means.
///
/// A policy works on 16 lanes, one for each column of a panel (kernels/packed_weights.hpp). The other
/// policies say the same with instructions; integer operations must agree with this file in every
/// bit, float operations up to the rounding of fma.
///
/// Integer products take a packed line, 4 reduction indices of 16 columns, times the 4 activations of
/// one row, broadcast (Act). Signed codes go through dot, codes of 4 bits without their zero points
/// through nibble_dot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "qeff/core/macros.hpp"
#include "qeff/kernels/isa.hpp"

namespace qeff::kernels::simd {

struct Portable {
  static constexpr Isa kIsa = Isa::portable;
  static constexpr int kRows = 4;     ///< Rows of a register tile of float products.
  static constexpr int kDotRows = 4;  ///< The same of dot and nibble_dot.
  static constexpr int kPanels = 1;   ///< Panels of a register tile, 1 or 2.

  struct F32 { float at[16]; };
  struct I32 { std::int32_t at[16]; };

  // --- 16 floats -----------------------------------------------------------------------------
  QEFF_INLINE static F32 set1(float x) noexcept {
    F32 v;
    for (float& e : v.at) e = x;
    return v;
  }
  QEFF_INLINE static F32 load(const float* p) noexcept {
    F32 v;
    std::memcpy(v.at, p, sizeof v.at);
    return v;
  }
  QEFF_INLINE static void store(float* p, F32 v) noexcept { std::memcpy(p, v.at, sizeof v.at); }
  /// The first `count` < 16 lanes; the others are 0 / not written.
  QEFF_INLINE static F32 load_part(const float* p, std::size_t count) noexcept {
    F32 v{};
    std::memcpy(v.at, p, count * sizeof(float));
    return v;
  }
  QEFF_INLINE static void store_part(float* p, F32 v, std::size_t count) noexcept {
    std::memcpy(p, v.at, count * sizeof(float));
  }
  QEFF_INLINE static F32 add(F32 a, F32 b) noexcept {
    for (int i = 0; i < 16; ++i) a.at[i] += b.at[i];
    return a;
  }
  QEFF_INLINE static F32 sub(F32 a, F32 b) noexcept {
    for (int i = 0; i < 16; ++i) a.at[i] -= b.at[i];
    return a;
  }
  QEFF_INLINE static F32 mul(F32 a, F32 b) noexcept {
    for (int i = 0; i < 16; ++i) a.at[i] *= b.at[i];
    return a;
  }
  QEFF_INLINE static F32 div(F32 a, F32 b) noexcept {
    for (int i = 0; i < 16; ++i) a.at[i] /= b.at[i];
    return a;
  }
  /// a * b + c, rounded once: without it a model with int8 activations, whose codes flip at the last
  /// bit, would give visibly other results here than on ISAs that have the instruction.
  QEFF_INLINE static F32 fma(F32 a, F32 b, F32 c) noexcept {
    for (int i = 0; i < 16; ++i) c.at[i] = __builtin_fmaf(a.at[i], b.at[i], c.at[i]);
    return c;
  }
  /// a > b ? a : b, so b if either is NaN; min likewise.
  QEFF_INLINE static F32 max(F32 a, F32 b) noexcept {
    for (int i = 0; i < 16; ++i) a.at[i] = a.at[i] > b.at[i] ? a.at[i] : b.at[i];
    return a;
  }
  QEFF_INLINE static F32 min(F32 a, F32 b) noexcept {
    for (int i = 0; i < 16; ++i) a.at[i] = a.at[i] < b.at[i] ? a.at[i] : b.at[i];
    return a;
  }
  /// Sum of the lanes by halves: 16 to 8 to 4 to 2 to 1, so that every ISA adds in the same order.
  QEFF_INLINE static float sum(F32 v) noexcept {
    for (int half = 8; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) v.at[i] += v.at[i + half];
    return v.at[0];
  }
  QEFF_INLINE static float max_lane(F32 v) noexcept {
    float m = v.at[0];
    for (const float e : v.at) m = e > m ? e : m;
    return m;
  }

  // --- 16 integers ---------------------------------------------------------------------------
  QEFF_INLINE static I32 set1(std::int32_t x) noexcept {
    I32 v;
    for (std::int32_t& e : v.at) e = x;
    return v;
  }
  QEFF_INLINE static I32 load(const std::int32_t* p) noexcept {
    I32 v;
    std::memcpy(v.at, p, sizeof v.at);
    return v;
  }
  QEFF_INLINE static void store(std::int32_t* p, I32 v) noexcept { std::memcpy(p, v.at, sizeof v.at); }
  QEFF_INLINE static I32 add(I32 a, I32 b) noexcept {
    for (int i = 0; i < 16; ++i)
      a.at[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(a.at[i]) +
                                          static_cast<std::uint32_t>(b.at[i]));
    return a;
  }
  QEFF_INLINE static I32 sub(I32 a, I32 b) noexcept {
    for (int i = 0; i < 16; ++i)
      a.at[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(a.at[i]) -
                                          static_cast<std::uint32_t>(b.at[i]));
    return a;
  }
  QEFF_INLINE static I32 and_(I32 a, I32 b) noexcept {
    for (int i = 0; i < 16; ++i) a.at[i] &= b.at[i];
    return a;
  }
  QEFF_INLINE static I32 or_(I32 a, I32 b) noexcept {
    for (int i = 0; i < 16; ++i) a.at[i] |= b.at[i];
    return a;
  }
  template <int kBits>
  QEFF_INLINE static I32 shl(I32 a) noexcept {
    for (std::int32_t& e : a.at) e = static_cast<std::int32_t>(static_cast<std::uint32_t>(e) << kBits);
    return a;
  }
  template <int kBits>
  QEFF_INLINE static I32 shr(I32 a) noexcept {
    for (std::int32_t& e : a.at) e = static_cast<std::int32_t>(static_cast<std::uint32_t>(e) >> kBits);
    return a;
  }
  /// Shift that copies the sign.
  template <int kBits>
  QEFF_INLINE static I32 sar(I32 a) noexcept {
    for (std::int32_t& e : a.at) e >>= kBits;
    return a;
  }
  /// The low 32 bits of the products.
  QEFF_INLINE static I32 mul(I32 a, I32 b) noexcept {
    for (int i = 0; i < 16; ++i)
      a.at[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(a.at[i]) *
                                          static_cast<std::uint32_t>(b.at[i]));
    return a;
  }
  /// All ones where equal, else 0.
  QEFF_INLINE static I32 equal(I32 a, I32 b) noexcept {
    for (int i = 0; i < 16; ++i) a.at[i] = a.at[i] == b.at[i] ? -1 : 0;
    return a;
  }
  /// The lanes of a and b in turns: low = a0 b0 a1 b1 ... a7 b7, high = a8 b8 ... a15 b15.
  QEFF_INLINE static void interleave(I32 a, I32 b, I32& low, I32& high) noexcept {
    for (int i = 0; i < 8; ++i) {
      low.at[2 * i] = a.at[i], low.at[2 * i + 1] = b.at[i];
      high.at[2 * i] = a.at[8 + i], high.at[2 * i + 1] = b.at[8 + i];
    }
  }
  QEFF_INLINE static F32 to_f32(I32 v) noexcept {
    F32 f;
    for (int i = 0; i < 16; ++i) f.at[i] = static_cast<float>(v.at[i]);
    return f;
  }
  /// Rounded to nearest, ties to even. @pre |v| < 2^22
  QEFF_INLINE static I32 round(F32 v) noexcept {
    I32 r;
    for (int i = 0; i < 16; ++i) {
      const float shifted = v.at[i] + 12582912.0f;  // 1.5 * 2^23: the rounding of the sum does it
      std::int32_t bits;
      std::memcpy(&bits, &shifted, sizeof bits);
      r.at[i] = bits - 0x4b400000;
    }
    return r;
  }
  /// The same as a float.
  QEFF_INLINE static F32 nearest(F32 v) noexcept { return to_f32(round(v)); }
  QEFF_INLINE static F32 as_f32(I32 v) noexcept {
    F32 f;
    std::memcpy(f.at, v.at, sizeof f.at);
    return f;
  }
  QEFF_INLINE static I32 as_i32(F32 v) noexcept {
    I32 i;
    std::memcpy(i.at, v.at, sizeof i.at);
    return i;
  }
  /// 16 unsigned bytes, widened.
  QEFF_INLINE static I32 load_u8(const std::uint8_t* p) noexcept {
    I32 v;
    for (int i = 0; i < 16; ++i) v.at[i] = p[i];
    return v;
  }
  QEFF_INLINE static I32 load_u16(const std::uint16_t* p) noexcept {
    I32 v;
    for (int i = 0; i < 16; ++i) v.at[i] = p[i];
    return v;
  }
  /// table[index] for index in 0..15.
  QEFF_INLINE static F32 lookup16(const float* table, I32 index) noexcept {
    F32 f;
    for (int i = 0; i < 16; ++i) f.at[i] = table[index.at[i]];
    return f;
  }

  // --- int8 products -------------------------------------------------------------------------
  using ActI8 = std::int8_t;             ///< How a quantized activation is stored.
  /// Whether dot takes a code as the unsigned number 128 above it. Prepared rows then come with what that adds.
  static constexpr bool kUnsignedCodes = false;

  struct Act { std::int8_t at[4]; };
  struct Bytes { std::uint8_t at[64]; };  ///< A line of codes.

  QEFF_INLINE static Act load_act(const ActI8* p) noexcept {
    Act a;
    std::memcpy(a.at, p, sizeof a.at);
    return a;
  }
  /// A line of signed codes as dot takes them.
  QEFF_INLINE static Bytes load_codes(const std::byte* p) noexcept { return load_bytes(p); }
  /// sum[c] += activations times the codes of column c, as load_codes read them. @pre no code is -128
  QEFF_INLINE static I32 dot(I32 sum, Act a, Bytes codes) noexcept {
    for (int c = 0; c < 16; ++c)
      for (int j = 0; j < 4; ++j) sum.at[c] += a.at[j] * static_cast<std::int8_t>(codes.at[c * 4 + j]);
    return sum;
  }
  /// Stores 16 quantized activations in [-127, 127].
  QEFF_INLINE static void store_act(ActI8* p, I32 q) noexcept {
    for (int i = 0; i < 16; ++i) p[i] = static_cast<std::int8_t>(q.at[i]);
  }

  // --- products of 4-bit codes ---------------------------------------------------------------
  struct Part { std::int32_t at[16]; };  ///< Sums of up to 8 lines of nibble_dot.
  using NibbleAct = Act;

  QEFF_INLINE static Part no_part() noexcept { return {}; }
  QEFF_INLINE static NibbleAct load_nibble_act(const std::int8_t* p) noexcept { return load_act(p); }
  /// Adds activations times codes in 0..15.
  QEFF_INLINE static Part nibble_dot(Part part, NibbleAct a, Bytes codes) noexcept {
    for (int c = 0; c < 16; ++c)
      for (int j = 0; j < 4; ++j) part.at[c] += a.at[j] * codes.at[c * 4 + j];
    return part;
  }
  QEFF_INLINE static I32 add_part(I32 sum, Part part) noexcept {
    for (int c = 0; c < 16; ++c) sum.at[c] += part.at[c];
    return sum;
  }
  /// Stores 16 quantized activations as plain bytes.
  QEFF_INLINE static void store_nibble_act(std::int8_t* p, I32 q) noexcept { store_act(p, q); }

  /// Whether products of words (widen, dot_words: see avx2.hpp) are no slower than those of bytes.
  static constexpr bool kWide = false;
  /// Whether products of 4-bit codes by words (even_nibbles, odd_nibbles, look_up_words, dot_words: see avx2.hpp) are faster
  /// than those of bf16 or float32.
  static constexpr bool kNibbleWords = false;
  /// Whether many rows of int8 take 4-bit codes faster as bytes, decoded a panel at a time, than as they are stored.
  static constexpr bool kDecodesNibbles = false;

  // --- lines of bytes ------------------------------------------------------------------------
  QEFF_INLINE static Bytes load_bytes(const std::byte* p) noexcept {
    Bytes b;
    std::memcpy(b.at, p, sizeof b.at);
    return b;
  }
  /// 16 bytes, each four times: what a line needs of one value a column.
  QEFF_INLINE static Bytes repeat4(const std::uint8_t* p) noexcept {
    Bytes b;
    for (int i = 0; i < 64; ++i) b.at[i] = p[i / 4];
    return b;
  }
  QEFF_INLINE static Bytes low_nibbles(Bytes b) noexcept {
    for (std::uint8_t& e : b.at) e &= 15;
    return b;
  }
  QEFF_INLINE static Bytes high_nibbles(Bytes b) noexcept {
    for (std::uint8_t& e : b.at) e >>= 4;
    return b;
  }
  QEFF_INLINE static Bytes sub(Bytes a, Bytes b) noexcept {
    for (int i = 0; i < 64; ++i) a.at[i] = static_cast<std::uint8_t>(a.at[i] - b.at[i]);
    return a;
  }
  QEFF_INLINE static void store_bytes(std::byte* p, Bytes b) noexcept { std::memcpy(p, b.at, sizeof b.at); }
  /// table[index] for indices in 0..15.
  QEFF_INLINE static Bytes lookup_bytes(const std::int8_t* table, Bytes index) noexcept {
    for (std::uint8_t& e : index.at) e = static_cast<std::uint8_t>(table[e]);
    return index;
  }
  /// Whether any byte has all bits of `bits` set.
  QEFF_INLINE static bool any_has(Bytes b, std::uint8_t bits) noexcept {
    bool any = false;
    for (const std::uint8_t e : b.at) any |= (e & bits) == bits;
    return any;
  }

  // --- bf16 products: none, float32 does them ------------------------------------------------
  static constexpr bool kBf16 = false;
};

}  // namespace qeff::kernels::simd
