// The part of DLPack's C exchange interface that is used here, so that the native module reads a tensor's memory and form in
// one call and without the headers of the library that owns it. Source: dlpack.h 1.3, "DLPackExchangeAPI"
// (https://github.com/dmlc/dlpack). The table lives as long as the process.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ql::dlpack {

constexpr uint32_t kMajor = 1;                  // another major version lays its structs out in another way
constexpr uint32_t kInt64 = 64 << 8 | 1 << 16;  // View::type of int64: code 0, 64 bits, 1 lane
constexpr int32_t kHost = 1;                    // View::device_type of the CPU
constexpr const char* kCapsule = "dlpack_exchange_api";

// Where a tensor lies and what it looks like (DLTensor); owns nothing. Strides are in elements.
struct View {
  void* data;
  int32_t device_type, device_index;
  int32_t ndim;
  uint8_t type_code, type_bits;
  uint16_t type_lanes;
  const int64_t* shape;
  const int64_t* strides;
  uint64_t byte_offset;

  const char* address() const { return static_cast<const char*>(data) + byte_offset; }
  uint32_t type() const { return type_code | uint32_t{type_bits} << 8 | uint32_t{type_lanes} << 16; }
};
static_assert(sizeof(View) == 48 && offsetof(View, type_code) == 20 && offsetof(View, shape) == 24);

// Fills a View of a Python tensor; -1 with a Python exception set if that has no plain memory.
using Look = int (*)(void* object, View* out);

struct Header {
  uint32_t major, minor;
  const Header* older;  // the table of an earlier major version, or null
};

// The functions that are not used here stand as what they are in size.
struct Exchange {
  Header header;
  void (*allocate)();
  void (*lend_owned)();
  void (*take_owned)();
  Look look;  // may be null
  void (*find_stream)();
};

// The function of the table with this major version; null if there is none.
inline Look find_look(const void* table) {
  for (const Header* header = static_cast<const Header*>(table); header != nullptr; header = header->older)
    if (header->major == kMajor) return reinterpret_cast<const Exchange*>(header)->look;
  return nullptr;
}

}  // namespace ql::dlpack
