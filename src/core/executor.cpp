#include "qeff/core/executor.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/cgroup.hpp"
#include "core/spin.hpp"

namespace qeff {
namespace {

thread_local bool inside_task = false;

std::atomic<std::uint64_t> forks{0};  // how many forks lie between this process and the first

void watch_forks() {
  [[maybe_unused]] static const int registered = pthread_atfork(nullptr, nullptr, [] {
    forks.fetch_add(1, std::memory_order_relaxed);
    SpinSlot::taken.store(0, std::memory_order_relaxed);  // those who held them are in the parent
  });
}

/// CPUs of the affinity mask and the control groups.
std::size_t allowed_cpus() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  const bool known = sched_getaffinity(0, sizeof mask, &mask) == 0;
  const auto cpus = static_cast<std::size_t>(
      std::max(1, known ? CPU_COUNT(&mask) : static_cast<int>(std::thread::hardware_concurrency())));
  static const double granted = std::max(1.0, std::ceil(cgroup_cpus()));  // files: asked once
  return granted < static_cast<double>(cpus) ? static_cast<std::size_t>(granted) : cpus;
}

/// One call of run() or run_static() as the threads of a team see it.
struct Call {
  std::optional<TaskRef> task;  // a copy: the caller's own would be one more cache line to fetch
  std::size_t count = 0;
};

/// Where a worker says how far it is. All numbers grow by 2 a call:
///   n      has not begun call n      (n + 1) works on it      n + 2  has done it, or it was taken away
struct alignas(64) Seat {
  std::atomic<std::uint32_t> state{2};
};

/// The threads of one team and what they share. A forked child abandons it whole: its threads do not
/// exist there and its mutex may be held by nobody.
///
/// A call costs two transfers of a cache line: the call to the worker, the worker's seat to the caller.
class Team {
 public:
  explicit Team(std::size_t threads) : born_(forks.load(std::memory_order_relaxed)), seats_(threads - 1) {
    workers_.reserve(threads - 1);
    try {
      for (std::size_t t = 1; t < threads; ++t) workers_.emplace_back([this, t] { serve(t); });
    } catch (const std::system_error&) {
      // The system has no more threads to give: those that started do the work.
    }
  }
  ~Team() {
    stop_.store(true, std::memory_order_relaxed);
    announce(false);
    for (auto& worker : workers_) worker.join();
  }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  [[nodiscard]] bool is_of_this_process() const noexcept { return born_ == forks.load(std::memory_order_relaxed); }

  void run(std::size_t count, TaskRef task, bool fixed) {
    const std::lock_guard lock(callers_);
    call_.task.emplace(task);
    call_.count = count;
    if (failed_.load(std::memory_order_relaxed)) failed_.store(false, std::memory_order_relaxed);
    if (!is_seated()) next_.store(0, std::memory_order_relaxed);
    const std::uint32_t number = announce(fixed);
    work(0, fixed);
    for (std::size_t t = 1; t <= workers_.size(); ++t) finish(t, number, fixed);
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  [[nodiscard]] std::size_t team_size() const noexcept { return workers_.size() + 1; }
  /// With as many threads as tasks nothing is handed out: task t belongs to thread t.
  [[nodiscard]] bool is_seated() const noexcept { return call_.count <= team_size(); }

  /// Starts the next call: an even number, plus 1 if its tasks are fixed to threads.
  std::uint32_t announce(bool fixed) noexcept {
    const std::uint32_t number = (number_ += 2);
    announced_.store(number | (fixed ? 1u : 0u), std::memory_order_seq_cst);
    announced_.notify_all();
    return number;
  }

  void serve(std::size_t t) noexcept {
    std::atomic<std::uint32_t>& state = seats_[t - 1].state;
    SpinSlot slot;
    std::uint32_t seen = 0;
    for (;;) {
      wait_change(announced_, seen, slot, cpus_);
      seen = announced_.load(std::memory_order_acquire);
      if (stop_.load(std::memory_order_relaxed)) return;
      const bool fixed = (seen & 1u) != 0;
      std::uint32_t number = seen & ~1u;
      // Tasks that are not fixed are worth no waiting: the caller may have ended the call already.
      if (!fixed && !state.compare_exchange_strong(number, number + 1, std::memory_order_acq_rel)) continue;
      work(t, fixed);
      state.store((seen & ~1u) + 2, std::memory_order_seq_cst);
      state.notify_one();
    }
  }

  /// Waits for worker t, or does its task if it has not begun.
  void finish(std::size_t t, std::uint32_t number, bool fixed) noexcept {
    std::atomic<std::uint32_t>& state = seats_[t - 1].state;
    std::uint32_t begun = number;
    if (!fixed && state.compare_exchange_strong(begun, number + 2, std::memory_order_acq_rel)) {
      if (is_seated() && t < call_.count) attempt(t);
      return;
    }
    SpinSlot slot;
    wait_change(state, fixed ? number : number + 1, slot, cpus_);
  }

  /// The part of thread t.
  void work(std::size_t t, bool fixed) noexcept {
    const std::size_t count = call_.count;
    if (fixed) {
      for (std::size_t i = count * t / team_size(); i < count * (t + 1) / team_size(); ++i) attempt(i);
    } else if (is_seated()) {
      if (t < count) attempt(t);
    } else {
      for (std::size_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count;)
        if (!attempt(i)) break;
    }
  }

  /// One task, unless another has failed. @return whether the team goes on
  bool attempt(std::size_t i) noexcept {
    if (failed_.load(std::memory_order_relaxed)) return false;
    inside_task = true;
    try {
      (*call_.task)(i);
    } catch (...) {
      if (!failed_.exchange(true)) error_ = std::current_exception();
    }
    inside_task = false;
    return true;
  }

  // Of the caller.
  std::mutex callers_;
  const std::uint64_t born_;
  const int cpus_ = static_cast<int>(allowed_cpus());
  std::uint32_t number_ = 0;
  std::vector<Seat> seats_;
  std::vector<std::thread> workers_;
  std::exception_ptr error_;
  // Written by the caller, then read by all.
  alignas(64) std::atomic<std::uint32_t> announced_{0};
  std::atomic<bool> stop_{false};
  Call call_;
  // Written by all.
  alignas(64) std::atomic<std::size_t> next_{0};
  std::atomic<bool> failed_{false};
};

}  // namespace

/// A team, and in a forked child the one that takes its place.
class Executor::Impl {
 public:
  explicit Impl(std::size_t threads) : threads_(threads) {
    watch_forks();
    team_.store(new Team(threads));
  }
  ~Impl() {
    Team* const team = team_.load();
    if (team->is_of_this_process()) delete team;  // else the threads are the parent's: leak, never join
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  [[nodiscard]] std::size_t threads() const noexcept { return threads_; }

  void run(std::size_t count, TaskRef task, bool fixed) {
    if (threads_ == 1 || count <= 1 || inside_task) {
      for (std::size_t i = 0; i < count; ++i) task(i);
      return;
    }
    team().run(count, task, fixed);
  }

 private:
  Team& team() {
    Team* current = team_.load(std::memory_order_acquire);
    if (current->is_of_this_process()) return *current;
    auto fresh = std::make_unique<Team>(threads_);  // threads of the child may all come here at once
    return team_.compare_exchange_strong(current, fresh.get()) ? *fresh.release() : *current;
  }

  std::size_t threads_;
  std::atomic<Team*> team_{nullptr};
};

Executor::Executor(std::size_t threads) {
  const std::size_t limit = default_threads();
  impl_ = std::make_unique<Impl>(threads == 0 ? limit : std::min(threads, limit));
}
Executor::~Executor() = default;
Executor::Executor(Executor&&) noexcept = default;
Executor& Executor::operator=(Executor&&) noexcept = default;

std::size_t Executor::threads() const noexcept { return impl_->threads(); }

void Executor::run(std::size_t count, TaskRef task) { impl_->run(count, task, false); }

void Executor::run_static(std::size_t count, TaskRef task) { impl_->run(count, task, true); }

std::size_t Executor::default_threads() {
  const std::size_t cpus = allowed_cpus();
  if (const char* wish = std::getenv("QEFF_NUM_THREADS"); wish && *wish) {
    const long n = std::atol(wish);
    if (n > 0) return std::min(cpus, static_cast<std::size_t>(n));
  }
  return cpus;
}

}  // namespace qeff
