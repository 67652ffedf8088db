// Sums of squares in binary64, in an order that depends on the length alone (numerics.md section 1): a block is 16 rows of 256
// columns; a column adds its rows from the first on, then the upper half of the columns is added to the lower one until one is
// left; the sums of the blocks are summed in the same way. 256 threads of a GPU, vector lanes and torch can all follow it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace ql {

constexpr int kNormRows = 16;
constexpr int kNormColumns = 256;
constexpr int64_t kNormBlock = kNormRows * kNormColumns;

constexpr int64_t count_norm_blocks(int64_t size) {
  return size == 0 ? 1 : (size + kNormBlock - 1) / kNormBlock;
}

// read(i) gives addend i of a block that has `count` of them; missing ones are zeros.
template <class Read>
inline double sum_block(int64_t count, Read read) {
  double columns[kNormColumns] = {};
  for (int64_t row = 0; row * kNormColumns < count; ++row) {
    const int64_t filled = count - row * kNormColumns < kNormColumns ? count - row * kNormColumns : kNormColumns;
    for (int64_t column = 0; column < filled; ++column) columns[column] += read(row * kNormColumns + column);
  }
  for (int half = kNormColumns / 2; half > 0; half /= 2) {
    for (int column = 0; column < half; ++column) columns[column] += columns[column + half];
  }
  return columns[0];
}

// The sum of a list, level by level.
inline double sum_fixed(std::vector<double> x) {
  do {
    std::vector<double> sums(static_cast<std::size_t>(count_norm_blocks(static_cast<int64_t>(x.size()))));
    for (std::size_t block = 0; block < sums.size(); ++block) {
      const int64_t begin = static_cast<int64_t>(block) * kNormBlock;
      const int64_t left = static_cast<int64_t>(x.size()) - begin;
      sums[block] =
          sum_block(left < kNormBlock ? left : kNormBlock, [&](int64_t i) { return x[static_cast<std::size_t>(begin + i)]; });
    }
    x = std::move(sums);
  } while (x.size() > 1);
  return x[0];
}

}  // namespace ql
