// Tensor list -> chunks of work: pure, 64-bit, no memory of the tensors touched. Empty tensors never enter.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace ql {

// Elements [begin, end) of one tensor's local memory.
struct Chunk {
  int64_t tensor, begin, end;
};

// size: elements here; offset: where the first of them lies in the unsharded tensor. Chunks end where the *global* index is
// a multiple of chunk_elements, so that only a tensor's first and last groups of 8 can be partial.
struct Extent {
  int64_t size, offset;
};

inline std::vector<Chunk> make_chunks(const std::vector<Extent>& extents, int64_t chunk_elements) {
  if (chunk_elements <= 0 || chunk_elements % 64 != 0)
    throw std::invalid_argument("chunk_elements must be a positive multiple of 64");
  std::vector<Chunk> chunks;
  for (int64_t tensor = 0; tensor < static_cast<int64_t>(extents.size()); ++tensor) {
    const Extent extent = extents[static_cast<size_t>(tensor)];
    if (extent.size < 0 || extent.offset < 0) throw std::invalid_argument("sizes and offsets must not be negative");
    for (int64_t begin = 0; begin < extent.size;) {
      const int64_t room = chunk_elements - (extent.offset + begin) % chunk_elements;
      const int64_t end = begin + std::min(room, extent.size - begin);
      chunks.push_back({tensor, begin, end});
      begin = end;
    }
  }
  return chunks;
}

// Consecutive chunks that together hold about `task_elements`: what a thread claims at once, so that many small tensors
// cost one claim. Returns the chunk at which each task begins, and the number of chunks last.
inline std::vector<int64_t> make_tasks(const std::vector<Chunk>& chunks, int64_t task_elements) {
  std::vector<int64_t> first{0};
  int64_t elements = 0;
  for (int64_t i = 0; i < static_cast<int64_t>(chunks.size()); ++i) {
    elements += chunks[static_cast<size_t>(i)].end - chunks[static_cast<size_t>(i)].begin;
    if (elements >= task_elements || i + 1 == static_cast<int64_t>(chunks.size())) {
      first.push_back(i + 1);
      elements = 0;
    }
  }
  return first;
}

}  // namespace ql
