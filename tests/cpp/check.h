// A test registers itself, runs once, and fails by CHECK. The first failures of a test are printed, the rest counted.
#pragma once

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>

namespace ql::test {

using Body = void (*)();

struct Registration {
  Registration(const char* name, Body body);
};

void fail(const char* file, int line, const char* text, uint64_t got, uint64_t wanted);
void skip(const char* reason);

template <class T>
uint64_t printable(T value) {  // a float as the pattern of the double with its value
  if constexpr (std::is_floating_point_v<T>) {
    const double wide = static_cast<double>(value);
    uint64_t bits;
    std::memcpy(&bits, &wide, sizeof(bits));
    return bits;
  } else {
    return static_cast<uint64_t>(value);
  }
}

// A small generator for test inputs, unrelated to Philox (xorshift64*).
class Words {
 public:
  explicit Words(uint64_t seed) : state_(seed * 2685821657736338717ull + 1) {}
  uint32_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<uint32_t>((state_ * 2685821657736338717ull) >> 32);
  }

 private:
  uint64_t state_;
};

}  // namespace ql::test

#define TEST(name)                                                    \
  static void name();                                                 \
  static const ql::test::Registration name##_registered(#name, name); \
  static void name()

#define CHECK(condition)                                                    \
  do {                                                                      \
    if (!(condition)) ql::test::fail(__FILE__, __LINE__, #condition, 0, 1); \
  } while (false)

#define CHECK_EQUAL(got, wanted)                                                              \
  do {                                                                                        \
    const auto got_value = (got);                                                             \
    const auto wanted_value = (wanted);                                                       \
    if (!(got_value == wanted_value))                                                         \
      ql::test::fail(__FILE__, __LINE__, #got " == " #wanted, ql::test::printable(got_value), \
                     ql::test::printable(wanted_value));                                      \
  } while (false)
