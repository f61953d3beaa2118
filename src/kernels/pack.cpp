#include "qeff/kernels/pack.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "qeff/core/error.hpp"
#include "qeff/core/minifloat.hpp"
#include "qeff/quant/round_scales.hpp"

namespace qeff {
namespace {

using kernels::Activations;
using kernels::kPanel;
using kernels::PackedMatrix;
using kernels::PackedView;
using kernels::WeightFormat;

/// Where the code of (n, k) lies: its byte, and for 4-bit formats which nibble.
struct Place {
  std::size_t byte;
  bool high;
};

Place place(const PackedView& v, std::size_t n, std::size_t k) noexcept {
  const std::size_t panel = n / kPanel * panel_bytes(v.format, v.k_padded()), column = n % kPanel;
  const std::size_t line = k / 4, j = k % 4;
  switch (v.format) {
    case WeightFormat::u4:
    case WeightFormat::cb4:
      return {panel + line / 16 * 512 + line % 8 * 64 + column * 4 + j, line % 16 >= 8};
    case WeightFormat::bf16: return {panel + (k / 2 * 32 + column * 2 + k % 2) * 2, false};
    case WeightFormat::f32: return {panel + (k * 16 + column) * 4, false};
    default: return {panel + line * 64 + column * 4 + j, false};
  }
}

WeightFormat format_of(const QuantizedMatrix& q) {
  switch (q.kind) {
    case CodeKind::codebook: return WeightFormat::cb4;
    case CodeKind::minifloat: return q.float_format == DType::e5m2 ? WeightFormat::e5m2 : WeightFormat::e4m3;
    case CodeKind::affine: break;
  }
  if (q.bits <= 4) return WeightFormat::u4;
  return q.is_signed && q.zero_points.empty() ? WeightFormat::i8 : WeightFormat::u8;
}

void check(const QuantizedMatrix& q) {
  require(q.rows > 0 && q.cols > 0, "pack: empty matrix (", q.rows, ", ", q.cols, ")");
  require(q.bits >= 2 && q.bits <= 8, "pack: bits must be 2..8, got ", q.bits);
  require(q.group_size > 0 && q.group_size <= q.cols, "pack: group_size must be 1..", q.cols, ", got ", q.group_size);
  require(q.codes.size() == q.rows * q.cols, "pack: ", q.codes.size(), " codes for (", q.rows, ", ", q.cols, ")");
  const std::size_t scales = q.rows * q.groups();
  require(q.scales.size() == scales, "pack: ", q.scales.size(), " scales where ", scales, " are needed");
  require(q.zero_points.empty() || q.zero_points.size() == scales, "pack: ", q.zero_points.size(),
          " zero points where ", scales, " are needed");
  require(q.input_scale.empty() || q.input_scale.size() == q.cols, "pack: ", q.input_scale.size(),
          " input scales for ", q.cols, " columns");
  for (std::size_t i = 0; i < scales; ++i)
    require(std::isfinite(q.scales[i]), "pack: scale of row ", i / q.groups(), ", group ", i % q.groups(), " is ",
            q.scales[i]);
}

/// Whether integer kernels can take the groups: a line of four codes must not straddle two.
bool groups_fit_lines(const QuantizedMatrix& q) { return q.group_size % 4 == 0 || q.group_size == q.cols; }

Activations default_activations(const QuantizedMatrix& q, WeightFormat format) {
  return format == WeightFormat::i8 && groups_fit_lines(q) ? Activations::int8 : Activations::bf16;
}

/// Adds to signed codes to make them unsigned.
std::int32_t offset_of(const QuantizedMatrix& q, WeightFormat format) {
  return q.is_signed && format != WeightFormat::i8 ? 1 << (q.bits - 1) : 0;
}

/// Throws unless the integer kernels can run this.
void check_int8(const QuantizedMatrix& q, WeightFormat format) {
  if (format != WeightFormat::i8 && format != WeightFormat::u4 && format != WeightFormat::cb4)
    throw Unsupported("pack: int8 activations need 8-bit symmetric or 4-bit weights; use bf16");
  if (!groups_fit_lines(q))
    throw Unsupported(str("pack: int8 activations need a group_size that is a multiple of 4, got ", q.group_size,
                          "; use bf16"));
  for (const std::int32_t zero : q.zero_points)  // code - zero point must be within -127..127
    if (zero > 127 - offset_of(q, format))
      throw Unsupported(str("pack: int8 activations need zero points of at most 127, got ", zero, "; use bf16"));
}

std::uint8_t stored_code(const QuantizedMatrix& q, WeightFormat format, std::size_t n, std::size_t k) {
  const std::uint8_t byte = q.codes[n * q.cols + k];
  if (q.kind != CodeKind::affine) return byte;
  const std::int32_t code = q.code(n, k) + offset_of(q, format);
  const std::int32_t lo = format == WeightFormat::i8 ? -127 : 0;
  const std::int32_t hi = format == WeightFormat::i8 ? 127 : (1 << q.bits) - 1;
  require(code >= lo && code <= hi, "pack: code ", q.code(n, k), " at (", n, ", ", k, ") is outside ", q.bits,
          " bits", format == WeightFormat::i8 ? " (int8 stays within -127..127)" : "");
  return static_cast<std::uint8_t>(code);
}

std::size_t scale_at(const PackedView& v, std::size_t n, std::size_t g) {
  return (n / kPanel * v.groups() + g) * kPanel + n % kPanel;
}

void fill_codes(const QuantizedMatrix& q, PackedMatrix& out) {
  const PackedView& v = out.view;
  const bool nibbles = v.format == WeightFormat::u4 || v.format == WeightFormat::cb4;
  auto* bytes = out.codes.as<std::uint8_t>();
  for (std::size_t n = 0; n < q.rows; ++n)
    for (std::size_t k = 0; k < q.cols; ++k) {
      const Place at = place(v, n, k);
      const std::uint8_t code = stored_code(q, v.format, n, k);
      require(!nibbles || code < 16, "pack: code ", int{code}, " at (", n, ", ", k, ") needs more than 4 bits");
      bytes[at.byte] = static_cast<std::uint8_t>(bytes[at.byte] | (at.high ? code << 4 : code));
    }
}

/// Sets out.scales and where the view finds them.
void fill_scales(const QuantizedMatrix& q, PackedMatrix& out) {
  PackedView& v = out.view;
  const bool halves = v.groups() > 1 && std::ranges::all_of(q.scales, [](float s) { return nearest_bf16(s) == s; });
  out.scales = AlignedBuffer(v.scale_count() * (halves ? sizeof(std::uint16_t) : sizeof(float)));
  for (std::size_t n = 0; n < q.rows; ++n)
    for (std::size_t g = 0; g < v.groups(); ++g) {
      const std::size_t to = scale_at(v, n, g);
      const float scale = q.scales[n * v.groups() + g];
      if (halves)
        out.scales.as<std::uint16_t>()[to] = to_bits<BF16>(scale, false);
      else
        out.scales.as<float>()[to] = scale;
    }
  if (halves)
    v.bf16_scales = out.scales.as<const std::uint16_t>();
  else
    v.scales = out.scales.as<const float>();
}

void fill_zero_points(const QuantizedMatrix& q, PackedMatrix& out) {
  const PackedView& v = out.view;
  if (v.format != WeightFormat::u4 && v.format != WeightFormat::u8) return;
  out.zero_points = AlignedBuffer(v.scale_count());
  for (std::size_t n = 0; n < q.rows; ++n)
    for (std::size_t g = 0; g < v.groups(); ++g) {
      const std::size_t from = n * v.groups() + g;
      const std::int64_t zero = std::int64_t{q.zero_points.empty() ? 0 : q.zero_points[from]} + offset_of(q, v.format);
      require(zero >= 0 && zero <= 255, "pack: zero point ", zero, " of row ", n, ", group ", g, " is outside 0..255");
      out.zero_points.as<std::uint8_t>()[scale_at(v, n, g)] = static_cast<std::uint8_t>(zero);
    }
}

void point_view_at_buffers(PackedMatrix& out) {
  PackedView& v = out.view;
  v.codes = out.codes.data();
  v.zero_points = out.zero_points.as<const std::uint8_t>();
  v.codebook = out.codebook.as<const float>();
  v.input_scale = out.input_scale.as<const float>();
}

/// The value of one packed element before its scale.
float raw_value(const PackedView& v, std::size_t n, std::size_t k) {
  const Place at = place(v, n, k);
  const auto* p = reinterpret_cast<const std::uint8_t*>(v.codes) + at.byte;
  const int nibble = at.high ? *p >> 4 : *p & 15;
  const std::size_t s = scale_at(v, n, k / v.group_size);
  switch (v.format) {
    case WeightFormat::i8: return static_cast<float>(static_cast<std::int8_t>(*p));
    case WeightFormat::u8: return static_cast<float>(*p - v.zero_points[s]);
    case WeightFormat::u4: return static_cast<float>(nibble - v.zero_points[s]);
    case WeightFormat::cb4: return v.codebook[nibble];
    case WeightFormat::e4m3: return to_float<E4M3>(*p);
    case WeightFormat::e5m2: return to_float<E5M2>(*p);
    case WeightFormat::bf16: {
      std::uint16_t bits;
      std::memcpy(&bits, p, sizeof bits);
      return to_float<BF16>(bits);
    }
    case WeightFormat::f32: {
      float value;
      std::memcpy(&value, p, sizeof value);
      return value;
    }
  }
  return 0;
}

}  // namespace

PackedMatrix pack(const QuantizedMatrix& q, std::optional<Activations> activations) {
  check(q);
  PackedMatrix out;
  const WeightFormat format = format_of(q);
  const Activations mode = activations.value_or(default_activations(q, format));
  if (mode == Activations::int8) check_int8(q, format);
  out.view = {.format = format, .activations = mode, .n = q.rows, .k = q.cols, .group_size = q.group_size};
  out.codes = AlignedBuffer(out.view.code_bytes());
  fill_codes(q, out);
  fill_scales(q, out);
  fill_zero_points(q, out);
  if (format == WeightFormat::cb4) {
    out.codebook = AlignedBuffer(16 * sizeof(float));
    std::copy(q.codebook.begin(), q.codebook.end(), out.codebook.as<float>());
  }
  if (!q.input_scale.empty()) {
    out.input_scale = AlignedBuffer(out.view.k_padded() * sizeof(float));
    std::copy(q.input_scale.begin(), q.input_scale.end(), out.input_scale.as<float>());
  }
  point_view_at_buffers(out);
  return out;
}

PackedMatrix pack_float(MatrixView<const float> w, WeightFormat format) {
  require(w.rows > 0 && w.cols > 0, "pack_float: empty matrix (", w.rows, ", ", w.cols, ")");
  require(format == WeightFormat::f32 || format == WeightFormat::bf16, "pack_float: format must be f32 or bf16");
  PackedMatrix out;
  const bool f32 = format == WeightFormat::f32;
  out.view = {.format = format,
              .activations = f32 ? Activations::f32 : Activations::bf16,
              .n = w.rows,
              .k = w.cols,
              .group_size = w.cols};
  out.codes = AlignedBuffer(out.view.code_bytes());
  const std::size_t step = f32 ? 1 : 2, size = f32 ? 4 : 2;  // reduction indices side by side; bytes of a value
  for (std::size_t n = 0; n < w.rows; ++n) {
    std::byte* const row = out.codes.data() + place(out.view, n, 0).byte;
    for (std::size_t k = 0; k < w.cols; ++k) {
      const float value = w(n, k);
      const std::uint16_t half = f32 ? std::uint16_t{0} : to_bits<BF16>(value, false);
      std::memcpy(row + k / step * 64 + k % step * size, f32 ? static_cast<const void*>(&value) : &half, size);
    }
  }
  point_view_at_buffers(out);
  return out;
}

float packed_scale(const PackedView& w, std::size_t index) noexcept {
  return w.scales != nullptr ? w.scales[index] : to_float<BF16>(w.bf16_scales[index]);
}

void unpack(const PackedView& weights, MatrixView<float> out) {
  require(out.rows == weights.n && out.cols == weights.k, "unpack: out is (", out.rows, ", ", out.cols,
          "), weights are (", weights.n, ", ", weights.k, ")");
  for (std::size_t n = 0; n < out.rows; ++n)
    for (std::size_t k = 0; k < out.cols; ++k) {
      const float scale = weights.has_scales() ? packed_scale(weights, scale_at(weights, n, k / weights.group_size)) : 1.0f;
      out(n, k) = raw_value(weights, n, k) * scale;
    }
}

}  // namespace qeff
