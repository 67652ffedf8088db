// Chunks and tasks: exact cover of what was asked for, in order, aligned in the unsharded tensor.
#include "../../csrc/core/plan.h"

#include <initializer_list>

#include "check.h"

namespace ql {
namespace {

void check_chunks(const std::vector<Extent>& extents, int64_t chunk_elements) {
  const std::vector<Chunk> chunks = make_chunks(extents, chunk_elements);
  size_t next = 0;
  for (size_t tensor = 0; tensor < extents.size(); ++tensor) {
    int64_t reached = 0;
    for (; next < chunks.size() && chunks[next].tensor == static_cast<int64_t>(tensor); ++next) {
      const Chunk& chunk = chunks[next];
      CHECK_EQUAL(chunk.begin, reached);  // ordered, disjoint, no gap
      CHECK(chunk.end > chunk.begin);
      CHECK(chunk.end - chunk.begin <= chunk_elements);
      if (chunk.begin > 0) CHECK_EQUAL((extents[tensor].offset + chunk.begin) % chunk_elements, 0);
      reached = chunk.end;
    }
    CHECK_EQUAL(reached, extents[tensor].size);
  }
  CHECK_EQUAL(next, chunks.size());
}

TEST(chunks_cover_many_random_tensors_exactly) {
  test::Words words(6);
  for (int repeat = 0; repeat < 300; ++repeat) {
    std::vector<Extent> extents(words.next() % 20);
    for (Extent& extent : extents) {
      extent.size = words.next() % 4 == 0 ? 0 : words.next() % 5000;
      extent.offset = words.next() % 3 == 0 ? 0 : words.next() % 1000000;
    }
    for (const int64_t chunk_elements : {64, 128, 1024, 16384}) check_chunks(extents, chunk_elements);
  }
}

TEST(every_small_size_and_offset_is_covered) {
  for (int64_t size = 0; size <= 200; ++size) {
    for (int64_t offset = 0; offset <= 70; ++offset) check_chunks({{size, offset}, {0, offset}, {1, 3}}, 64);
  }
}

TEST(empty_tensors_have_no_chunks) {
  CHECK(make_chunks({}, 64).empty());
  CHECK(make_chunks({{0, 0}, {0, 5}, {0, int64_t{1} << 40}}, 64).empty());
  const std::vector<Chunk> chunks = make_chunks({{0, 0}, {3, 0}, {0, 0}}, 64);
  CHECK_EQUAL(chunks.size(), size_t{1});
  CHECK_EQUAL(chunks[0].tensor, 1);
}

TEST(tensors_of_2_to_31_up_to_2_to_40_elements_are_covered) {
  for (int bits = 31; bits <= 40; ++bits) {
    const int64_t size = int64_t{1} << bits, chunk = int64_t{1} << (bits - 10);
    check_chunks({{size, 0}}, chunk);
    check_chunks({{size - 1, 0}, {size + 13, 5}, {size, size + 7}}, chunk);
    CHECK_EQUAL(make_chunks({{size, 0}}, chunk).size(), size_t{1024});
  }
}

TEST(bad_arguments_are_refused) {
  const auto refuses = [](const std::vector<Extent>& extents, int64_t chunk_elements) {
    try {
      make_chunks(extents, chunk_elements);
    } catch (const std::invalid_argument&) {
      return true;
    }
    return false;
  };
  CHECK(refuses({{1, 0}}, 0));
  CHECK(refuses({{1, 0}}, -64));
  CHECK(refuses({{1, 0}}, 100));
  CHECK(refuses({{-1, 0}}, 64));
  CHECK(refuses({{1, -1}}, 64));
  CHECK(!refuses({{1, 0}}, 64));
}

TEST(tasks_cover_the_chunks_in_order) {
  test::Words words(7);
  for (int repeat = 0; repeat < 300; ++repeat) {
    std::vector<Extent> extents(1 + words.next() % 50);
    for (Extent& extent : extents) extent = {words.next() % 3000, words.next() % 100};
    const std::vector<Chunk> chunks = make_chunks(extents, 1024);
    for (const int64_t task_elements : {1, 1000, 4096, 1 << 30}) {
      const std::vector<int64_t> first = make_tasks(chunks, task_elements);
      CHECK_EQUAL(first.front(), 0);
      CHECK_EQUAL(first.back(), static_cast<int64_t>(chunks.size()));
      for (size_t i = 0; i + 1 < first.size(); ++i) {
        CHECK(first[i] < first[i + 1]);
        int64_t before_last = 0, last = 0;
        for (int64_t c = first[i]; c < first[i + 1]; ++c) {
          before_last += last;
          last = chunks[static_cast<size_t>(c)].end - chunks[static_cast<size_t>(c)].begin;
        }
        CHECK(before_last < task_elements);  // a task stops at the chunk that fills it
        if (i + 2 < first.size()) CHECK(before_last + last >= task_elements);
      }
    }
  }
}

TEST(no_chunks_make_no_task) {
  CHECK_EQUAL(make_tasks({}, 64).size(), size_t{1});
}

}  // namespace
}  // namespace ql
