#include "qeff/kernels/roof.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qeff/core/aligned_buffer.hpp"
#include "qeff/core/error.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::kernels {
namespace {

using Clock = std::chrono::steady_clock;

/// How far ahead of the reader memory is asked for, in bytes; what serves best counts.
constexpr std::size_t kAhead[] = {0, 1024};
/// Rounds of one call of KernelTable::roof_registers.
constexpr std::size_t kRounds = 2048;
constexpr double kLeastPass = 1e-3;  // seconds; a call of the team costs a thousandth of it
/// For one thread and for all: 3 products in 3 places, u4 and i16 in one, 4 levels with 2 ways to read.
constexpr int kMeasurements = 2 * (3 * 3 + 2 + 4 * 2);

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// The memory of one thread, touched first by it. Large enough for its part of any level.
struct Area {
  AlignedBuffer operands, data;
};

class Measurement {
 public:
  Measurement(double seconds, Executor& executor)
      : table_(active()), executor_(executor), slot_(seconds / kMeasurements), areas_(executor.threads()) {}

  Roof run() {
    Roof roof;
    roof.isa = table_.isa;
    roof.threads = areas_.size();
    roof.caches = cache_sizes();
    const std::size_t l1 = roof.caches.l1, l2 = roof.caches.l2, l3 = roof.caches.l3;
    const std::size_t memory =
        std::min(main_memory() / 4, std::clamp<std::size_t>(4 * l3, 64 << 20, 512 << 20));
    prepare(std::max(memory, 2 * l2 * areas_.size()));
    roof.int8 = products(Product::int8, l2);
    roof.u4 = products(Product::u4, l2);
    roof.i16 = products(Product::i16, l2);
    roof.bf16 = products(Product::bf16, l2);
    roof.f32 = products(Product::f32, l2);
    roof.l1 = reading(l1 / 2, l1 / 2);
    roof.l2 = reading(l2 / 2, l2 / 2);
    if (l3 > l2) roof.l3 = reading(l3 / 2, std::max(l3 / 2 / areas_.size(), 2 * l2));
    roof.memory = reading(memory, memory / areas_.size());
    return roof;
  }

 private:
  static std::size_t main_memory() {
    const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || size <= 0) return std::size_t{1} << 30;
    return static_cast<std::size_t>(pages) * static_cast<std::size_t>(size);
  }

  /// Thread 0 also reads all of it alone. 0x3f3f... is 63 as a code, 0.75 as a float of any width.
  void prepare(std::size_t bytes) {
    executor_.run_static(areas_.size(), [&](std::size_t t) {
      areas_[t].operands = AlignedBuffer(kRoofOperands);
      areas_[t].data = AlignedBuffer(t == 0 ? bytes : bytes / areas_.size());
      std::memset(areas_[t].operands.data(), 0x3f, areas_[t].operands.size());
      std::memset(areas_[t].data.data(), 0x3f, areas_[t].data.size());
    });
  }

  /// Best rate of pass(thread, repeats), which returns what it did in 1e-9 units.
  template <class Pass>
  double best(std::size_t threads, Pass&& pass) {
    const auto timed = [&](std::size_t repeats) {
      std::vector<double> done(threads);
      const auto start = Clock::now();
      executor_.run_static(threads, [&](std::size_t t) { done[t] = pass(t, repeats); });
      double sum = 0;
      for (const double d : done) sum += d;
      return std::pair{sum, seconds_since(start)};
    };
    const auto start = Clock::now();
    double rate = 0;
    std::size_t repeats = 1;
    for (bool first = true; first || seconds_since(start) < slot_; first = false) {
      const auto [done, seconds] = timed(repeats);
      if (done == 0) return 0;
      rate = std::max(rate, done / seconds);
      if (seconds < std::min(kLeastPass, slot_ / 4)) repeats *= 2;
    }
    return rate;
  }

  template <class Pass>
  Rate rates(Pass&& pass) {
    const double one = best(1, pass);
    return {one, areas_.size() == 1 ? one : std::max(one, best(areas_.size(), pass))};
  }

  ProductRoof products(Product product, std::size_t l2) {
    const auto repeated = [&](auto&& once) {
      return rates([&](std::size_t t, std::size_t repeats) {
        alignas(64) std::byte out[64];
        double sum = 0;
        for (std::size_t i = 0; i < repeats; ++i) sum += once(areas_[t], out);
        return sum * 1e-9;
      });
    };
    const auto fed = [&](std::size_t bytes) {
      return repeated([&](const Area& area, std::byte* out) {
        return table_.roof_fed(product, area.operands.data(), area.data.data(), bytes, out);
      });
    };
    ProductRoof roof;
    roof.registers = repeated([&](const Area& area, std::byte* out) {
      return table_.roof_registers(product, area.operands.data(), kRounds, out);
    });
    roof.fed_l1 = fed(kRoofUnit);
    roof.fed_l2 = fed(std::max<std::size_t>(l2 / 2 / kRoofUnit, 1) * kRoofUnit);
    return roof;
  }

  /// Bytes a thread reads: alone, and as one of all.
  Rate reading(std::size_t alone, std::size_t shared) {
    const auto most = [&](std::size_t threads, std::size_t wanted) {
      const std::size_t bytes = std::min(wanted, areas_[threads - 1].data.size()) / 256 * 256;
      double rate = 0;
      if (bytes == 0) return rate;
      for (const std::size_t ahead : kAhead)
        rate = std::max(rate, best(threads, [&](std::size_t t, std::size_t repeats) {
                          alignas(64) std::byte out[64];
                          for (std::size_t i = 0; i < repeats; ++i)
                            table_.roof_read(areas_[t].data.data(), bytes, ahead, out);
                          return static_cast<double>(bytes * repeats) * 1e-9;
                        }));
      return rate;
    };
    const double one = most(1, alone);
    return {one, areas_.size() == 1 ? one : std::max(one, most(areas_.size(), shared))};
  }

  const KernelTable& table_;
  Executor& executor_;
  double slot_;
  std::vector<Area> areas_;
};

/// Bytes of the file "32K", "1024K" or "32M".
std::size_t size_in(const std::string& path) {
  std::ifstream file(path);
  std::size_t number = 0;
  char unit = 0;
  file >> number >> unit;
  return unit == 'K' ? number << 10 : unit == 'M' ? number << 20 : number;
}

/// What /sys says of the data cache of `level`, or 0.
std::size_t cache_size(int level) {
  const std::string cpu = "/sys/devices/system/cpu/cpu0/cache/index";
  for (int i = 0; i < 8; ++i) {
    const std::string index = cpu + std::to_string(i);
    std::string type;
    int its_level = 0;
    std::ifstream(index + "/type") >> type;
    std::ifstream(index + "/level") >> its_level;
    if (its_level == level && type != "Instruction") return size_in(index + "/size");
  }
  return 0;
}

/// The first of the sizes that is known.
std::size_t first_known(std::size_t size, long configured, std::size_t otherwise) {
  return size > 0 ? size : configured > 0 ? static_cast<std::size_t>(configured) : otherwise;
}

}  // namespace

CacheSizes cache_sizes() {
  return {first_known(cache_size(1), sysconf(_SC_LEVEL1_DCACHE_SIZE), 32 << 10),
          first_known(cache_size(2), sysconf(_SC_LEVEL2_CACHE_SIZE), 512 << 10),
          first_known(cache_size(3), sysconf(_SC_LEVEL3_CACHE_SIZE), 0)};
}

double Roof::peak(WeightFormat format, Activations activations) const noexcept {
  if (activations == Activations::int8) {
    const double signed_codes = int8.registers.all;
    return format == WeightFormat::u4 ? std::max(signed_codes, u4.registers.all) : signed_codes;
  }
  if (activations == Activations::f32) return f32.registers.all;
  if (format == WeightFormat::u4 && i16.registers.all > 0) return i16.registers.all;
  return bf16.registers.all > 0 ? bf16.registers.all : f32.registers.all;
}

const char* Roof::level(std::size_t bytes) const noexcept {
  if (bytes <= caches.l1 * threads) return "L1";
  if (bytes <= caches.l2 * threads) return "L2";
  return bytes <= caches.l3 ? "L3" : "memory";
}

double Roof::bandwidth(std::size_t bytes) const noexcept {
  const std::string_view where = level(bytes);
  if (where == "L1") return l1.all;
  if (where == "L2") return l2.all;
  return where == "L3" && l3.all > 0 ? l3.all : memory.all;
}

Roof measure_roof(double seconds, Executor& executor) {
  require(seconds > 0 && seconds < 1e6, "measure_roof: seconds must be positive, got ", seconds);
  return Measurement(seconds, executor).run();
}

const Roof& measured_roof(Executor& executor) {
  static std::mutex mutex;
  static auto* const roofs = new std::map<std::pair<Isa, std::size_t>, Roof>;  // outlives every thread
  const std::lock_guard lock(mutex);
  const auto key = std::pair{active().isa, executor.threads()};
  const auto known = roofs->find(key);
  if (known != roofs->end()) return known->second;
  return roofs->emplace(key, measure_roof(kRoofSeconds, executor)).first->second;
}

}  // namespace qeff::kernels
