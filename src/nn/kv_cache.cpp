#include "nn/kv_cache.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>

#include "qeff/core/checked_size.hpp"
#include "qeff/core/minifloat.hpp"

namespace qeff::nn {
namespace {

using kernels::CachedAs;

constexpr std::size_t kLine = 64, kColumns = 16, kDword = 4, kBlock = 64;  // kBlock: keys a kernel reads at once

constexpr bool has_scales(CachedAs format) noexcept { return format >= CachedAs::int8; }

/// NaN if a value is NaN or Inf. int4 has one code more below zero: the largest value becomes it, whatever its sign.
float scale_of(CachedAs format, const float* x, std::size_t n) noexcept {
  float most = 0, poison = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (std::abs(x[i]) > std::abs(most)) most = x[i];
    poison += x[i] * 0.0f;
  }
  if (poison != 0) return poison;
  if (most == 0) return 1.0f;
  return format == CachedAs::int4 ? most / -8.0f : std::abs(most) / 127.0f;
}

/// Bits of a value. A line is 16 dwords, one a column, with the first of its steps in their lowest bits.
template <CachedAs kFormat>
constexpr unsigned kBits = 32 / kernels::cache_steps(kFormat);
template <CachedAs kFormat>
constexpr std::uint32_t kMask = 0xffffffffu >> (32 - kBits<kFormat>);

template <CachedAs kFormat>
std::uint32_t code_of(float x, [[maybe_unused]] float inverse) noexcept {
  if constexpr (kFormat == CachedAs::f32) {
    return std::bit_cast<std::uint32_t>(x);
  } else if constexpr (kFormat == CachedAs::bf16) {
    return to_bits<BF16>(x);
  } else {
    if (std::isnan(inverse)) return 0;
    const float code = std::nearbyint(x * inverse);
    const float most = kFormat == CachedAs::int4 ? 7.0f : 127.0f;
    return static_cast<std::uint32_t>(static_cast<std::int32_t>(std::min(code, most))) & kMask<kFormat>;
  }
}

/// A key to its dwords of consecutive lines.
template <CachedAs kFormat>
void store_key(const float* key, std::size_t head_dim, float inverse, std::byte* column) noexcept {
  constexpr std::size_t kSteps = kernels::cache_steps(kFormat);
  for (std::size_t i = 0; i < head_dim; i += kSteps, column += kLine) {
    std::uint32_t dword = 0;
    for (std::size_t step = 0; step < std::min(kSteps, head_dim - i); ++step)
      dword |= code_of<kFormat>(key[i + step], inverse) << step * kBits<kFormat>;
    std::memcpy(column, &dword, kDword);
  }
}

/// A value to the bits of `step` in the lines of its panels, which are `pitch` bytes apart.
template <CachedAs kFormat>
void store_value(const float* value, std::size_t head_dim, float inverse, std::byte* line, std::size_t pitch,
                 std::size_t step) noexcept {
  const std::size_t shift = step * kBits<kFormat>;
  const std::uint32_t others = ~(kMask<kFormat> << shift);
  for (std::size_t i = 0; i < head_dim; i += kColumns, line += pitch) {
    const std::size_t columns = std::min(kColumns, head_dim - i);
    std::uint32_t codes[kColumns] = {}, dwords[kColumns];
    for (std::size_t c = 0; c < columns; ++c) codes[c] = code_of<kFormat>(value[i + c], inverse) << shift;
    std::memcpy(dwords, line, sizeof dwords);
    for (std::size_t c = 0; c < kColumns; ++c) dwords[c] = (dwords[c] & others) | codes[c];
    std::memcpy(line, dwords, sizeof dwords);
  }
}

}  // namespace

KvCache::KvCache(std::size_t layers, std::size_t sequences, std::size_t kv_heads,
                 std::size_t head_dim, std::size_t ctx_len, CachedAs format)
    : sequences_(sequences),
      kv_heads_(kv_heads),
      head_dim_(head_dim),
      format_(format),
      steps_(kernels::cache_steps(format)),
      capacity_(round_up(ctx_len, kBlock)) {
  key_bytes_ = capacity_ / kColumns * (round_up(head_dim, steps_) / steps_) * kLine;
  value_pitch_ = capacity_ / steps_ * kLine;
  value_bytes_ = round_up(head_dim, kColumns) / kColumns * value_pitch_;
  head_bytes_ = key_bytes_ + value_bytes_ + (has_scales(format) ? 2 * capacity_ * sizeof(float) : 0);
  bytes_ = layers * sequences * kv_heads * head_bytes_;
  memory_.reset(std::calloc(bytes_ + kLine, 1));
  if (!memory_) throw std::bad_alloc();
  void* aligned = memory_.get();
  std::size_t space = bytes_ + kLine;
  base_ = static_cast<std::byte*>(std::align(kLine, bytes_, aligned, space));
}

std::byte* KvCache::head(std::size_t layer, std::size_t sequence, std::size_t head) const noexcept {
  return base_ + ((layer * sequences_ + sequence) * kv_heads_ + head) * head_bytes_;
}

void KvCache::store(std::size_t layer, std::size_t sequence, std::size_t position, const float* key,
                    const float* value) noexcept {
  switch (format_) {
    case CachedAs::f32: return store_as<CachedAs::f32>(layer, sequence, position, key, value);
    case CachedAs::bf16: return store_as<CachedAs::bf16>(layer, sequence, position, key, value);
    case CachedAs::int8: return store_as<CachedAs::int8>(layer, sequence, position, key, value);
    case CachedAs::int4: return store_as<CachedAs::int4>(layer, sequence, position, key, value);
  }
}

template <CachedAs kFormat>
void KvCache::store_as(std::size_t layer, std::size_t sequence, std::size_t position, const float* key,
                       const float* value) noexcept {
  constexpr std::size_t kSteps = kernels::cache_steps(kFormat);
  const std::size_t head_dim = head_dim_, key_lines = round_up(head_dim, kSteps) / kSteps;
  for (std::size_t h = 0; h < kv_heads_; ++h, key += head_dim, value += head_dim) {
    std::byte* const keys = head(layer, sequence, h);
    std::byte* const values = keys + key_bytes_;
    float key_inverse = 1, value_inverse = 1;
    if constexpr (has_scales(kFormat)) {
      float* const scales = reinterpret_cast<float*>(values + value_bytes_);
      scales[position] = scale_of(kFormat, key, head_dim);
      scales[capacity_ + position] = scale_of(kFormat, value, head_dim);
      key_inverse = 1 / scales[position], value_inverse = 1 / scales[capacity_ + position];
    }
    store_key<kFormat>(key, head_dim, key_inverse, keys + position / kColumns * key_lines * kLine + position % kColumns * kDword);
    store_value<kFormat>(value, head_dim, value_inverse, values + position / kSteps * kLine, value_pitch_, position % kSteps);
  }
}

void KvCache::prefetch(std::size_t layer, std::size_t sequence, std::size_t first, std::size_t last) const noexcept {
  const std::size_t key_pitch = round_up(head_dim_, steps_) / steps_ * kLine;  // of kColumns positions
  const auto ask_for = [](const std::byte* at, const std::byte* end) {
    for (; at < end; at += kLine) __builtin_prefetch(at, 1);
  };
  for (std::size_t h = 0; h < kv_heads_; ++h) {
    const std::byte* const keys = head(layer, sequence, h);
    ask_for(keys + first / kColumns * key_pitch, keys + (last + kColumns - 1) / kColumns * key_pitch);
    for (const std::byte* values = keys + key_bytes_; values < keys + key_bytes_ + value_bytes_; values += value_pitch_)
      ask_for(values + first / steps_ * kLine, values + (last + steps_ - 1) / steps_ * kLine);
  }
}

void KvCache::copy(std::size_t from, std::size_t to, std::size_t length) noexcept {
  const std::size_t keys = round_up(length, kColumns) / kColumns * (key_bytes_ * kColumns / capacity_);
  const std::size_t values = round_up(length, steps_) / steps_ * kLine;
  const std::size_t layers = bytes_ / (sequences_ * kv_heads_ * head_bytes_);
  for (std::size_t l = 0; l < layers; ++l)
    for (std::size_t h = 0; h < kv_heads_; ++h) {
      const std::byte* source = head(l, from, h);
      std::byte* target = head(l, to, h);
      std::memcpy(target, source, keys);
      for (std::size_t p = 0; p < value_bytes_; p += value_pitch_)
        std::memcpy(target + key_bytes_ + p, source + key_bytes_ + p, values);
      const std::size_t scales = key_bytes_ + value_bytes_;
      for (std::size_t p = scales; p < head_bytes_; p += capacity_ * sizeof(float))
        std::memcpy(target + p, source + p, length * sizeof(float));
    }
}

void KvCache::point(kernels::CachedAttentionArgs& args, std::size_t layer, std::size_t sequence,
                    std::size_t h) const noexcept {
  const std::byte* const keys = head(layer, sequence, h);
  args.format = format_;
  args.keys = keys;
  args.values = keys + key_bytes_;
  args.value_pitch = value_pitch_;
  if (!has_scales(format_)) return;
  args.key_scales = reinterpret_cast<const float*>(args.values + value_bytes_);
  args.value_scales = args.key_scales + capacity_;
}

}  // namespace qeff::nn
