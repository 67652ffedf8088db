#include "watch.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace py = pybind11;

namespace ql {
namespace {

// The places of the fields of Seen in qlangevin/watch.py.
enum Field { kParams, kIdle, kGroupLists, kGroupMembers, kStateDicts, kStateNames, kStates, kAllStates, kFields };

PyObject* field(PyObject* seen, Field place) {
  return PyTuple_GET_ITEM(seen, place);
}

size_t size_of(PyObject* tuple) {
  return static_cast<size_t>(PyTuple_GET_SIZE(tuple));
}

PyObject* item_of(PyObject* tuple, size_t i) {
  return PyTuple_GET_ITEM(tuple, static_cast<Py_ssize_t>(i));
}

// For tensors whose memory or gradient cannot be had: they changed. What is no Exception, such as Ctrl-C, goes on.
bool changed_by_error() {
  if (!PyErr_ExceptionMatches(PyExc_Exception)) throw py::error_already_set();
  PyErr_Clear();
  return false;
}

// In place of std::equal, whose call of memcmp costs more than comparing the few sizes of a tensor.
bool same_sizes(const int64_t* a, const int64_t* b, int32_t count) {
  for (int32_t d = 0; d < count; ++d)
    if (a[d] != b[d]) return false;
  return true;
}

// params: a list, or a tuple that the user put in its place.
bool same_members(PyObject* params, PyObject* members) {
  if (static_cast<size_t>(PySequence_Fast_GET_SIZE(params)) != size_of(members)) return false;
  PyObject** now = PySequence_Fast_ITEMS(params);
  for (size_t i = 0; i < size_of(members); ++i)
    if (now[i] != item_of(members, i)) return false;
  return true;
}

bool groups_hold(PyObject* seen, const py::list& groups) {
  PyObject* lists = field(seen, kGroupLists);
  if (groups.size() != size_of(lists)) return false;
  for (size_t i = 0; i < size_of(lists); ++i) {
    const py::object now = groups[i]["params"];
    if (now.ptr() != item_of(lists, i) || !same_members(now.ptr(), item_of(field(seen, kGroupMembers), i))) return false;
  }
  return true;
}

bool dicts_hold(PyObject* seen, const py::dict& state) {
  PyObject* dicts = field(seen, kAllStates);
  Py_ssize_t position = 0;
  PyObject* value = nullptr;
  for (size_t i = 0; i < size_of(dicts); ++i)
    if (!PyDict_Next(state.ptr(), &position, nullptr, &value) || value != item_of(dicts, i)) return false;
  return true;
}

}  // namespace

Watch::Watch(const py::tuple& seen, const py::tuple& grads, const py::capsule& exchange, py::object is_neg, py::object has_memory)
    : look_(dlpack::find_look(PyCapsule_GetPointer(exchange.ptr(), dlpack::kCapsule))),
      is_neg_(std::move(is_neg)),
      has_memory_(std::move(has_memory)),
      grad_name_(py::reinterpret_steal<py::object>(PyUnicode_InternFromString("grad"))) {
  if (PyErr_Occurred()) throw py::error_already_set();
  if (look_ == nullptr) throw std::invalid_argument("the tensors' library has no DLPack exchange of this version");
  if (seen.size() != kFields || grads.size() != size_of(field(seen.ptr(), kParams)))
    throw std::invalid_argument("one gradient for each parameter is needed");
  for (size_t i = 0; i < size_of(field(seen.ptr(), kGroupLists)); ++i) {
    PyObject* params = item_of(field(seen.ptr(), kGroupLists), i);
    if (!PyList_Check(params) && !PyTuple_Check(params)) throw std::invalid_argument("a group's parameters are no list");
  }
  for (size_t i = 0; i < grads.size(); ++i) {
    remember(item_of(field(seen.ptr(), kParams), i), params_);
    remember(item_of(grads.ptr(), i), grads_);
  }
  for (size_t i = 0; i < size_of(field(seen.ptr(), kStates)); ++i) remember(item_of(field(seen.ptr(), kStates), i), states_);
  note_spans(params_);
  note_spans(states_);
  std::sort(written_.begin(), written_.end(), [](const Span& a, const Span& b) { return a.begin < b.begin; });
  addresses_.resize(params_.size());
}

void Watch::remember(PyObject* tensor, std::vector<Form>& forms) {
  dlpack::View view;
  if (look_(tensor, &view) != 0) throw py::error_already_set();
  Form form{view.address(), view.type(), view.device_type, view.device_index, view.ndim, dims_.size(), 1};
  dims_.insert(dims_.end(), view.shape, view.shape + view.ndim);
  dims_.insert(dims_.end(), view.strides, view.strides + view.ndim);
  for (int32_t d = 0; d < view.ndim; ++d) form.elements *= view.shape[d];
  forms.push_back(form);
}

void Watch::note_spans(const std::vector<Form>& forms) {
  for (const Form& form : forms)
    if (form.elements > 0) written_.push_back({form.address, form.address + form.elements * (form.type >> 8 & 0xff) / 8});
}

// A view of a storage that was freed lies at no more than its offset: only there is it worth asking, which takes a call.
bool Watch::has_memory(PyObject* tensor, const char* address) const {
  constexpr uintptr_t low = uintptr_t{1} << 40;
  if (reinterpret_cast<uintptr_t>(address) >= low) return true;
  const auto found = py::reinterpret_steal<py::object>(PyObject_CallOneArg(has_memory_.ptr(), tensor));
  if (!found) return changed_by_error();
  return found.ptr() == Py_True;
}

bool Watch::looks_like(PyObject* tensor, const Form& form) const {
  dlpack::View view;
  if (look_(tensor, &view) != 0) return changed_by_error();
  if (view.address() != form.address || view.type() != form.type || view.ndim != form.ndim) return false;
  if (view.device_type != form.device_type || view.device_index != form.device_index) return false;
  const int64_t* shape = dims_.data() + form.dims;
  return same_sizes(shape, view.shape, form.ndim) && same_sizes(shape + form.ndim, view.strides, form.ndim);
}

// place: of the item's first state among all of them; moves on to the next item's.
bool Watch::states_hold(PyObject* seen, size_t item, size_t& place) const {
  PyObject* dict = item_of(field(seen, kStateDicts), item);
  PyObject* names = item_of(field(seen, kStateNames), item);
  for (size_t k = 0; k < size_of(names); ++k, ++place) {
    PyObject* known = item_of(field(seen, kStates), place);
    PyObject* found = PyDict_GetItemWithError(dict, item_of(names, k));
    if (found == nullptr && PyErr_Occurred()) throw py::error_already_set();
    if (found != known || !looks_like(known, states_[place])) return false;
  }
  return true;
}

bool Watch::overlaps(const char* begin, int64_t bytes) const {
  const auto after = std::upper_bound(written_.begin(), written_.end(), begin,
                                      [](const char* address, const Span& span) { return address < span.begin; });
  if (after != written_.end() && after->begin < begin + bytes) return true;
  return after != written_.begin() && begin < (after - 1)->end;
}

Watch::Fit Watch::fit_grad(PyObject* grad, size_t item) {
  dlpack::View view;
  if (look_(grad, &view) != 0) return changed_by_error(), Fit::changed;
  const Form &form = grads_[item], &param = params_[item];
  if (view.type() != form.type || view.device_type != form.device_type || view.device_index != form.device_index)
    return Fit::changed;
  const int64_t *shape = dims_.data() + param.dims, *strides = shape + param.ndim;
  if (view.ndim != param.ndim || !same_sizes(shape, view.shape, param.ndim)) return Fit::changed;
  const void* before = std::exchange(addresses_[item], view.address());
  if (param.elements == 0) return Fit::same;
  if ((view.address() == nullptr || before != view.address()) && !has_memory(grad, view.address()))
    return addresses_[item] = nullptr, Fit::changed;
  bool same_order = true;
  for (int32_t d = 0; d < param.ndim; ++d) same_order = same_order && (view.strides[d] == strides[d] || shape[d] == 1);
  // The memory that the step writes stays where it is while the plan holds: an address known to be apart needs no second look.
  if (same_order && before == view.address()) return Fit::same;
  if (same_order && !overlaps(view.address(), param.elements * (form.type >> 8 & 0xff) / 8)) return Fit::same;
  addresses_[item] = nullptr;
  return same_order ? Fit::changed : Fit::other_order;
}

bool Watch::read_grads(PyObject* seen, PyObject* grads, py::list& to_copy) {
  size_t place = 0;
  for (size_t i = 0; i < params_.size(); ++i) {
    PyObject* param = item_of(field(seen, kParams), i);
    PyObject* grad = PyObject_GetAttr(param, grad_name_.ptr());
    if (grad == nullptr) return changed_by_error();
    PyList_SET_ITEM(grads, static_cast<Py_ssize_t>(i), grad);
    if (grad == Py_None || !looks_like(param, params_[i]) || !states_hold(seen, i, place)) return false;
    const Fit fit = fit_grad(grad, i);
    if (fit == Fit::changed) return false;
    const auto negated = py::reinterpret_steal<py::object>(PyObject_CallOneArg(is_neg_.ptr(), grad));
    if (!negated) return changed_by_error();
    if (fit == Fit::other_order || negated.ptr() != Py_False) to_copy.append(i);
  }
  return true;
}

py::object Watch::read(const py::tuple& seen, const py::list& groups, const py::dict& state) {
  if (seen.size() != kFields || size_of(field(seen.ptr(), kParams)) != params_.size() ||
      size_of(field(seen.ptr(), kStates)) != states_.size())
    throw std::invalid_argument("these are not the tensors that were seen");
  if (!groups_hold(seen.ptr(), groups) || !dicts_hold(seen.ptr(), state)) return py::none();
  PyObject* idle = field(seen.ptr(), kIdle);
  for (size_t i = 0; i < size_of(idle); ++i) {
    const auto grad = py::reinterpret_steal<py::object>(PyObject_GetAttr(item_of(idle, i), grad_name_.ptr()));
    if (!grad) changed_by_error();
    if (!grad || !grad.is_none()) return py::none();
  }
  const auto grads = py::reinterpret_steal<py::list>(PyList_New(static_cast<Py_ssize_t>(params_.size())));
  py::list to_copy;
  if (!read_grads(seen.ptr(), grads.ptr(), to_copy)) return py::none();
  return py::make_tuple(grads, Addresses{addresses_}, to_copy);
}

void bind_watch(py::module_& module) {
  py::class_<Addresses>(module, "Addresses", py::buffer_protocol())
      .def_buffer([](Addresses& all) {
        const auto count = static_cast<py::ssize_t>(all.values.size());
        return py::buffer_info(all.values.data(), sizeof(void*), py::format_descriptor<uint64_t>::format(), 1, {count},
                               {static_cast<py::ssize_t>(sizeof(void*))});
      })
      .def("__len__", [](const Addresses& all) { return all.values.size(); })
      .def("__getitem__", [](const Addresses& all, size_t i) { return reinterpret_cast<uintptr_t>(all.values.at(i)); })
      .def("__setitem__",
           [](Addresses& all, size_t i, uintptr_t address) { all.values.at(i) = reinterpret_cast<const void*>(address); })
      .def("__getitem__", [](const Addresses& all, const py::slice& slice) {
        size_t start = 0, stop = 0, step = 0, length = 0;
        if (!slice.compute(all.values.size(), &start, &stop, &step, &length)) throw py::error_already_set();
        Addresses part;
        for (size_t i = 0; i < length; ++i) part.values.push_back(all.values[start + i * step]);
        return part;
      });
  py::class_<Watch>(module, "Watch")
      .def(py::init<const py::tuple&, const py::tuple&, const py::capsule&, py::object, py::object>(), py::arg("seen"),
           py::arg("grads"), py::arg("exchange"), py::arg("is_neg"), py::arg("has_memory"))
      .def("read", &Watch::read, py::arg("seen"), py::arg("groups"), py::arg("state"));
}

}  // namespace ql
