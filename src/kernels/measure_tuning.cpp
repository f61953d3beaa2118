#include <algorithm>
#include <array>
#include <limits>
#include <span>
#include <vector>

#include "qeff/core/aligned_buffer.hpp"
#include "qeff/core/executor.hpp"
#include "qeff/kernels/explain.hpp"
#include "qeff/kernels/packed_weights.hpp"
#include "qeff/kernels/tuning.hpp"

namespace qeff::kernels {
namespace {

constexpr std::size_t kGroup = 128;
constexpr double kRoundSeconds = 2;    // about
constexpr double kWorthwhile = 0.92;  // of the time the default takes: less is noise

/// Weights of any codes: times do not depend on them.
struct SomeWeights {
  PackedView view;
  AlignedBuffer codes, scales, zero_points;

  SomeWeights(WeightFormat format, std::size_t n, std::size_t k)
      : view{.format = format,
             .activations = Activations::int8,
             .n = n,
             .k = k,
             .group_size = format == WeightFormat::u4 ? kGroup : k},
        codes(view.code_bytes()),
        scales(view.scale_count() * sizeof(float)),
        zero_points(view.scale_count()) {
    std::ranges::fill_n(scales.as<float>(), static_cast<std::ptrdiff_t>(view.scale_count()), 1.0f);
    view.codes = codes.data();
    view.scales = scales.as<const float>();
    view.zero_points = zero_points.as<const std::uint8_t>();
  }
};

/// A matmul that shows what a value costs.
struct Work {
  const SomeWeights* weights;
  std::size_t rows;
};

class Tuner {
 public:
  Tuner(double seconds, Executor& executor) : executor_(executor), rounds_(std::max(1, static_cast<int>(seconds / kRoundSeconds))) {}

  Tuning run() {
    const SomeWeights bytes(WeightFormat::i8, 1024, 1024), nibbles(WeightFormat::u4, 1024, 1024);
    const SomeWeights small(WeightFormat::i8, 256, 512), large(WeightFormat::i8, 2048, 4096);
    const Work few[] = {{&bytes, 8}, {&bytes, 12}, {&bytes, 24}, {&bytes, 32}};
    const Work few_nibbles[] = {{&nibbles, 6}, {&nibbles, 12}, {&nibbles, 24}, {&nibbles, 48}};
    const Work more_nibbles[] = {{&nibbles, 28}, {&nibbles, 40}, {&nibbles, 56}, {&nibbles, 80}};
    const Work short_work[] = {{&small, 1}, {&small, 2}, {&small, 4}};
    const Work long_work[] = {{&large, 64}, {&large, 256}};
    choose(&Tuning::byte_rows, std::array<std::size_t, 5>{0, 8, 16, 24, 32}, few);
    choose(&Tuning::nibble_rows, std::array<std::size_t, 5>{4, 8, 16, 32, 64}, few_nibbles);
    choose(&Tuning::decode_rows, std::array<std::size_t, 5>{24, 32, 48, 64, 96}, more_nibbles);
    choose(&Tuning::parallel_work, std::array<std::size_t, 5>{50'000, 200'000, 400'000, 800'000, 1'600'000}, short_work);
    choose(&Tuning::part_work, std::array<std::size_t, 4>{500'000, 1'000'000, 4'000'000, 16'000'000}, long_work);
    choose(&Tuning::activation_bytes, std::array<std::size_t, 4>{1 << 19, 1 << 20, 1 << 21, 1 << 22}, long_work);
    set_tuning({});
    return best_;
  }

 private:
  /// Sets `value` of best_ to that of itself and `others` with the least time, if that is worth it.
  void choose(std::size_t Tuning::*value, std::span<const std::size_t> others, std::span<const Work> work) {
    std::vector<std::size_t> candidates(others.begin(), others.end());
    if (std::ranges::find(candidates, best_.*value) == candidates.end()) candidates.push_back(best_.*value);
    std::vector<double> times(candidates.size());
    for (const Work& w : work) {  // the best of some rounds of each candidate in turns
      std::vector<double> least(candidates.size(), std::numeric_limits<double>::infinity());
      for (int round = 0; round < rounds_; ++round)
        for (std::size_t i = 0; i < candidates.size(); ++i) {
          Tuning tuning = best_;
          tuning.*value = candidates[i];
          set_tuning(tuning);
          least[i] = std::min(least[i], time_matmul(w.weights->view, w.rows, executor_));
        }
      const double unit = *std::ranges::min_element(least);  // all works count alike
      for (std::size_t i = 0; i < candidates.size(); ++i) times[i] += least[i] / unit;
    }
    const auto usual = std::ranges::find(candidates, best_.*value);
    const auto fastest = std::ranges::min_element(times);
    if (*fastest < kWorthwhile * times[static_cast<std::size_t>(usual - candidates.begin())])
      best_.*value = candidates[static_cast<std::size_t>(fastest - times.begin())];
  }

  Executor& executor_;
  int rounds_;
  Tuning best_;
};

}  // namespace

Tuning measure_tuning(double seconds, Executor& executor) { return Tuner(seconds, executor).run(); }

}  // namespace qeff::kernels
