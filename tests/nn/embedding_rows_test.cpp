// Rows looked up one by one in packed weights against the reference dequantization of the whole matrix.
#include <gtest/gtest.h>

#include <vector>

#include "nn/decoder_model.hpp"
#include "qeff/kernels/pack.hpp"
#include "qeff/quant/affine.hpp"
#include "qeff/quant/dequantize.hpp"
#include "support/packed_problem.hpp"

namespace qeff::nn {
namespace {

TEST(EmbeddingRows, OfInt8WeightsAreThoseOfTheWholeMatrix) {
  constexpr std::size_t rows = 37;
  for (const unsigned k : {48u, 64u, 100u, 192u})
    for (const std::size_t group_size : {std::size_t{0}, std::size_t{64}}) {
      if (group_size > k) continue;
      test::Rng rng(k);
      std::vector<float> w(rows * k), expected(w.size()), row(k);
      for (float& x : w) x = rng.normal();
      AffineConfig config;
      config.granularity = group_size ? Granularity::per_group : Granularity::per_channel;
      config.group_size = group_size;
      const QuantizedMatrix q = quantize_affine(MatrixView<const float>{w.data(), rows, k}, config);
      dequantize(q, MatrixView<float>{expected.data(), rows, k});
      const kernels::PackedMatrix packed = pack(q);
      for (std::size_t r = 0; r < rows; ++r) {
        unpack_row(packed.view, r, row.data());
        for (std::size_t i = 0; i < k; ++i)
          ASSERT_EQ(row[i], expected[r * k + i]) << "k " << k << ", groups of " << group_size << ", row " << r << ", " << i;
      }
    }
}

}  // namespace
}  // namespace qeff::nn
