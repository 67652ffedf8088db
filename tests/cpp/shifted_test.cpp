// A row of 256 elements whose memory begins at any address: which bytes the warp's lanes read and write, under AddressSanitizer.
#define QL_GPU_ON_HOST
#include <cstdlib>
#include <vector>

#include "../../csrc/cuda/memory.h"
#include "check.h"

namespace ql::cuda {
namespace {

using test::Words;

// Only the quads that a row touches, filled with noise; the row begins `shift` bytes into the first.
class Memory {
 public:
  Memory(int bytes, int shift, uint64_t seed) : size_((shift + bytes + 15) / 16 * 16), begin_(shift), bytes_(bytes) {
    all_ = static_cast<char*>(std::aligned_alloc(16, static_cast<size_t>(size_)));
    Words words(seed);
    for (int i = 0; i < size_; ++i) all_[i] = static_cast<char>(words.next());
  }
  ~Memory() { std::free(all_); }
  Memory(const Memory&) = delete;

  char* row() { return all_ + begin_; }
  std::vector<char> bytes() const { return {all_, all_ + size_}; }
  bool holds(int i) const { return i >= begin_ && i < begin_ + bytes_; }
  int size() const { return size_; }

 private:
  char* all_;
  int size_, begin_, bytes_;
};

// What a test hands its groups: the same bytes as those of a row that lies on 16 bytes.
template <class T>
std::vector<Packed<T>> groups_of(const char* row) {
  std::vector<Packed<T>> groups(kWarp);
  memcpy(groups.data(), row, kWarp * sizeof(Packed<T>));
  return groups;
}

template <class T>
void for_shifts(void (*check)(int shift)) {
  const int bytes = static_cast<int>(sizeof(typename T::Bits));
  for (int shift = 0; shift < 16; shift += bytes) check(shift);
}

// A load outside of the row's quads is AddressSanitizer's to find.
template <class T>
void check_loads(int shift) {
  const int bytes = static_cast<int>(sizeof(Packed<T>));
  Memory memory(kWarp * bytes, shift, 7);
  const std::vector<Packed<T>> wanted = groups_of<T>(memory.row());
  for (int lane = 0; lane < kWarp; ++lane) {
    host_place.thread = lane;
    const Packed<T> got = load_group(T{}, memory.row() + lane * bytes, Move::shifted, {0, kGroup});
    CHECK_EQUAL(memcmp(&got, &wanted[static_cast<size_t>(lane)], sizeof(got)), 0);
  }
}

// The bytes in which two copies of the memory, which differed in every byte, have become the same: those that were written.
std::vector<int> count_writes(const std::vector<char>& first, const std::vector<char>& second, std::vector<int> writes) {
  for (size_t i = 0; i < first.size(); ++i) writes[i] += first[i] == second[i];
  return writes;
}

void invert(Memory& memory, int shift, const std::vector<char>& original) {
  for (int i = 0; i < memory.size(); ++i) memory.row()[i - shift] = static_cast<char>(~original[static_cast<size_t>(i)]);
}

void restore(Memory& memory, int shift, const std::vector<char>& original) {
  memcpy(memory.row() - shift, original.data(), original.size());
}

// Every byte of the row is written by one lane, with its own value; no byte beside it by any.
template <class T>
void check_stores(int shift) {
  const int bytes = static_cast<int>(sizeof(Packed<T>));
  Memory source(kWarp * bytes, 0, 3), memory(kWarp * bytes, shift, 5), other(kWarp * bytes, shift, 5);
  const std::vector<Packed<T>> groups = groups_of<T>(source.row());
  const std::vector<char> original = memory.bytes();
  std::vector<int> writes(original.size());
  std::vector<std::vector<char>> results[2];
  for (int copy = 0; copy < 2; ++copy) {
    Memory& target = copy == 0 ? memory : other;
    for (int lane = 0; lane < kWarp; ++lane) {
      if (copy == 0)
        restore(target, shift, original);
      else
        invert(target, shift, original);
      host_place.thread = lane;
      store_group(T{}, target.row() + lane * bytes, groups[static_cast<size_t>(lane)], Move::shifted, {0, kGroup});
      results[copy].push_back(target.bytes());
    }
  }
  const char* wanted = source.row();
  for (size_t lane = 0; lane < kWarp; ++lane) {
    const std::vector<int> before = writes;
    writes = count_writes(results[0][lane], results[1][lane], writes);
    for (size_t i = 0; i < writes.size(); ++i) {
      if (writes[i] != before[i]) CHECK_EQUAL(results[0][lane][i], wanted[static_cast<int>(i) - shift]);
    }
  }
  for (int i = 0; i < memory.size(); ++i) CHECK_EQUAL(writes[static_cast<size_t>(i)], memory.holds(i) ? 1 : 0);
}

// Rows after one another, each of some tensors: what a lane hands on belongs to the call of the next lane that reads it.
template <class T>
void check_rows(int shift) {
  constexpr int kRows = 3;
  const int bytes = static_cast<int>(sizeof(Packed<T>)), row = kWarp * bytes;
  Memory source(kRows * row, 0, 11), memory(kRows * row, shift, 13);
  for (int lane = 0; lane < kWarp; ++lane) {
    host_place.thread = lane;
    for (int i = 0; i < kRows; ++i) {
      const int at = i * row + lane * bytes;
      store_group(T{}, memory.row() + at, load_group(T{}, source.row() + at, Move::shifted, {}), Move::shifted, {});
    }
  }
  CHECK_EQUAL(memcmp(memory.row(), source.row(), static_cast<size_t>(kRows * row)), 0);
}

template <class T>
void check_all() {
  for_shifts<T>(check_loads<T>);
  for_shifts<T>(check_stores<T>);
  for_shifts<T>(check_rows<T>);
}

// Element by element, every beginning and end inside of a group.
template <class T>
void check_partial() {
  const int bytes = static_cast<int>(sizeof(typename T::Bits));
  for (int from = 0; from < kGroup; ++from) {
    for (int to = from + 1; to <= kGroup; ++to) {
      std::vector<char> exact(static_cast<size_t>((to - from) * bytes));  // AddressSanitizer knows where it ends
      Words words(static_cast<uint64_t>(8 * from + to));
      for (char& byte : exact) byte = static_cast<char>(words.next());
      const std::vector<char> wanted = exact;
      char* group = exact.data() - from * bytes;
      const Packed<T> packed = load_group(T{}, group, Move::partial, {from, to});
      for (int i = 0; i < kGroup; ++i) {
        typename T::Bits element{};
        if (i >= from && i < to) memcpy(&element, wanted.data() + (i - from) * bytes, sizeof(element));
        CHECK_EQUAL(packed.element(i), element);
      }
      for (char& byte : exact) byte = 0;
      store_group(T{}, group, packed, Move::partial, {from, to});
      CHECK(exact == wanted);
    }
  }
}

TEST(shifted_rows_of_16_bit_elements) {
  check_all<BFloat16>();
  check_all<Float16>();
}

TEST(shifted_rows_of_32_bit_elements) {
  check_all<Float32>();
}

TEST(parts_of_groups) {
  check_partial<BFloat16>();
  check_partial<Float32>();
}

}  // namespace
}  // namespace ql::cuda
