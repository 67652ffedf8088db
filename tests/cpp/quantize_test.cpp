// Values to a grid: numerics.md, section 5. The oracle is binary64, in which all of this is exact.
#include "../../csrc/core/quantize.h"

#include <cfloat>
#include <cmath>
#include <initializer_list>

#include "check.h"

namespace ql {
namespace {

constexpr double kPass = 4194304.0;  // |y| from which values pass
constexpr GridRounding kModes[] = {GridRounding::nearest, GridRounding::stochastic, GridRounding::floor, GridRounding::dither};

float quantized(float x, GridRounding mode, double resolution, uint32_t half) {
  return quantize<ScalarLanes>(x, mode, static_cast<float>(resolution), static_cast<float>(1.0 / resolution),
                               [&] { return half; });
}

TEST(floor_of_is_floor_on_a_stride_of_all_patterns) {
  for (uint64_t bits = 0; bits < 0x100000000ull; bits += 1021) {
    const float y = bit_cast<float>(static_cast<uint32_t>(bits));
    if (std::fabs(static_cast<double>(y)) < kPass) CHECK_EQUAL(floor_of<ScalarLanes>(y), std::floor(y));
  }
}

TEST(floor_of_is_floor_around_every_kind_of_integer) {
  for (int32_t n = -4194303; n <= 4194303; n += n > -3000 && n < 3000 ? 1 : 997) {
    const float exact = static_cast<float>(n);
    for (const float y : {std::nextafter(exact, -FLT_MAX), exact, std::nextafter(exact, FLT_MAX), exact + 0.5f, exact - 0.5f})
      if (std::fabs(y) < 4194304.0f) CHECK_EQUAL(floor_of<ScalarLanes>(y), std::floor(y));
  }
}

TEST(unit_of_is_never_on_the_edge) {
  for (uint32_t half = 0; half < 65536; ++half)
    CHECK_EQUAL(static_cast<double>(unit_of<ScalarLanes>(half)), (half + 0.5) / 65536.0);
}

// Values whose product with 64 has few enough bits for every mode to be exact.
template <class Visit>
void visit_values(Visit visit) {
  test::Words words(4);
  for (int i = 0; i < 400; ++i) {
    const int32_t numerator = static_cast<int32_t>(words.next()) >> 12;  // 20 bits
    visit(static_cast<float>(std::ldexp(static_cast<double>(numerator), -10 - i % 9)));
  }
  for (const float x : {0.0f, 0.0078125f, -0.0078125f, 0.5f, -0.5f, 1.0f, -1.0f, 3.984375f}) visit(x);
}

TEST(nearest_is_floor_of_y_and_a_half) {
  visit_values([](float x) {
    const double y = static_cast<double>(x) * 64.0;
    CHECK_EQUAL(static_cast<double>(quantized(x, GridRounding::nearest, 64.0, 0)), std::floor(y + 0.5) / 64.0);
  });
}

TEST(floor_mode_is_floor_of_y) {
  visit_values([](float x) {
    const double y = static_cast<double>(x) * 64.0;
    CHECK_EQUAL(static_cast<double>(quantized(x, GridRounding::floor, 64.0, 0)), std::floor(y) / 64.0);
  });
}

TEST(stochastic_mode_goes_up_for_the_right_number_of_halves) {
  visit_values([](float x) {
    const double y = static_cast<double>(x) * 64.0, q = std::floor(y);
    int64_t up = 0;
    for (uint32_t half = 0; half < 65536; ++half) {
      const double got = static_cast<double>(quantized(x, GridRounding::stochastic, 64.0, half)) * 64.0;
      CHECK(got == q || got == q + 1.0);
      up += got == q + 1.0;
    }
    CHECK(std::fabs(static_cast<double>(up) - 65536.0 * (y - q)) <= 0.5);
  });
}

TEST(dither_subtracts_what_it_added_and_errs_uniformly) {
  for (const float x : {0.0f, 0.01171875f, -0.30078125f, 0.5f, -0.9765625f}) {  // |y| < 64: 24 bits hold y - u
    const double y = static_cast<double>(x) * 64.0;
    double sum = 0.0, squares = 0.0;
    for (uint32_t half = 0; half < 65536; ++half) {
      const double u = (half + 0.5) / 65536.0 - 0.5;
      const double got = static_cast<double>(quantized(x, GridRounding::dither, 64.0, half)) * 64.0;
      CHECK_EQUAL(got, std::floor(y + u + 0.5) - u);
      sum += got - y;
      squares += (got - y) * (got - y);
    }
    CHECK(std::fabs(sum / 65536.0) <= 1.0 / 65536.0);                   // one half more on one side at most
    CHECK(std::fabs(squares / 65536.0 - 1.0 / 12.0) <= 1.0 / 65536.0);  // the variance of a uniform error
  }
}

TEST(dither_errs_by_half_a_spacing_and_its_own_rounding) {
  test::Words words(8);
  for (int i = 0; i < 100000; ++i) {
    const double y = std::ldexp(static_cast<double>(static_cast<int32_t>(words.next()) >> 8), -(i % 30));
    const double got =
        static_cast<double>(quantized(static_cast<float>(y / 64.0), GridRounding::dither, 64.0, words.next() & 0xFFFFu));
    if (std::fabs(y) < kPass) CHECK(std::fabs(got * 64.0 - y) <= 0.5 + std::fabs(y) * 0x1p-22 + 0x1p-24);  // 3 roundings
  }
}

TEST(values_on_the_grid_do_not_move) {
  for (int32_t n = -4194303; n <= 4194303; n += 4999) {
    for (const double resolution : {64.0, 1048576.0, 0.25}) {
      const float x = static_cast<float>(n / resolution);
      for (const uint32_t half : {0u, 0x8000u, 0xFFFFu}) {
        for (const GridRounding mode : {GridRounding::nearest, GridRounding::stochastic, GridRounding::floor})
          CHECK_EQUAL(quantized(x, mode, resolution, half), x);
      }
    }
  }
}

TEST(tiny_values_go_to_zero_on_both_sides) {
  for (const float x : {1e-30f, 1e-44f, -1e-30f, -1e-44f}) {
    CHECK_EQUAL(quantized(x, GridRounding::nearest, 64.0, 0), 0.0f);
    CHECK_EQUAL(quantized(x, GridRounding::floor, 64.0, 0), x > 0 ? 0.0f : -1.0f / 64.0f);
    for (uint32_t half = 0; half < 65536; ++half) CHECK_EQUAL(quantized(x, GridRounding::stochastic, 64.0, half), 0.0f);
  }
}

TEST(a_resolution_that_is_no_power_of_two_rounds_each_operation_once) {
  test::Words words(5);
  const float spacing = static_cast<float>(1.0 / 100.0);
  for (int i = 0; i < 100000; ++i) {
    const float x = static_cast<float>(static_cast<int32_t>(words.next())) * 0x1p-20f;
    const double y = static_cast<double>(static_cast<float>(static_cast<double>(x) * 100.0));
    const float wanted = static_cast<float>(std::floor(y + 0.5) * static_cast<double>(spacing));
    if (std::fabs(y) < kPass) CHECK_EQUAL(quantized(x, GridRounding::nearest, 100.0, 0), wanted);
  }
}

TEST(numbers_coarser_than_the_grid_and_specials_pass) {
  for (const GridRounding mode : kModes) {
    for (const uint32_t half : {0u, 0xFFFFu}) {
      for (const float x : {65536.0f, -65536.0f, 65536.02f, 1e30f, -FLT_MAX, HUGE_VALF, -HUGE_VALF})
        CHECK_EQUAL(quantized(x, mode, 64.0, half), x);
      CHECK(std::isnan(quantized(NAN, mode, 64.0, half)));
      CHECK(std::fabs(quantized(65535.99f, mode, 64.0, half) - 65535.99f) <= 1.0f / 64.0f);
    }
  }
  CHECK_EQUAL(quantized(65535.99f, GridRounding::floor, 64.0, 0), 65535.984375f);  // the last grid that is not passed
}

}  // namespace
}  // namespace ql
