// Golden noise values; their laws are tests/core/test_noise_law.py's.
#include "../../csrc/core/normal.h"

#include <cmath>

#include "check.h"

namespace ql {
namespace {

struct Golden {
  uint32_t random, value;
};

// From an evaluation in numpy's binary32, one operation at a time.
constexpr Golden kGaussian[] = {
    {0x00000000u, 0xC0AF172Du},  // -5.4715791
    {0xFFFFFFFFu, 0x40AF172Du},  // 5.4715791
    {0x80000000u, 0xC03CFFD4u},  // -2.9531145
    {0x7FFFFFFFu, 0x403CFFD4u},  // 2.9531145
    {0x000000FFu, 0xBFC0742Du},  // -1.5035454
    {0x0000FF00u, 0xBFD70A69u},  // -1.6800052
    {0x00FF0000u, 0xBFDB346Bu},  // -1.7125372
    {0xFF000000u, 0xBFFD54DDu},  // -1.9791523
    {0x01020304u, 0xC09EB581u},  // -4.9596562
    {0xDEADBEEFu, 0x400B3D56u},  // 2.1756186
    {0x6627E8D5u, 0x3F17EA73u},  // 0.5934212
    {0x80808080u, 0x3C545B72u},  // 0.0129613
    {0x7F7F7F7Fu, 0xBC545B72u},  // -0.0129613
};

TEST(gaussian_gives_the_golden_values) {
  for (const Golden golden : kGaussian) CHECK_EQUAL(bit_cast<uint32_t>(gaussian<ScalarLanes>(golden.random)), golden.value);
}

TEST(gaussian_of_the_complement_is_the_negative) {
  test::Words words(2);
  for (int i = 0; i < 1000000; ++i) {
    const uint32_t word = words.next();
    CHECK_EQUAL(gaussian<ScalarLanes>(~word), -gaussian<ScalarLanes>(word));
  }
}

TEST(uniform_is_the_midpoints_of_its_interval) {
  const double spacing = std::sqrt(12.0 / 4294967295.0);
  for (uint32_t half = 0; half < 65536; ++half) {
    const double wanted = (static_cast<double>(half) - 32767.5) * spacing;
    CHECK(std::fabs(static_cast<double>(uniform<ScalarLanes>(half)) - wanted) <= std::fabs(wanted) * 0x1p-23);
  }
}

TEST(rademacher_is_the_sign_of_the_top_bit) {
  for (uint32_t half = 0; half < 65536; ++half) CHECK_EQUAL(rademacher<ScalarLanes>(half), half < 32768 ? 1.0f : -1.0f);
}

TEST(noise_value_chooses_the_kind) {
  const uint32_t bits = 0x1234u;
  CHECK_EQUAL(noise_value<ScalarLanes>(NoiseKind::gaussian, bits), gaussian<ScalarLanes>(bits));
  CHECK_EQUAL(noise_value<ScalarLanes>(NoiseKind::uniform, bits), uniform<ScalarLanes>(bits));
  CHECK_EQUAL(noise_value<ScalarLanes>(NoiseKind::rademacher, bits), 1.0f);
}

}  // namespace
}  // namespace ql
