/// @file
/// AMX: eight tiles of up to 16 rows of 64 bytes, a set for each thread. Part of immintrin.h.
///
/// What raises an exception on a CPU (a tile that is not configured, shapes that do not match) ends
/// the program here.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace emulation {

struct Tile {
  std::size_t rows = 0, row_bytes = 0;
  alignas(64) unsigned char at[16][64] = {};
};

struct Tiles {
  bool configured = false;
  Tile tile[8];
};

inline thread_local Tiles tiles;

inline void fault_unless(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "emulated AMX: %s\n", what);
  std::abort();
}

inline Tile& tile(int index) {
  fault_unless(tiles.configured, "no configuration is loaded");
  fault_unless(index >= 0 && index < 8, "no such tile");
  fault_unless(tiles.tile[index].rows > 0, "the tile is not configured");
  return tiles.tile[index];
}

/// dst += a * b, checked as the TDP* instructions check; product(a, b) adds one group of 4 bytes.
inline void check_shapes(const Tile& dst, const Tile& a, const Tile& b) {
  fault_unless(a.rows == dst.rows, "rows of the first source and the destination differ");
  fault_unless(b.row_bytes == dst.row_bytes, "columns of the second source and the destination differ");
  fault_unless(b.rows == a.row_bytes / 4, "the sources do not fit each other");
}

template <class T>
T element(const Tile& t, std::size_t row, std::size_t index) {
  T value;
  std::memcpy(&value, t.at[row] + index * sizeof(T), sizeof value);
  return value;
}
template <class T>
void set_element(Tile& t, std::size_t row, std::size_t index, T value) {
  std::memcpy(t.at[row] + index * sizeof(T), &value, sizeof value);
}

}  // namespace emulation

inline void _tile_loadconfig(const void* config) {
  unsigned char bytes[64];
  std::memcpy(bytes, config, sizeof bytes);
  emulation::fault_unless(bytes[0] == 1 && bytes[1] == 0, "palette must be 1 and start_row 0");
  for (int i = 2; i < 16; ++i) emulation::fault_unless(bytes[i] == 0, "reserved bytes must be 0");
  emulation::tiles = {};
  emulation::tiles.configured = true;
  for (std::size_t t = 0; t < 8; ++t) {
    emulation::Tile& one = emulation::tiles.tile[t];
    one.rows = bytes[48 + t];
    one.row_bytes = static_cast<std::size_t>(bytes[16 + 2 * t] + 256 * bytes[17 + 2 * t]);
    emulation::fault_unless(one.rows <= 16 && one.row_bytes <= 64, "a tile has at most 16 rows of 64 bytes");
    emulation::fault_unless((one.rows == 0) == (one.row_bytes == 0), "a tile has rows without columns");
  }
}
inline void _tile_release() { emulation::tiles = {}; }
inline void _tile_zero(int index) { std::memset(emulation::tile(index).at, 0, sizeof emulation::Tile::at); }

/// Rows and columns beyond the configured ones become 0.
inline void _tile_loadd(int index, const void* base, std::size_t stride) {
  emulation::Tile& t = emulation::tile(index);
  std::memset(t.at, 0, sizeof t.at);
  for (std::size_t r = 0; r < t.rows; ++r)
    std::memcpy(t.at[r], static_cast<const unsigned char*>(base) + r * stride, t.row_bytes);
}
inline void _tile_stored(int index, void* base, std::size_t stride) {
  const emulation::Tile& t = emulation::tile(index);
  for (std::size_t r = 0; r < t.rows; ++r)
    std::memcpy(static_cast<unsigned char*>(base) + r * stride, t.at[r], t.row_bytes);
}

/// int32 sums of signed by signed bytes, wrapping.
inline void _tile_dpbssd(int to, int left, int right) {
  emulation::Tile& dst = emulation::tile(to);
  const emulation::Tile &a = emulation::tile(left), &b = emulation::tile(right);
  emulation::check_shapes(dst, a, b);
  for (std::size_t m = 0; m < dst.rows; ++m)
    for (std::size_t n = 0; n < dst.row_bytes / 4; ++n) {
      auto sum = emulation::element<std::int32_t>(dst, m, n);
      for (std::size_t k = 0; k < a.row_bytes / 4; ++k)
        for (std::size_t j = 0; j < 4; ++j)
          sum = emulation::Add{}(sum, std::int32_t{emulation::element<std::int8_t>(a, m, 4 * k + j) *
                                                   emulation::element<std::int8_t>(b, k, 4 * n + j)});
      emulation::set_element(dst, m, n, sum);
    }
}

/// float32 sums of bf16 products: even and odd indices in two chains, added at the end; denormals are 0.
inline void _tile_dpbf16ps(int to, int left, int right) {
  using emulation::element, emulation::flush, emulation::from_bf16;
  emulation::Tile& dst = emulation::tile(to);
  const emulation::Tile &a = emulation::tile(left), &b = emulation::tile(right);
  emulation::check_shapes(dst, a, b);
  for (std::size_t m = 0; m < dst.rows; ++m)
    for (std::size_t n = 0; n < dst.row_bytes / 4; ++n) {
      float chain[2] = {0.0f, 0.0f};
      for (std::size_t k = 0; k < a.row_bytes / 4; ++k)
        for (std::size_t j = 0; j < 2; ++j)
          chain[j] = flush(std::fma(from_bf16(element<std::uint16_t>(a, m, 2 * k + j)),
                                    from_bf16(element<std::uint16_t>(b, k, 2 * n + j)), chain[j]));
      const float both = flush(chain[0] + chain[1]);
      emulation::set_element(dst, m, n, flush(flush(element<float>(dst, m, n)) + both));
    }
}
