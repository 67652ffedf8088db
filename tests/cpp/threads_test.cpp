// The pool of csrc/cpu: every task once, the floating-point environment given back.
#include "../../csrc/cpu/threads.h"

#include <atomic>
#include <cfloat>
#include <initializer_list>
#include <thread>
#include <vector>

#include "check.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace ql {
namespace {

TEST(every_task_runs_once) {
  for (const int threads : {-1, 0, 1, 2, 5, 16}) {
    for (const int64_t tasks : {0, 1, 2, 3, 100, 1000}) {
      std::vector<std::atomic<int>> ran(static_cast<size_t>(tasks));
      cpu::run_tasks(threads, tasks, [&](int64_t task) { ++ran[static_cast<size_t>(task)]; });
      for (const auto& count : ran) CHECK_EQUAL(count.load(), 1);
    }
  }
}

TEST(callers_from_many_threads_do_not_mix) {
  std::vector<int64_t> sums(4);
  std::vector<std::thread> callers;
  for (size_t caller = 0; caller < sums.size(); ++caller) {
    callers.emplace_back([&sums, caller] {
      for (int repeat = 0; repeat < 200; ++repeat) {
        std::atomic<int64_t> sum{0};
        cpu::run_tasks(3, 50, [&](int64_t task) { sum += task; });
        sums[caller] += sum;
      }
    });
  }
  for (std::thread& thread : callers) thread.join();
  for (const int64_t sum : sums) CHECK_EQUAL(sum, 200 * 1225);
}

TEST(subnormals_are_kept_and_the_callers_flags_given_back) {
#if defined(__SSE2__)
  const unsigned before = _mm_getcsr();
  const unsigned flushing = before | 0x8040u;  // flush to zero, denormals are zero
  _mm_setcsr(flushing);
  constexpr int threads = 4;
  std::atomic<int> arrived{0};
  float products[threads];
  volatile float smallest = FLT_MIN;
  cpu::run_tasks(threads, threads, [&](int64_t task) {
    for (++arrived; arrived < threads;) std::this_thread::yield();  // so that each thread takes one task
    products[task] = smallest * 0.5f;
  });
  const unsigned after = _mm_getcsr();
  _mm_setcsr(before);
  CHECK_EQUAL(after, flushing);
  for (const float product : products) CHECK_EQUAL(product, FLT_MIN / 2);
#else
  test::skip("the flags are set by x86 instructions here");
#endif
}

}  // namespace
}  // namespace ql
