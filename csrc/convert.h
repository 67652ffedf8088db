// What the bindings of all kernels read from Python objects in the same way.
#pragma once

#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "core/round.h"
#include "watch.h"

namespace ql {

inline Storage storage_of(const std::string& name) {
  if (name == "float32") return Storage::float32;
  if (name == "bfloat16") return Storage::bfloat16;
  if (name == "float16") return Storage::float16;
  throw std::invalid_argument("storage type '" + name + "' is not one of: float32, bfloat16, float16");
}

// An address; 0 is none.
template <class T>
T* pointer_of(pybind11::handle address) {
  return reinterpret_cast<T*>(address.cast<uintptr_t>());
}

inline std::vector<const void*> pointers_of(const pybind11::object& addresses) {
  if (pybind11::isinstance<Addresses>(addresses)) return addresses.cast<const Addresses&>().values;
  std::vector<const void*> pointers;
  pointers.reserve(pybind11::len(addresses));
  for (const pybind11::handle address : addresses) pointers.push_back(pointer_of<const void>(address));
  return pointers;
}

}  // namespace ql
