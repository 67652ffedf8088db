// The cheap test, each step, that a cached plan still describes its optimizer, in one pass over all tensors.
// The same as SlowTest in qlangevin/watch.py, which says what is tested and why.
#pragma once

#include <pybind11/pybind11.h>

#include <vector>

#include "dlpack.h"

namespace ql {

// The addresses of some tensors, which stay on the native side; in Python a list of integers serves as well.
struct Addresses {
  std::vector<const void*> values;
};

// Where a tensor lay and what it looked like when the plan was made.
struct Form {
  const char* address;
  uint32_t type;
  int32_t device_type, device_index, ndim;
  size_t dims;  // where its shape, then its strides begin among all dims
  int64_t elements;
};

// Elements [begin, end) of memory, in bytes.
struct Span {
  const char *begin, *end;
};

class Watch {
 public:
  // seen: as Seen in qlangevin/watch.py; owned by the caller, who hands it to each read, so that Python's collector sees it.
  // Throws if a tensor cannot be looked at, or a group's parameters are no list or tuple.
  Watch(const pybind11::tuple& seen, const pybind11::tuple& grads, const pybind11::capsule& exchange, pybind11::object is_neg,
        pybind11::object has_memory);

  // (gradients, addresses, places of those that must be copied first), or None if anything changed.
  pybind11::object read(const pybind11::tuple& seen, const pybind11::list& groups, const pybind11::dict& state);

 private:
  enum class Fit { changed, other_order, same };

  void remember(PyObject* tensor, std::vector<Form>& forms);
  void note_spans(const std::vector<Form>& forms);
  bool has_memory(PyObject* tensor, const char* address) const;
  bool looks_like(PyObject* tensor, const Form& form) const;
  bool states_hold(PyObject* seen, size_t item, size_t& place) const;
  Fit fit_grad(PyObject* grad, size_t item);
  bool overlaps(const char* begin, int64_t bytes) const;
  bool read_grads(PyObject* seen, PyObject* grads, pybind11::list& to_copy);

  dlpack::Look look_;
  pybind11::object is_neg_, has_memory_, grad_name_;
  std::vector<Form> params_, grads_, states_;
  std::vector<int64_t> dims_;
  std::vector<Span> written_;           // the memory of parameters and states, by address
  std::vector<const void*> addresses_;  // of the gradients, in the latest read
};

void bind_watch(pybind11::module_& module);

}  // namespace ql
