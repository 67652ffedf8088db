// binary32 -> bf16 and fp16 over all 2^16 targets: numerics.md, section 4. The oracle works in binary64 with exact distances.
#include <cfloat>
#include <cmath>
#include <initializer_list>

#include "../../csrc/core/round.h"
#include "check.h"

namespace ql {
namespace {

struct Format {
  int mantissa_bits, bias;
  uint32_t inf;  // pattern of +Inf; every pattern below it is finite
};

constexpr Format kBFloat16{7, 127, 0x7F80u};
constexpr Format kFloat16{10, 15, 0x7C00u};

// The value of a magnitude pattern; Inf's is the next power of two, as the rounding rules have it.
double decode(Format format, uint32_t pattern) {
  const int exponent = static_cast<int>(pattern >> format.mantissa_bits);
  const double fraction = std::ldexp(static_cast<double>(pattern & ((1u << format.mantissa_bits) - 1)), -format.mantissa_bits);
  return exponent == 0 ? std::ldexp(fraction, 1 - format.bias) : std::ldexp(1.0 + fraction, exponent - format.bias);
}

uint32_t nearest_by_distance(Format format, uint32_t below, double value) {
  const double down = value - decode(format, below), up = decode(format, below + 1) - value;
  if (down == up) return below + (below & 1u);
  return down < up ? below : below + 1;
}

bool is_nan(Format format, uint32_t pattern) {
  return (pattern & 0x7FFFu) > format.inf;
}

template <class T>
uint32_t nearest(float value) {
  return round<ScalarLanes>(T{}, value, false, 0u);
}

template <class T>
uint32_t stochastic(float value, uint32_t half) {
  return round<ScalarLanes>(T{}, value, true, half);
}

template <class T>
void check_targets(Format format) {
  for (uint32_t pattern = 0; pattern < 65536; ++pattern) {
    const float value = widen<ScalarLanes>(T{}, pattern);
    if (is_nan(format, pattern)) {
      CHECK(std::isnan(value));
      CHECK(is_nan(format, nearest<T>(value)));
      for (const uint32_t half : {0u, 1u, 0x8000u, 0xFFFFu}) CHECK(is_nan(format, stochastic<T>(value, half)));
      continue;
    }
    const double magnitude = (pattern & 0x7FFFu) == format.inf ? HUGE_VAL : decode(format, pattern & 0x7FFFu);
    CHECK_EQUAL(static_cast<double>(value), pattern < 32768 ? magnitude : -magnitude);
    CHECK_EQUAL(std::signbit(value), pattern >= 32768);
    CHECK_EQUAL(nearest<T>(value), pattern);
    for (uint32_t half = 0; half < 65536; half += 0x1111) CHECK_EQUAL(stochastic<T>(value, half), pattern);
  }
}

TEST(every_bf16_is_widened_rightly_and_left_alone) {
  check_targets<BFloat16>(kBFloat16);
}

TEST(every_fp16_is_widened_rightly_and_left_alone) {
  check_targets<Float16>(kFloat16);
}

// binary32 values strictly between a pattern and the next: beside both ends, around the middle, and elsewhere.
template <class Visit>
void visit_between(Format format, uint32_t pattern, Visit visit) {
  const uint32_t low = bit_cast<uint32_t>(static_cast<float>(decode(format, pattern)));
  const uint32_t high = pattern + 1 == format.inf && format.inf == kBFloat16.inf
                            ? 0x7F800000u
                            : bit_cast<uint32_t>(static_cast<float>(decode(format, pattern + 1)));
  const uint32_t middle = bit_cast<uint32_t>(static_cast<float>((decode(format, pattern) + decode(format, pattern + 1)) / 2));
  for (const uint32_t bits : {low + 1, low + 3, middle - 1, middle, middle + 1, low + (high - low) / 3, high - 5, high - 1}) {
    if (bits > low && bits < high) visit(bit_cast<float>(bits));
  }
}

template <class T>
void check_nearest(Format format) {
  for (uint32_t below = 0; below < format.inf; ++below) {
    visit_between(format, below, [&](float value) {
      const uint32_t wanted = nearest_by_distance(format, below, static_cast<double>(value));
      CHECK_EQUAL(nearest<T>(value), wanted);
      CHECK_EQUAL(nearest<T>(-value), wanted | 0x8000u);
    });
  }
}

TEST(nearest_bf16_is_the_nearer_neighbour_ties_to_even) {
  check_nearest<BFloat16>(kBFloat16);
}

TEST(nearest_fp16_is_the_nearer_neighbour_ties_to_even) {
  check_nearest<Float16>(kFloat16);
}

template <class T>
void check_neighbours(Format format) {
  for (uint32_t below = 0; below < format.inf; ++below) {
    const uint32_t above = below + 1 == format.inf ? below : below + 1;  // the largest finite value is a wall
    visit_between(format, below, [&](float value) {
      for (const uint32_t half : {0u, 0x1234u, 0x7FFFu, 0x8000u, 0xFFFFu}) {
        const uint32_t got = stochastic<T>(value, half);
        CHECK(got == below || got == above);
        CHECK_EQUAL(stochastic<T>(-value, half), got | 0x8000u);
      }
    });
  }
}

TEST(stochastic_bf16_is_one_of_the_neighbours) {
  check_neighbours<BFloat16>(kBFloat16);
}

TEST(stochastic_fp16_is_one_of_the_neighbours) {
  check_neighbours<Float16>(kFloat16);
}

// Over all 2^16 halves the number of steps up must be 2^16 times the fraction: exactly, or, where the fraction has more than
// 16 bits (fp16 subnormals), to the nearest integer. Two values with the right mean have the variance ulp^2 f (1 - f).
template <class T>
void check_mean(Format format, uint32_t below) {
  visit_between(format, below, [&](float value) {
    const double low = decode(format, below), high = decode(format, below + 1);
    const double wanted = 65536.0 * ((static_cast<double>(value) - low) / (high - low));
    int64_t up = 0;
    for (uint32_t half = 0; half < 65536; ++half) up += stochastic<T>(value, half) == below + 1;
    const bool subnormal = format.bias == kFloat16.bias && below < 0x0400u;
    CHECK(subnormal ? std::fabs(static_cast<double>(up) - wanted) <= 0.5 : static_cast<double>(up) == wanted);
  });
}

TEST(stochastic_bf16_has_the_exact_mean) {
  for (const uint32_t below : {0u, 1u, 0x7Eu, 0x7Fu, 0x80u, 0xFFu, 0x3F7Fu, 0x3F80u, 0x3FFFu, 0x4000u, 0x7F00u, 0x7F7Eu})
    check_mean<BFloat16>(kBFloat16, below);
  for (uint32_t below = 300; below < 0x7F7Fu; below += 1499) check_mean<BFloat16>(kBFloat16, below);
}

TEST(stochastic_fp16_has_the_exact_mean) {
  for (const uint32_t below : {0u, 1u, 2u, 0x1FFu, 0x3FEu, 0x3FFu, 0x400u, 0x401u, 0x7FFu, 0x3BFFu, 0x3C00u, 0x7BFEu})
    check_mean<Float16>(kFloat16, below);
  for (uint32_t below = 30; below < 0x7BFFu; below += 1499) check_mean<Float16>(kFloat16, below);
}

constexpr uint32_t kNaNs[] = {0x7FFFFFFFu, 0xFFFFFFFFu, 0x7FC00000u, 0xFFC00000u,
                              0x7F800001u, 0xFF800001u, 0x7F80FFFFu, 0x7F801FFFu};
constexpr uint32_t kHuge[] = {0x7F7FFFFFu, 0x7F7F0001u, 0x7F7F8000u, 0x477FE001u,
                              0x477FEFFFu, 0x477FF000u, 0x47800000u, 0x60000000u};

template <class T>
void check_specials(Format format) {
  for (uint32_t half = 0; half < 65536; ++half) {
    for (const uint32_t bits : kNaNs) CHECK(is_nan(format, stochastic<T>(bit_cast<float>(bits), half)));
    CHECK_EQUAL(stochastic<T>(HUGE_VALF, half), format.inf);
    CHECK_EQUAL(stochastic<T>(-HUGE_VALF, half), format.inf | 0x8000u);
    CHECK_EQUAL(stochastic<T>(0.0f, half), 0u);
    CHECK_EQUAL(stochastic<T>(-0.0f, half), 0x8000u);
    for (const uint32_t bits : kHuge) {
      CHECK((stochastic<T>(bit_cast<float>(bits), half) & 0x7FFFu) < format.inf);
      CHECK((stochastic<T>(bit_cast<float>(bits | 0x80000000u), half) & 0x7FFFu) < format.inf);
    }
  }
  for (const uint32_t bits : kNaNs) CHECK(is_nan(format, nearest<T>(bit_cast<float>(bits))));
  CHECK_EQUAL(nearest<T>(HUGE_VALF), format.inf);
  CHECK_EQUAL(nearest<T>(-HUGE_VALF), format.inf | 0x8000u);
  CHECK_EQUAL(nearest<T>(FLT_MAX), format.inf);
  CHECK_EQUAL(nearest<T>(-0.0f), 0x8000u);
}

TEST(bf16_keeps_nan_inf_and_zero_and_makes_no_inf) {
  check_specials<BFloat16>(kBFloat16);
}

TEST(fp16_keeps_nan_inf_and_zero_and_makes_no_inf) {
  check_specials<Float16>(kFloat16);
}

TEST(fp32_is_the_identity) {
  test::Words words(3);
  for (int i = 0; i < 1000000; ++i) {
    const uint32_t bits = i < 8 ? kNaNs[i] : words.next();
    CHECK_EQUAL(round<ScalarLanes>(Float32{}, bit_cast<float>(bits), false, 0u), bits);
    CHECK_EQUAL(round<ScalarLanes>(Float32{}, bit_cast<float>(bits), true, words.next() & 0xFFFFu), bits);
    CHECK_EQUAL(bit_cast<uint32_t>(widen<ScalarLanes>(Float32{}, bits)), bits);
  }
}

}  // namespace
}  // namespace ql
