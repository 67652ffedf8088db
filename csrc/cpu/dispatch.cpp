#include "dispatch.h"

#include <stdexcept>

namespace ql::cpu {
namespace {

std::vector<Path> make_paths() {
  std::vector<Path> paths;
#if defined(QL_X86)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  paths.push_back({"avx512", find_avx512, find_squares_avx512, avx512 ? "" : "this processor has no AVX-512 (F, BW, DQ, VL)"});
  paths.push_back({"avx2", find_avx2, find_squares_avx2, avx2 ? "" : "this processor has no AVX2"});
#endif
  paths.push_back({"portable", find_portable, find_squares_portable, ""});
#if defined(QL_TEST_PATHS)
  paths.push_back({"avx2_wide", find_avx2_wide, find_squares_avx2_wide, avx2 ? "" : "this processor has no AVX2"});
#endif
  return paths;
}

}  // namespace

const std::vector<Path>& list_paths() {
  static const std::vector<Path> paths = make_paths();
  return paths;
}

const Path& choose_path(const std::string& name) {
  std::string known;
  for (const Path& path : list_paths()) {
    if ((name == "auto" || name == path.name) && path.missing.empty()) return path;
    known += (known.empty() ? "" : ", ") + path.name + (path.missing.empty() ? "" : " (not usable: " + path.missing + ")");
  }
  throw std::invalid_argument("CPU path '" + name + "' is not one of: auto, " + known);
}

}  // namespace ql::cpu
