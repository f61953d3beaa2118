#include "qeff/kernels/matmul.hpp"

#include <algorithm>

#include "qeff/core/aligned_buffer.hpp"
#include "qeff/core/error.hpp"
#include "qeff/kernels/explain.hpp"
#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/table.hpp"
#include "qeff/kernels/tuning.hpp"

namespace qeff {
namespace {

using kernels::Activations;
using kernels::GemmArgs;
using kernels::KernelTable;
using kernels::PackedView;

/// Memory of this thread, reused by all calls.
struct Workspace {
  AlignedBuffer a, a_scales, made, scratch;
};
Workspace& workspace() {
  thread_local Workspace w;
  return w;
}

void check(const MatrixView<const float>& x, const PackedView& w, const MatrixView<float>& y) {
  require(x.cols == w.k, "matmul: x has ", x.cols, " columns, the weights ", w.k, " input features");
  require(y.rows == x.rows && y.cols == w.n, "matmul: y must be (", x.rows, ", ", w.n, "), got (", y.rows, ", ",
          y.cols, ")");
  require((x.col_stride == 1 || x.cols == 1) && (y.col_stride == 1 || y.cols == 1),
          "matmul: rows of x and y must be contiguous");
}

constexpr std::size_t kRowsPerPart = 16;  // of rows that are prepared
constexpr std::size_t kMadeRows = 4;      // at once, for their floats to stay in the first-level cache

/// x as it is.
struct StoredRows {
  MatrixView<const float> x;
  static constexpr std::size_t kWork = 1;  ///< To prepare a number of x, in products.

  void prepare(const KernelTable& t, const PackedView& w, std::size_t block, std::size_t rows, std::size_t first,
               std::size_t last, std::byte* a, float* scales) const {
    t.prepare_rows(w, rows, x.row(block), static_cast<std::size_t>(x.row_stride), first, last, a, scales);
  }
};

/// x as a function makes it.
struct MadeRows {
  const RowSource& source;
  static constexpr std::size_t kWork = 8;

  void prepare(const KernelTable& t, const PackedView& w, std::size_t block, std::size_t rows, std::size_t first,
               std::size_t last, std::byte* a, float* scales) const {
    AlignedBuffer& made = workspace().made;
    made.reserve(kMadeRows * w.k * sizeof(float));
    const std::size_t bytes = t.row_bytes(w, rows);
    for (std::size_t r = first; r < last; r += kMadeRows) {
      const std::size_t n = std::min(kMadeRows, last - r);
      source(block + r, block + r + n, made.as<float>());
      t.prepare_rows(w, rows, made.as<float>(), w.k, 0, n, a + r * bytes, scales + r * w.groups());
    }
  }
};

/// Rows [block, block + rows) of x in prepared form.
template <class Rows>
void prepare(const KernelTable& t, const Rows& x, const PackedView& w, std::size_t block, std::size_t rows,
             Workspace& space, Executor& executor) {
  space.a.reserve(rows * t.row_bytes(w, rows));
  space.a_scales.reserve(rows * w.groups() * sizeof(float));
  std::byte* a = space.a.data();
  float* scales = space.a_scales.as<float>();
  const bool alone = rows * w.k * Rows::kWork < kernels::tuning().parallel_work;
  const std::size_t parts = alone ? 1 : std::max(std::min(rows, executor.threads()), rows / kRowsPerPart);
  executor.run(parts, [&](std::size_t part) {
    x.prepare(t, w, block, rows, rows * part / parts, rows * (part + 1) / parts, a, scales);
  });
}

/// One block of rows, panels split between the threads.
void multiply(const KernelTable& t, const GemmArgs& args, std::size_t rows, Executor& executor) {
  const PackedView& w = *args.weights;
  const std::size_t work = rows * w.n * w.k, panels = w.panels();
  const std::size_t wanted = std::max(executor.threads() * 3, work / kernels::tuning().part_work);
  // Parts begin at multiples of it: tiles of two panels stay whole, and the four that few rows of floats stream.
  const std::size_t unit = panels >= 4 * wanted ? 4 : 2;
  const std::size_t parts = work < kernels::tuning().parallel_work ? 1 : std::min((panels + unit - 1) / unit, wanted);
  executor.run(parts, [&](std::size_t part) {
    AlignedBuffer& scratch = workspace().scratch;
    scratch.reserve(t.scratch_bytes(w, rows));
    const auto boundary = [&](std::size_t i) { return std::min(panels, (panels * i / parts + unit / 2) / unit * unit); };
    const std::size_t first = part == 0 ? 0 : boundary(part);
    const std::size_t last = part + 1 == parts ? panels : boundary(part + 1);
    if (first < last) t.gemm(args, 0, rows, first, last, scratch.data());
  });
}

template <class Rows>
void multiply(const Rows& x, const PackedView& w, MatrixView<float> y, const Epilogue& epilogue, Executor& executor) {
  const KernelTable& t = kernels::active();
  Workspace& space = workspace();
  const std::size_t block = std::max<std::size_t>(64, kernels::tuning().activation_bytes / t.row_bytes(w, y.rows));
  for (std::size_t m = 0; m < y.rows; m += block) {
    const std::size_t rows = std::min(block, y.rows - m);
    prepare(t, x, w, m, rows, space, executor);
    const GemmArgs args{.weights = &w,
                        .rows = rows,
                        .a = space.a.data(),
                        .a_scales = space.a_scales.as<float>(),
                        .y = y.row(m),
                        .y_stride = static_cast<std::size_t>(y.row_stride),
                        .bias = epilogue.bias,
                        .activation = static_cast<std::uint8_t>(epilogue.activation),
                        .residual = epilogue.residual ? epilogue.residual + m * epilogue.residual_stride : nullptr,
                        .residual_stride = epilogue.residual_stride,
                        .threads = executor.threads()};
    multiply(t, args, rows, executor);
  }
}

}  // namespace

void matmul(MatrixView<const float> x, const PackedView& w, MatrixView<float> y, const Epilogue& epilogue,
            Executor& executor) {
  check(x, w, y);
  multiply(StoredRows{x}, w, y, epilogue, executor);
}

void matmul(RowSource rows_of, const PackedView& w, MatrixView<float> y, const Epilogue& epilogue, Executor& executor) {
  require(y.cols == w.n, "matmul: y must have ", w.n, " columns, got ", y.cols);
  require(y.col_stride == 1 || y.cols == 1, "matmul: rows of y must be contiguous");
  multiply(MadeRows{rows_of}, w, y, epilogue, executor);
}

void matmul_accumulators(MatrixView<const float> x, const PackedView& w, std::size_t group, std::int32_t* acc) {
  require(w.activations == Activations::int8, "matmul_accumulators: the weights do not use int8 activations");
  require(group < w.groups(), "matmul_accumulators: group ", group, " of ", w.groups());
  require(x.cols == w.k && x.col_stride == 1, "matmul_accumulators: x must be (m, ", w.k, ") with contiguous rows");
  const KernelTable& t = kernels::active();
  Executor serial(1);
  Workspace space;
  prepare(t, StoredRows{x}, w, 0, x.rows, space, serial);
  space.scratch.reserve(t.scratch_bytes(w, x.rows));
  const GemmArgs args{.weights = &w,
                      .rows = x.rows,
                      .a = space.a.data(),
                      .a_scales = space.a_scales.as<float>(),
                      .accumulators = acc,
                      .group = group};
  t.gemm(args, 0, x.rows, 0, w.panels(), space.scratch.data());
}

std::string explain(const PackedView& w) {
  static constexpr const char* kFormats[] = {"i8", "u8", "u4", "cb4", "e4m3", "e5m2", "bf16", "f32"};
  static constexpr const char* kActivations[] = {"int8", "bf16", "f32"};
  return str("(", w.n, ", ", w.k, ") ", kFormats[static_cast<int>(w.format)],
             w.has_scales() && w.group_size < w.k ? str(" g", w.group_size) : "", " x ",
             kActivations[static_cast<int>(w.activations)], " on ", name(kernels::active().isa), ", ",
             weight_bytes(w), " bytes per pass");
}

}  // namespace qeff
