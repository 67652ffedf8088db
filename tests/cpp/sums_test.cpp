// Sums in the fixed order of norm.h.
#include <cmath>
#include <cstdlib>
#include <initializer_list>

#include "../../csrc/core/norm.h"
#include "check.h"

namespace ql {
namespace {

TEST(sums_of_integers_are_exact_at_every_length) {
  for (const int64_t size : {0, 1, 255, 256, 257, 4095, 4096, 4097, 20000}) {
    std::vector<double> x;
    for (int64_t i = 0; i < size; ++i) x.push_back(static_cast<double>(i));
    CHECK_EQUAL(sum_fixed(x), static_cast<double>(size) * static_cast<double>(size - 1) / 2.0);
  }
}

TEST(lists_of_more_than_two_levels_are_summed) {
  CHECK_EQUAL(sum_fixed(std::vector<double>(static_cast<size_t>(kNormBlock * kNormBlock + 5), 1.0)),
              kNormBlock * kNormBlock + 5.0);
}

TEST(blocks_are_counted_and_an_empty_list_has_one) {
  CHECK_EQUAL(count_norm_blocks(0), 1);
  CHECK_EQUAL(count_norm_blocks(1), 1);
  CHECK_EQUAL(count_norm_blocks(kNormBlock), 1);
  CHECK_EQUAL(count_norm_blocks(kNormBlock + 1), 2);
}

TEST(rows_come_before_columns) {
  std::vector<double> x(600);
  x[0] = 0x1p53;
  x[256] = x[512] = 1.0;  // one column: (2^53 + 1) + 1 loses both
  CHECK_EQUAL(sum_fixed(x), 0x1p53);
  x[256] = x[512] = 0.0;
  x[1] = x[129] = 1.0;  // columns 1 and 129 meet before they meet column 0
  CHECK_EQUAL(sum_fixed(x), 0x1p53 + 2.0);
}

// Of `columns` what is left in column c when only `width` columns are.
double reduce_columns(const std::vector<double>& columns, size_t c, size_t width) {
  if (width == columns.size()) return columns[c];
  return reduce_columns(columns, c, 2 * width) + reduce_columns(columns, c + width, 2 * width);
}

TEST(the_upper_half_of_the_columns_is_added_to_the_lower_one) {
  test::Words words(9);
  for (int repeat = 0; repeat < 100; ++repeat) {
    std::vector<double> columns;
    for (int i = 0; i < kNormColumns; ++i) columns.push_back(std::ldexp(words.next(), static_cast<int>(words.next() % 64)));
    CHECK_EQUAL(sum_fixed(columns), reduce_columns(columns, 0, 1));
  }
}

TEST(what_is_not_finite_stays_so) {
  std::vector<double> x(5000, 1.0);
  x[4500] = NAN;
  CHECK(std::isnan(sum_fixed(x)));
}

}  // namespace
}  // namespace ql
