// The thread team: every task once, errors, nesting, fork, several callers.
#include "qeff/core/executor.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/spin.hpp"

namespace qeff {
namespace {

TEST(Executor, CallsEachTaskOnceForAnyCount) {
  for (const std::size_t threads : {1u, 2u, 4u}) {
    Executor executor(threads);
    for (const std::size_t count : {0u, 1u, 2u, 3u, 17u, 1000u}) {
      std::vector<std::atomic<int>> calls(count);
      executor.run(count, [&](std::size_t i) { ++calls[i]; });
      for (const auto& c : calls) EXPECT_EQ(c, 1);
    }
  }
}

TEST(Executor, ManyShortRunsLoseNoTask) {
  Executor executor(2);
  std::atomic<std::size_t> sum{0};
  for (int round = 0; round < 5000; ++round) executor.run(3, [&](std::size_t i) { sum += i + 1; });
  EXPECT_EQ(sum, 5000u * 6u);
}

TEST(Executor, EachThreadGetsItsTasksInAscendingOrder) {
  Executor executor(2);
  std::atomic<bool> ordered{true};
  for (int round = 0; round < 50; ++round) {
    std::atomic<std::size_t> last_of_run{0};
    executor.run(200, [&](std::size_t i) {
      thread_local std::size_t last = 0;
      thread_local const void* run = nullptr;
      thread_local int in_round = -1;
      if (run == &last_of_run && in_round == round && i <= last) ordered = false;
      run = &last_of_run, in_round = round, last = i;
    });
  }
  EXPECT_TRUE(ordered);
}

TEST(Executor, AnExceptionReachesTheCallerAndTheTeamGoesOn) {
  for (const std::size_t threads : {1u, 2u}) {
    Executor executor(threads);
    for (int round = 0; round < 20; ++round) {
      try {
        executor.run(100, [](std::size_t i) {
          if (i == 37) throw std::runtime_error("task 37");
        });
        FAIL() << "nothing thrown";
      } catch (const std::runtime_error& e) {
        EXPECT_STREQ(e.what(), "task 37");
      }
      std::atomic<int> done{0};
      executor.run(10, [&](std::size_t) { ++done; });
      EXPECT_EQ(done, 10);
    }
  }
}

TEST(Executor, TasksAfterAnExceptionAreSkipped) {
  Executor executor(2);
  std::atomic<std::size_t> started{0};
  EXPECT_THROW(executor.run(1'000'000,
                            [&](std::size_t) {
                              ++started;
                              throw std::runtime_error("first");
                            }),
               std::runtime_error);
  EXPECT_LE(started, 2u);
}

TEST(Executor, ANestedRunIsDoneInPlace) {
  Executor executor(2);
  std::atomic<int> calls{0};
  std::atomic<bool> elsewhere{false};
  executor.run(8, [&](std::size_t) {
    const auto outer = std::this_thread::get_id();
    executor.run(5, [&](std::size_t) {
      ++calls;
      if (std::this_thread::get_id() != outer) elsewhere = true;
    });
  });
  EXPECT_EQ(calls, 40);
  EXPECT_FALSE(elsewhere);
}

TEST(Executor, ANestedExceptionReachesTheOuterCaller) {
  Executor executor(2);
  EXPECT_THROW(executor.run(4, [&](std::size_t) {
    executor.run(4, [](std::size_t i) {
      if (i == 2) throw std::out_of_range("inner");
    });
  }), std::out_of_range);
}

TEST(Executor, StaticPartsBelongToTheSameThreadInEveryCall) {
  Executor executor(2);
  for (const std::size_t count : {2u, 3u, 8u, 1001u}) {
    std::vector<std::thread::id> first(count), again(count);
    executor.run_static(count, [&](std::size_t i) { first[i] = std::this_thread::get_id(); });
    for (int round = 0; round < 50; ++round) {
      executor.run_static(count, [&](std::size_t i) { again[i] = std::this_thread::get_id(); });
      ASSERT_EQ(again, first);
    }
    EXPECT_EQ(first.front(), std::this_thread::get_id());
    if (executor.threads() == 1) continue;
    const auto changes = [&] {
      std::size_t n = 0;
      for (std::size_t i = 1; i < count; ++i) n += first[i] != first[i - 1] ? 1u : 0u;
      return n;
    };
    EXPECT_EQ(changes(), executor.threads() - 1) << "parts are not contiguous";
  }
}

TEST(Executor, StaticCallsAndOthersMixAndEachTaskIsDoneOnce) {
  Executor executor(2);
  for (std::size_t round = 0; round < 3000; ++round) {
    const std::size_t count = round % 7;
    std::array<std::atomic<int>, 7> calls{};
    const auto task = [&](std::size_t i) { ++calls[i]; };
    round % 3 == 0 ? executor.run_static(count, task) : executor.run(count, task);
    for (std::size_t i = 0; i < calls.size(); ++i) ASSERT_EQ(calls[i], i < count ? 1 : 0) << round;
  }
}

TEST(Executor, WorkersThatHaveGoneToSleepWakeUp) {
  Executor executor(2);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<int> calls{0};
    round % 2 == 0 ? executor.run_static(4, [&](std::size_t) { ++calls; })
                   : executor.run(4, [&](std::size_t) { ++calls; });
    ASSERT_EQ(calls, 4);
  }
}

TEST(Executor, AStaticExceptionReachesTheCallerFromEveryThread) {
  Executor executor(2);
  for (std::size_t bad = 0; bad < 6; ++bad) {
    EXPECT_THROW(executor.run_static(6,
                                     [&](std::size_t i) {
                                       if (i == bad) throw std::out_of_range("static");
                                     }),
                 std::out_of_range);
    std::atomic<int> done{0};
    executor.run_static(6, [&](std::size_t) { ++done; });
    EXPECT_EQ(done, 6);
  }
}

TEST(Executor, IdleTeamsGiveTheirPlacesBack) {
  {
    std::vector<std::unique_ptr<Executor>> teams;
    for (int i = 0; i < 4; ++i) teams.push_back(std::make_unique<Executor>(2));
    const int cpus = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    for (int round = 0; round < 200; ++round) {
      for (auto& team : teams) team->run_static(2, [](std::size_t) {});
      // Takers try by adding and take back what is too much: each thread is over by 1 at most.
      EXPECT_LE(SpinSlot::taken, cpus + 5);
    }
    // A busy machine may not let a worker run for seconds; one that slept with its slot would never give it.
    for (int i = 0; i < 3000 && SpinSlot::taken != 0; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_EQ(SpinSlot::taken, 0) << "sleeping threads hold slots";
  }
  EXPECT_EQ(SpinSlot::taken, 0);
}

TEST(Executor, TwoCallersShareATeam) {
  Executor executor(2);
  std::atomic<std::size_t> total{0};
  const auto caller = [&] {
    for (int round = 0; round < 500; ++round) {
      std::vector<std::size_t> seen(16);
      executor.run(16, [&](std::size_t i) { seen[i] = i; });
      total += std::accumulate(seen.begin(), seen.end(), std::size_t{0});
    }
  };
  std::thread first(caller), second(caller);
  first.join();
  second.join();
  EXPECT_EQ(total, 2u * 500u * 120u);
}

/// Exit status of a forked child that runs f; -1 if it did not end within 20 seconds.
/// Before it, run_static waits for the workers: of a thread still starting, the child would inherit the
/// locks that AddressSanitizer holds meanwhile.
template <class F>
int in_child(F&& f) {
  const pid_t child = fork();
  if (child == 0) _exit(f());
  for (int i = 0; i < 2000; ++i) {
    int status = 0;
    if (waitpid(child, &status, WNOHANG) == child) return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  return -1;
}

TEST(Executor, ATeamWorksInAForkedChildAndStillInTheParent) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer refuses new threads in a forked child";
#endif
  Executor executor(2);
  const auto count = [&] {
    std::atomic<int> calls{0};
    executor.run_static(50, [&](std::size_t) { ++calls; });
    return calls.load();
  };
  ASSERT_EQ(count(), 50);
  EXPECT_EQ(in_child(count), 50);
  EXPECT_EQ(in_child([&] {
              const int mine = count();
              return mine == 50 && in_child(count) == 50 ? 7 : 1;  // and in a child of the child
            }),
            7);
  EXPECT_EQ(count(), 50);
}

TEST(Executor, ThreadsOfAForkedChildMayAllUseTheTeamAtOnce) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer refuses new threads in a forked child";
#endif
  Executor executor(2);
  executor.run_static(2, [](std::size_t) {});
  EXPECT_EQ(in_child([&] {
              std::atomic<int> calls{0};
              std::vector<std::thread> callers;
              for (int i = 0; i < 4; ++i)
                callers.emplace_back([&] { executor.run(10, [&](std::size_t) { ++calls; }); });
              for (auto& caller : callers) caller.join();
              return calls.load();
            }),
            40);
}

TEST(Executor, ATeamMadeBeforeTheForkIsDestroyedInTheChildWithoutWaiting) {
  auto executor = std::make_unique<Executor>(2);
  executor->run_static(4, [](std::size_t) {});
  EXPECT_EQ(in_child([&] {
              executor.reset();
              return 3;
            }),
            3);
}

TEST(Executor, SizesAreCutToWhatTheProcessMayUse) {
  const std::size_t limit = Executor::default_threads();
  EXPECT_GE(limit, 1u);
  EXPECT_EQ(Executor(0).threads(), limit);
  EXPECT_EQ(Executor(1).threads(), 1u);
  EXPECT_EQ(Executor(1'000'000).threads(), limit);
}

TEST(Executor, TheEnvironmentLowersTheDefault) {
  const char* before = std::getenv("QEFF_NUM_THREADS");
  const std::string kept = before ? before : "";
  unsetenv("QEFF_NUM_THREADS");
  const std::size_t limit = Executor::default_threads();
  setenv("QEFF_NUM_THREADS", "1", 1);
  EXPECT_EQ(Executor::default_threads(), 1u);
  for (const char* useless : {"0", "-3", "many", ""}) {
    setenv("QEFF_NUM_THREADS", useless, 1);
    EXPECT_EQ(Executor::default_threads(), limit) << useless;
  }
  before ? setenv("QEFF_NUM_THREADS", kept.c_str(), 1) : unsetenv("QEFF_NUM_THREADS");
}

TEST(Executor, AMovedTeamKeepsWorking) {
  Executor first(2);
  Executor second(std::move(first));
  std::atomic<int> calls{0};
  second.run(9, [&](std::size_t) { ++calls; });
  EXPECT_EQ(calls, 9);
}

}  // namespace
}  // namespace qeff
