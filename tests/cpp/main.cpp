#include <cstring>
#include <vector>

#include "check.h"

namespace ql::test {
namespace {

struct Test {
  const char* name;
  Body body;
};

std::vector<Test>& all_tests() {
  static std::vector<Test> tests;
  return tests;
}

constexpr int64_t kPrinted = 5;
int64_t failures = 0;
const char* skipped = nullptr;

}  // namespace

Registration::Registration(const char* name, Body body) {
  all_tests().push_back({name, body});
}

void fail(const char* file, int line, const char* text, uint64_t got, uint64_t wanted) {
  if (++failures <= kPrinted) std::printf("  %s:%d: %s: got %#" PRIx64 ", wanted %#" PRIx64 "\n", file, line, text, got, wanted);
}

void skip(const char* reason) {
  skipped = reason;
}

}  // namespace ql::test

// Runs all tests, or those whose name contains the argument.
int main(int count, char** arguments) {
  using namespace ql::test;
  int64_t failed = 0, ran = 0;
  for (const auto& test : all_tests()) {
    if (count > 1 && std::strstr(test.name, arguments[1]) == nullptr) continue;
    failures = 0;
    skipped = nullptr;
    test.body();
    ++ran;
    if (failures > 0)
      std::printf("FAILED  %s (%" PRId64 " checks)\n", test.name, failures);
    else if (skipped != nullptr)
      std::printf("SKIPPED %s: %s\n", test.name, skipped);
    else
      std::printf("ok      %s\n", test.name);
    failed += failures > 0;
  }
  std::printf("%" PRId64 " tests, %" PRId64 " failed\n", ran, failed);
  return failed > 0 || ran == 0;
}
