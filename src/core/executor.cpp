#include "qeff/core/executor.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace qeff {
namespace {

thread_local bool inside_task = false;

std::atomic<std::uint64_t> forks{0};  // how many forks lie between this process and the first

void watch_forks() {
  [[maybe_unused]] static const int registered =
      pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
}

void relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Waits until `value` is not `old`: spins about 20 microseconds, then sleeps.
template <class T>
void wait_change(std::atomic<T>& value, T old) noexcept {
  for (int i = 0; i < 2000; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    relax();
  }
  value.wait(old, std::memory_order_acquire);
}

/// CPUs granted by a cgroup (v2 cpu.max, v1 cfs quota), or nothing set: a large number.
double cgroup_cpus() {
  const auto read_two = [](const char* path, std::string& a, std::string& b) {
    std::ifstream file(path);
    return static_cast<bool>(file >> a) && (static_cast<bool>(file >> b) || true);
  };
  std::string quota, period;
  if (read_two("/sys/fs/cgroup/cpu.max", quota, period)) {
    if (quota != "max" && !period.empty()) return std::atof(quota.c_str()) / std::atof(period.c_str());
  } else if (read_two("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota, period) && quota[0] != '-') {
    std::string length, unused;
    if (read_two("/sys/fs/cgroup/cpu/cpu.cfs_period_us", length, unused))
      return std::atof(quota.c_str()) / std::atof(length.c_str());
  }
  return 1e9;
}

}  // namespace

/// The shared state of one team. Lives on the heap so that a forked child can abandon it whole:
/// its threads do not exist there and its mutex may be held by nobody.
class Executor::Team {
 public:
  explicit Team(std::size_t threads) : threads_(threads), state_(std::make_unique<State>(threads)) {
    watch_forks();
    born_ = forks.load(std::memory_order_relaxed);
  }
  ~Team() {
    if (is_forked()) (void)state_.release();  // the threads belong to the parent: leak, never join
  }

  [[nodiscard]] std::size_t threads() const noexcept { return threads_; }

  void run(std::size_t count, TaskRef task) {
    if (threads_ == 1 || count <= 1 || inside_task) {
      for (std::size_t i = 0; i < count; ++i) task(i);
      return;
    }
    if (is_forked()) {
      (void)state_.release();
      state_ = std::make_unique<State>(threads_);
      born_ = forks.load(std::memory_order_relaxed);
    }
    state_->run(count, task);
  }

 private:
  struct State {
    explicit State(std::size_t threads) {
      workers.reserve(threads - 1);
      try {
        for (std::size_t i = 1; i < threads; ++i) workers.emplace_back([this] { serve(); });
      } catch (const std::system_error&) {
        // The system has no more threads to give: those that started do the work.
      }
    }
    ~State() {
      stop.store(true, std::memory_order_relaxed);
      generation.fetch_add(1, std::memory_order_release);
      generation.notify_all();
      for (auto& worker : workers) worker.join();
    }

    void run(std::size_t n, TaskRef t) {
      const std::lock_guard lock(callers);
      task = &t;
      count = n;
      next.store(0, std::memory_order_relaxed);
      failed.store(false, std::memory_order_relaxed);
      error = nullptr;
      busy.store(workers.size(), std::memory_order_relaxed);
      generation.fetch_add(1, std::memory_order_release);
      generation.notify_all();
      work();
      for (std::size_t left; (left = busy.load(std::memory_order_acquire)) != 0;)
        wait_change(busy, left);
      if (error) std::rethrow_exception(error);
    }

    void serve() {
      std::uint64_t seen = 0;
      for (;;) {
        wait_change(generation, seen);
        seen = generation.load(std::memory_order_acquire);
        if (stop.load(std::memory_order_relaxed)) return;
        work();
        if (busy.fetch_sub(1, std::memory_order_acq_rel) == 1) busy.notify_all();
      }
    }

    void work() noexcept {
      inside_task = true;
      for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
        if (failed.load(std::memory_order_relaxed)) break;
        try {
          (*task)(i);
        } catch (...) {
          if (!failed.exchange(true)) error = std::current_exception();
        }
      }
      inside_task = false;
    }

    std::mutex callers;
    const TaskRef* task = nullptr;
    std::size_t count = 0;
    std::exception_ptr error;
    alignas(64) std::atomic<std::uint64_t> generation{0};
    alignas(64) std::atomic<std::size_t> next{0};
    alignas(64) std::atomic<std::size_t> busy{0};
    std::atomic<bool> failed{false};
    std::atomic<bool> stop{false};
    std::vector<std::thread> workers;
  };

  [[nodiscard]] bool is_forked() const noexcept {
    return forks.load(std::memory_order_relaxed) != born_;
  }

  std::size_t threads_;
  std::unique_ptr<State> state_;
  std::uint64_t born_ = 0;
};

Executor::Executor(std::size_t threads) {
  const std::size_t limit = default_threads();
  team_ = std::make_unique<Team>(threads == 0 ? limit : std::min(threads, limit));
}
Executor::~Executor() = default;
Executor::Executor(Executor&&) noexcept = default;
Executor& Executor::operator=(Executor&&) noexcept = default;

std::size_t Executor::threads() const noexcept { return team_->threads(); }

void Executor::run(std::size_t count, TaskRef task) { team_->run(count, task); }

std::size_t Executor::default_threads() {
  std::size_t cpus = std::max(1u, std::thread::hardware_concurrency());
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) == 0)
    cpus = static_cast<std::size_t>(std::max(1, CPU_COUNT(&mask)));
  const double granted = std::max(1.0, std::ceil(cgroup_cpus()));
  if (granted < static_cast<double>(cpus)) cpus = static_cast<std::size_t>(granted);
  if (const char* wish = std::getenv("QEFF_NUM_THREADS"); wish && *wish) {
    const long n = std::atol(wish);
    if (n > 0) cpus = std::min(cpus, static_cast<std::size_t>(n));
  }
  return cpus;
}

}  // namespace qeff
