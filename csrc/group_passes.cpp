// One pass over all param groups where Python would take one over each: the same as the functions that end in `_slowly` in
// qlangevin/group_hypers.py and qlangevin/executions.py.
#include "group_passes.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <vector>

#include "dlpack.h"

namespace py = pybind11;

namespace ql {
namespace {

// Whether the group's fields are, or equal, the values before; a value that cannot be compared is another.
bool same_fields(const py::dict& group, const py::tuple& fields, const py::handle& before) {
  if (before.is_none()) return false;
  for (size_t k = 0; k < fields.size(); ++k) {
    PyObject* name = PyTuple_GET_ITEM(fields.ptr(), static_cast<Py_ssize_t>(k));
    const auto value = py::reinterpret_borrow<py::object>(PyDict_GetItemWithError(group.ptr(), name));
    if (!value) {
      if (!PyErr_Occurred()) PyErr_SetObject(PyExc_KeyError, name);
      throw py::error_already_set();
    }
    const int equal = PyObject_RichCompareBool(value.ptr(), PyTuple_GET_ITEM(before.ptr(), static_cast<Py_ssize_t>(k)), Py_EQ);
    if (equal < 0 && !PyErr_ExceptionMatches(PyExc_RuntimeError) && !PyErr_ExceptionMatches(PyExc_ValueError))
      throw py::error_already_set();
    if (equal < 0) PyErr_Clear();
    if (equal <= 0) return false;
  }
  return true;
}

std::vector<size_t> changed_groups(const py::list& groups, const py::tuple& fields, const py::list& raw) {
  if (groups.size() != raw.size()) throw std::invalid_argument("one tuple of values for each group is needed");
  std::vector<size_t> changed;
  for (size_t i = 0; i < groups.size(); ++i)
    if (!same_fields(groups[i], fields, raw[i])) changed.push_back(i);
  return changed;
}

// The number in a counter that the kernels can advance: int64 of no dimensions in the host's memory.
std::optional<int64_t> read_counter(PyObject* step, dlpack::Look look) {
  dlpack::View view;
  if (look(step, &view) != 0) {
    PyErr_Clear();
    return std::nullopt;
  }
  const bool plain = view.type() == dlpack::kInt64 && view.ndim == 0 && view.device_type == dlpack::kHost;
  if (!plain || view.data == nullptr) return std::nullopt;
  return *reinterpret_cast<const int64_t*>(view.address());
}

std::optional<std::vector<int64_t>> steps_taken(const py::list& groups, const py::dict& state, const py::capsule& exchange) {
  const dlpack::Look look = dlpack::find_look(PyCapsule_GetPointer(exchange.ptr(), dlpack::kCapsule));
  if (PyErr_Occurred()) throw py::error_already_set();
  if (look == nullptr) return std::nullopt;
  std::unordered_map<PyObject*, size_t> group_of;  // by identity, as tensors are hashed, but that is slow in Python
  for (size_t i = 0; i < groups.size(); ++i)
    for (const py::handle param : py::list(groups[i]["params"])) group_of.emplace(param.ptr(), i);
  const py::str name("step");
  std::vector<int64_t> taken(groups.size(), 0);
  for (const auto& [param, states] : state) {
    const auto group = group_of.find(param.ptr());
    if (group == group_of.end() || !py::isinstance<py::dict>(states)) continue;
    PyObject* step = PyDict_GetItemWithError(states.ptr(), name.ptr());
    if (step == nullptr) continue;
    const std::optional<int64_t> count = read_counter(step, look);
    if (!count) return std::nullopt;
    taken[group->second] = std::max(taken[group->second], *count);
  }
  return taken;
}

py::bytes which_have_grads(const py::list& groups) {
  const auto grad_name = py::reinterpret_steal<py::object>(PyUnicode_InternFromString("grad"));
  std::string pattern;
  for (const py::handle group : groups) {
    for (const py::handle param : py::list(group["params"])) pattern.push_back(param.attr(grad_name).is_none() ? 0 : 1);
  }
  return pattern;
}

}  // namespace

void bind_group_passes(py::module_& module) {
  module.def("changed_groups", &changed_groups, py::arg("groups"), py::arg("fields"), py::arg("raw"));
  module.def("steps_taken", &steps_taken, py::arg("groups"), py::arg("state"), py::arg("exchange"));
  module.def("which_have_grads", &which_have_grads, py::arg("groups"));
}

}  // namespace ql
