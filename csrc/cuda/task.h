// Where the elements of one warp's task lie.
#pragma once

#include "kernel.h"
#include "storage.h"

namespace ql::cuda {

// block: where the task's block begins in the unsharded tensor; before: the same from the tensor's first element here, negative
// for a shard that begins inside the block; [first, last): the block's elements that lie in the tensor.
struct Reach {
  int64_t block, before;
  int first, last;

  QL_HD Reach(const Tensor& tensor, Task task) {
    block = (tensor.offset / kNormBlock + task.block) * kNormBlock;
    before = block - tensor.offset;
    first = static_cast<int>(before < 0 ? -before : 0);
    last = static_cast<int>(tensor.size - before < kNormBlock ? tensor.size - before : kNormBlock);
  }
  // Where the block's first element lies, or would.
  template <class T>
  QL_HD char* begin_of(T type, const char* memory) const {
    return const_cast<char*>(memory) + before * static_cast<int64_t>(bytes_of(type));
  }
};

QL_HD uint32_t address_bits(const char* memory) {
  return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(memory));
}

// A row of 256 elements, 8 for each lane. at: the lane's first element in the block.
struct Lane {
  uint32_t at;
  Move move;
  Range range;

  QL_HD Lane(const Reach& reach, int begin, uint32_t lane, Move whole)
      : at(static_cast<uint32_t>(begin) + lane * kGroup),
        move(begin >= reach.first && begin + kNormColumns <= reach.last ? whole : Move::partial),
        range{reach.first - static_cast<int>(at), reach.last - static_cast<int>(at)} {}

  // Another lane of the same row, so many further.
  QL_HD Lane moved(int lanes) const {
    Lane other = *this;
    const int elements = lanes * kGroup;
    other.at += static_cast<uint32_t>(elements);
    other.range = {range.from - elements, range.to - elements};
    return other;
  }
};

QL_HD Move move_of(uint32_t address_bits) {
  return (address_bits & 15u) == 0 ? Move::aligned : Move::shifted;
}

}  // namespace ql::cuda
