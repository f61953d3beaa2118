/// @file
/// Simd policy for Armv8.2 with the dot product extension (Cortex-A76 2018, Neoverse N1, Apple M1):
/// four registers of four lanes each. portable.hpp says what each operation means.
///
/// SDOT multiplies signed by signed, so activations have no offset and a packed line is multiplied as
/// it is stored.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "qeff/core/macros.hpp"
#include "qeff/kernels/isa.hpp"

namespace qeff::kernels::simd {

struct NeonDot {
  static constexpr Isa kIsa = Isa::neon_dot;
  static constexpr int kRows = 6;  // 24 sums + 4 weights + 1 activation of 32 registers
  static constexpr int kDotRows = 6;
  static constexpr int kPanels = 1;
  static constexpr bool kWide = false;
  static constexpr bool kNibbleWords = false;
  static constexpr bool kDecodesNibbles = false;

  struct F32 { float32x4_t q[4]; };
  struct I32 { int32x4_t q[4]; };

  /// V{f(0), f(1), f(2), f(3)}: one operation on the four registers.
  template <class V, class F>
  QEFF_INLINE static V each(F&& f) noexcept {
    return {{f(0), f(1), f(2), f(3)}};
  }

  QEFF_INLINE static F32 set1(float x) noexcept {
    const float32x4_t v = vdupq_n_f32(x);
    return {{v, v, v, v}};
  }
  QEFF_INLINE static F32 load(const float* p) noexcept {
    return each<F32>([&](int i) QEFF_INLINE_LAMBDA { return vld1q_f32(p + 4 * i); });
  }
  QEFF_INLINE static void store(float* p, F32 v) noexcept {
    vst1q_f32(p, v.q[0]);
    vst1q_f32(p + 4, v.q[1]);
    vst1q_f32(p + 8, v.q[2]);
    vst1q_f32(p + 12, v.q[3]);
  }
  QEFF_INLINE static F32 load_part(const float* p, std::size_t n) noexcept {
    float all[16] = {};
    for (std::size_t i = 0; i < n; ++i) all[i] = p[i];
    return load(all);
  }
  QEFF_INLINE static void store_part(float* p, F32 v, std::size_t n) noexcept {
    float all[16];
    store(all, v);
    for (std::size_t i = 0; i < n; ++i) p[i] = all[i];
  }
  QEFF_INLINE static F32 add(F32 a, F32 b) noexcept {
    return each<F32>([&](int i) QEFF_INLINE_LAMBDA { return vaddq_f32(a.q[i], b.q[i]); });
  }
  QEFF_INLINE static F32 sub(F32 a, F32 b) noexcept {
    return each<F32>([&](int i) QEFF_INLINE_LAMBDA { return vsubq_f32(a.q[i], b.q[i]); });
  }
  QEFF_INLINE static F32 mul(F32 a, F32 b) noexcept {
    return each<F32>([&](int i) QEFF_INLINE_LAMBDA { return vmulq_f32(a.q[i], b.q[i]); });
  }
  QEFF_INLINE static F32 div(F32 a, F32 b) noexcept {
    return each<F32>([&](int i) QEFF_INLINE_LAMBDA { return vdivq_f32(a.q[i], b.q[i]); });
  }
  QEFF_INLINE static F32 fma(F32 a, F32 b, F32 c) noexcept {
    return each<F32>([&](int i) QEFF_INLINE_LAMBDA { return vfmaq_f32(c.q[i], a.q[i], b.q[i]); });
  }
  /// Not FMAX, which returns NaN for a NaN in either operand; here, as on x86, the second decides.
  QEFF_INLINE static F32 max(F32 a, F32 b) noexcept {
    return each<F32>([&](int i) QEFF_INLINE_LAMBDA {
      return vbslq_f32(vcgtq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]);
    });
  }
  QEFF_INLINE static F32 min(F32 a, F32 b) noexcept {
    return each<F32>([&](int i) QEFF_INLINE_LAMBDA {
      return vbslq_f32(vcltq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]);
    });
  }
  QEFF_INLINE static float sum(F32 v) noexcept {
    const float32x4_t four = vaddq_f32(vaddq_f32(v.q[0], v.q[2]), vaddq_f32(v.q[1], v.q[3]));
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
  }
  QEFF_INLINE static float max_lane(F32 v) noexcept {
    return vmaxnmvq_f32(vmaxnmq_f32(vmaxnmq_f32(v.q[0], v.q[1]), vmaxnmq_f32(v.q[2], v.q[3])));
  }

  QEFF_INLINE static I32 set1(std::int32_t x) noexcept {
    const int32x4_t v = vdupq_n_s32(x);
    return {{v, v, v, v}};
  }
  QEFF_INLINE static I32 load(const std::int32_t* p) noexcept {
    return each<I32>([&](int i) QEFF_INLINE_LAMBDA { return vld1q_s32(p + 4 * i); });
  }
  QEFF_INLINE static void store(std::int32_t* p, I32 v) noexcept {
    vst1q_s32(p, v.q[0]);
    vst1q_s32(p + 4, v.q[1]);
    vst1q_s32(p + 8, v.q[2]);
    vst1q_s32(p + 12, v.q[3]);
  }
  QEFF_INLINE static I32 add(I32 a, I32 b) noexcept {
    return each<I32>([&](int i) QEFF_INLINE_LAMBDA { return vaddq_s32(a.q[i], b.q[i]); });
  }
  QEFF_INLINE static I32 sub(I32 a, I32 b) noexcept {
    return each<I32>([&](int i) QEFF_INLINE_LAMBDA { return vsubq_s32(a.q[i], b.q[i]); });
  }
  QEFF_INLINE static I32 and_(I32 a, I32 b) noexcept {
    return each<I32>([&](int i) QEFF_INLINE_LAMBDA { return vandq_s32(a.q[i], b.q[i]); });
  }
  QEFF_INLINE static I32 or_(I32 a, I32 b) noexcept {
    return each<I32>([&](int i) QEFF_INLINE_LAMBDA { return vorrq_s32(a.q[i], b.q[i]); });
  }
  template <int kBits>
  QEFF_INLINE static I32 shl(I32 a) noexcept {
    return each<I32>([&](int i) QEFF_INLINE_LAMBDA { return vshlq_s32(a.q[i], vdupq_n_s32(kBits)); });
  }
  template <int kBits>
  QEFF_INLINE static I32 shr(I32 a) noexcept {
    return each<I32>([&](int i) QEFF_INLINE_LAMBDA {
      return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a.q[i]), vdupq_n_s32(-kBits)));
    });
  }
  template <int kBits>
  QEFF_INLINE static I32 sar(I32 a) noexcept {
    return each<I32>([&](int i) QEFF_INLINE_LAMBDA { return vshlq_s32(a.q[i], vdupq_n_s32(-kBits)); });
  }
  QEFF_INLINE static I32 mul(I32 a, I32 b) noexcept {
    return each<I32>([&](int i) QEFF_INLINE_LAMBDA { return vmulq_s32(a.q[i], b.q[i]); });
  }
  QEFF_INLINE static I32 equal(I32 a, I32 b) noexcept {
    return each<I32>(
        [&](int i) QEFF_INLINE_LAMBDA { return vreinterpretq_s32_u32(vceqq_s32(a.q[i], b.q[i])); });
  }
  QEFF_INLINE static void interleave(I32 a, I32 b, I32& low, I32& high) noexcept {
    low = {{vzip1q_s32(a.q[0], b.q[0]), vzip2q_s32(a.q[0], b.q[0]), vzip1q_s32(a.q[1], b.q[1]), vzip2q_s32(a.q[1], b.q[1])}};
    high = {{vzip1q_s32(a.q[2], b.q[2]), vzip2q_s32(a.q[2], b.q[2]), vzip1q_s32(a.q[3], b.q[3]), vzip2q_s32(a.q[3], b.q[3])}};
  }
  QEFF_INLINE static F32 to_f32(I32 v) noexcept {
    return each<F32>([&](int i) QEFF_INLINE_LAMBDA { return vcvtq_f32_s32(v.q[i]); });
  }
  QEFF_INLINE static I32 round(F32 v) noexcept {
    return each<I32>([&](int i) QEFF_INLINE_LAMBDA { return vcvtnq_s32_f32(v.q[i]); });
  }
  QEFF_INLINE static F32 nearest(F32 v) noexcept {
    return each<F32>([&](int i) QEFF_INLINE_LAMBDA { return vrndnq_f32(v.q[i]); });
  }
  QEFF_INLINE static F32 as_f32(I32 v) noexcept {
    return each<F32>([&](int i) QEFF_INLINE_LAMBDA { return vreinterpretq_f32_s32(v.q[i]); });
  }
  QEFF_INLINE static I32 as_i32(F32 v) noexcept {
    return each<I32>([&](int i) QEFF_INLINE_LAMBDA { return vreinterpretq_s32_f32(v.q[i]); });
  }
  QEFF_INLINE static I32 load_u8(const std::uint8_t* p) noexcept {
    const uint8x16_t bytes = vld1q_u8(p);
    const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
    return {{vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(low))),
             vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(low))),
             vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(high))),
             vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(high)))}};
  }
  QEFF_INLINE static I32 load_u16(const std::uint16_t* p) noexcept {
    const uint16x8_t low = vld1q_u16(p), high = vld1q_u16(p + 8);
    return {{vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(low))),
             vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(low))),
             vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(high))),
             vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(high)))}};
  }
  QEFF_INLINE static F32 lookup16(const float* table, I32 index) noexcept {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(table);
    const uint8x16x4_t all = {{vld1q_u8(bytes), vld1q_u8(bytes + 16), vld1q_u8(bytes + 32), vld1q_u8(bytes + 48)}};
    return each<F32>([&](int i) QEFF_INLINE_LAMBDA {
      // Byte j of lane i of the index becomes 4 * index + j.
      const uint32x4_t four = vmulq_n_u32(vreinterpretq_u32_s32(index.q[i]), 0x04040404u);
      const uint32x4_t at = vaddq_u32(four, vdupq_n_u32(0x03020100u));
      return vreinterpretq_f32_u8(vqtbl4q_u8(all, vreinterpretq_u8_u32(at)));
    });
  }

  using ActI8 = std::int8_t;
  static constexpr bool kUnsignedCodes = false;

  struct Act { int8x16_t v; };
  struct Bytes { uint8x16_t q[4]; };

  QEFF_INLINE static Act load_act(const ActI8* p) noexcept {
    std::int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    return {vreinterpretq_s8_s32(vdupq_n_s32(four))};
  }
  QEFF_INLINE static Bytes load_codes(const std::byte* p) noexcept { return load_bytes(p); }
  QEFF_INLINE static I32 dot(I32 sum, Act a, Bytes codes) noexcept {
    return each<I32>([&](int i) QEFF_INLINE_LAMBDA {
      return vdotq_s32(sum.q[i], vreinterpretq_s8_u8(codes.q[i]), a.v);
    });
  }
  QEFF_INLINE static void store_act(ActI8* p, I32 q) noexcept {
    const int16x8_t low = vcombine_s16(vmovn_s32(q.q[0]), vmovn_s32(q.q[1]));
    const int16x8_t high = vcombine_s16(vmovn_s32(q.q[2]), vmovn_s32(q.q[3]));
    vst1q_s8(p, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
  }

  using Part = I32;
  using NibbleAct = Act;
  QEFF_INLINE static Part no_part() noexcept { return set1(std::int32_t{0}); }
  QEFF_INLINE static NibbleAct load_nibble_act(const std::int8_t* p) noexcept { return load_act(p); }
  QEFF_INLINE static Part nibble_dot(Part part, NibbleAct a, Bytes codes) noexcept { return dot(part, a, codes); }
  QEFF_INLINE static I32 add_part(I32 sum, Part part) noexcept { return add(sum, part); }
  QEFF_INLINE static void store_nibble_act(std::int8_t* p, I32 q) noexcept { store_act(p, q); }

  QEFF_INLINE static Bytes load_bytes(const std::byte* p) noexcept {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(p);
    return each<Bytes>([&](int i) QEFF_INLINE_LAMBDA { return vld1q_u8(bytes + 16 * i); });
  }
  QEFF_INLINE static void store_bytes(std::byte* p, Bytes b) noexcept {
    auto* bytes = reinterpret_cast<std::uint8_t*>(p);
    vst1q_u8(bytes, b.q[0]);
    vst1q_u8(bytes + 16, b.q[1]);
    vst1q_u8(bytes + 32, b.q[2]);
    vst1q_u8(bytes + 48, b.q[3]);
  }
  QEFF_INLINE static Bytes repeat4(const std::uint8_t* p) noexcept {
    const uint8x16_t bytes = vld1q_u8(p);
    const uint32x4_t first = {0x00000000u, 0x01010101u, 0x02020202u, 0x03030303u};
    return each<Bytes>([&](int i) QEFF_INLINE_LAMBDA {
      const uint32x4_t at = vaddq_u32(first, vdupq_n_u32(0x04040404u * static_cast<std::uint32_t>(i)));
      return vqtbl1q_u8(bytes, vreinterpretq_u8_u32(at));
    });
  }
  QEFF_INLINE static Bytes low_nibbles(Bytes b) noexcept {
    return each<Bytes>([&](int i) QEFF_INLINE_LAMBDA { return vandq_u8(b.q[i], vdupq_n_u8(15)); });
  }
  QEFF_INLINE static Bytes high_nibbles(Bytes b) noexcept {
    return each<Bytes>([&](int i) QEFF_INLINE_LAMBDA { return vshrq_n_u8(b.q[i], 4); });
  }
  QEFF_INLINE static Bytes sub(Bytes a, Bytes b) noexcept {
    return each<Bytes>([&](int i) QEFF_INLINE_LAMBDA { return vsubq_u8(a.q[i], b.q[i]); });
  }
  QEFF_INLINE static Bytes lookup_bytes(const std::int8_t* table, Bytes index) noexcept {
    const uint8x16_t all = vreinterpretq_u8_s8(vld1q_s8(table));
    return each<Bytes>([&](int i) QEFF_INLINE_LAMBDA { return vqtbl1q_u8(all, index.q[i]); });
  }
  QEFF_INLINE static bool any_has(Bytes b, std::uint8_t bits) noexcept {
    const uint8x16_t mask = vdupq_n_u8(bits);
    uint8x16_t any = vdupq_n_u8(0);
    for (const uint8x16_t v : b.q) any = vorrq_u8(any, vceqq_u8(vandq_u8(v, mask), mask));
    return vmaxvq_u8(any) != 0;
  }

  static constexpr bool kBf16 = false;
};

}  // namespace qeff::kernels::simd
