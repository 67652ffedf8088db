// Sums over a tensor in binary64, in an order that depends on its place alone (numerics.md section 1): blocks begin at multiples
// of 4096 in the unsharded tensor and are 16 rows of 256 columns; a column adds its rows from the first on, then the upper half
// of the columns is added to the lower one until one is left; the sums of the blocks are summed in the same way, from the first
// block that is touched on. 256 threads of a GPU, vector lanes and torch can all follow it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "platform.h"

namespace ql {

constexpr int kNormRows = 16;
constexpr int kNormColumns = 256;
constexpr int64_t kNormBlock = kNormRows * kNormColumns;

// The blocks that elements [offset, offset + size) touch; one, of zeros, if there are none.
constexpr int64_t count_norm_blocks(int64_t size, int64_t offset = 0) {
  return size == 0 ? 1 : (offset + size - 1) / kNormBlock - offset / kNormBlock + 1;
}

QL_HD double fold_columns(double (&columns)[kNormColumns]) {
  for (int half = kNormColumns / 2; half > 0; half /= 2) {
    for (int column = 0; column < half; ++column) columns[column] += columns[column + half];
  }
  return columns[0];
}

// The sum of a list, level by level; missing addends of a block are zeros.
inline double sum_fixed(std::vector<double> x) {
  do {
    std::vector<double> sums(static_cast<std::size_t>(count_norm_blocks(static_cast<int64_t>(x.size()))));
    for (std::size_t block = 0; block < sums.size(); ++block) {
      double columns[kNormColumns] = {};
      const std::size_t begin = block * kNormBlock;
      for (std::size_t i = begin; i < x.size() && i < begin + kNormBlock; ++i) columns[i % kNormColumns] += x[i];
      sums[block] = fold_columns(columns);
    }
    x = std::move(sums);
  } while (x.size() > 1);
  return x[0];
}

}  // namespace ql
