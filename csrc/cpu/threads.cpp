#include "threads.h"

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "float_environment.h"

namespace ql::cpu {
namespace {

struct Job {
  const std::function<void(int64_t)>* run;
  int64_t tasks;
  std::atomic<int64_t> next{0};

  void work() {
    const DefaultFloatEnvironment environment;
    for (int64_t task = next.fetch_add(1); task < tasks; task = next.fetch_add(1)) (*run)(task);
  }
};

class Pool {
 public:
  void run(int threads, Job& job) {
    const std::lock_guard one_job(jobs_);
    for (; workers_ < threads - 1; ++workers_) std::thread([this] { serve(); }).detach();
    {
      const std::lock_guard lock(state_);
      job_ = &job;
      seats_ = threads - 1;
    }
    wake_.notify_all();
    job.work();
    std::unique_lock lock(state_);
    seats_ = 0;  // nothing is left to do: who wakes up only now need not be waited for
    done_.wait(lock, [&] { return active_ == 0; });
  }

 private:
  void serve() {
    std::unique_lock lock(state_);
    while (true) {
      wake_.wait(lock, [&] { return seats_ > 0; });
      --seats_;
      ++active_;
      lock.unlock();
      job_->work();
      lock.lock();
      if (--active_ == 0) done_.notify_one();
    }
  }

  std::mutex jobs_, state_;
  std::condition_variable wake_, done_;
  Job* job_ = nullptr;
  int workers_ = 0, seats_ = 0, active_ = 0;
};

// Never destroyed: its threads may outlive static destruction. A forked child has none of the threads and locks that the
// parent's pool relies on, so it gets a new pool and leaks the old one.
std::atomic<Pool*> pool{nullptr};

Pool& current_pool() {
  static std::once_flag registered;
  std::call_once(registered, [] { pthread_atfork(nullptr, nullptr, [] { pool.store(nullptr); }); });
  Pool* existing = pool.load();
  if (existing == nullptr) {
    Pool* fresh = new Pool;
    if (pool.compare_exchange_strong(existing, fresh)) return *fresh;
    delete fresh;
  }
  return *existing;
}

}  // namespace

void run_tasks(int threads, int64_t tasks, const std::function<void(int64_t)>& run) {
  Job job{&run, tasks};
  if (threads > tasks) threads = static_cast<int>(tasks);
  if (threads <= 1) return job.work();
  current_pool().run(threads, job);
}

}  // namespace ql::cpu
