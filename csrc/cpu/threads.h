// A pool of worker threads for work lists; the caller works too. Survives fork: a child starts with a pool of its own.
#pragma once

#include <cstdint>
#include <functional>

namespace ql::cpu {

// Calls run(task) once for each task in [0, tasks), on at most `threads` threads, in any order; returns when all are done.
// Every thread runs with the default floating-point environment (no flushing of subnormals, round to nearest), which is
// restored afterwards. `run` must not throw.
void run_tasks(int threads, int64_t tasks, const std::function<void(int64_t)>& run);

}  // namespace ql::cpu
