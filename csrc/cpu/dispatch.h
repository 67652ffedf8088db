// Which instruction set's kernels run.
#pragma once

#include <string>
#include <vector>

#include "kernel.h"

namespace ql::cpu {

using FindKernel = Kernel (*)(int rule, StorageTypes types, bool observed);

struct Path {
  std::string name;
  FindKernel find;
  SquareRange (*find_squares)(Storage type);
  std::string missing;  // empty if this machine can run it, else what it lacks
};

// All paths that this build has or could have, the best one first.
const std::vector<Path>& list_paths();

// The named path; the best usable one for "auto". Throws std::invalid_argument naming the valid ones and what is missing.
const Path& choose_path(const std::string& name);

}  // namespace ql::cpu
