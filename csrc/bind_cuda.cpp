#include "bind_cuda.h"

#include <pybind11/stl.h>

#include <memory>
#include <utility>

#include "convert.h"
#include "cuda/plan.h"

namespace py = pybind11;

namespace ql {
namespace {

cuda::Tensor tensor_of(const py::dict& facts, bool counts_on_device) {
  cuda::Tensor tensor{};
  tensor.param = pointer_of<char>(facts["param"]);
  const py::list states = facts["states"];
  if (states.size() > static_cast<size_t>(kMaxStates)) throw std::invalid_argument("too many state tensors");
  for (size_t k = 0; k < states.size(); ++k) tensor.states[k] = pointer_of<char>(states[k]);
  tensor.step = counts_on_device ? pointer_of<int64_t>(facts["step"]) : nullptr;
  tensor.size = facts["size"].cast<int64_t>();
  tensor.offset = facts["offset"].cast<int64_t>();
  tensor.key = facts["key"].cast<uint64_t>();
  tensor.group = facts["group"].cast<int32_t>();
  tensor.noise = facts["noise"].cast<bool>() ? 1 : 0;
  return tensor;
}

std::unique_ptr<cuda::Plan> make_plan(const std::string& rule, const std::vector<std::string>& storage, const py::list& tensors,
                                      int device, int32_t groups, bool counts_on_device) {
  if (storage.size() != 3) throw std::invalid_argument("storage names the types of param, grad and state");
  const StorageTypes types{storage_of(storage[0]), storage_of(storage[1]), storage_of(storage[2])};
  cuda::Description description{rule, types, device, groups, {}, {}, {}};
  for (const py::handle item : tensors) {
    const auto facts = py::reinterpret_borrow<py::dict>(item);
    description.tensors.push_back(tensor_of(facts, counts_on_device));
    description.places.push_back(facts["place"].cast<int32_t>());
    if (!counts_on_device) description.steps.push_back(pointer_of<int64_t>(facts["step"]));
  }
  return std::make_unique<cuda::Plan>(std::move(description));
}

cuda::DeviceNumber number_of(const py::dict& facts, const char* name) {
  const std::pair<uintptr_t, std::string> number = facts[name].cast<std::pair<uintptr_t, std::string>>();
  cuda::NumberType type = cuda::NumberType::none;
  if (number.second == "float32") type = cuda::NumberType::float32;
  if (number.second == "float64") type = cuda::NumberType::float64;
  return {reinterpret_cast<const void*>(number.first), type};
}

// What of a group the device makes for itself; absent: nothing.
struct OnDevice {
  cuda::Group group{};

  explicit OnDevice(const py::dict& facts) {
    group.lr = number_of(facts, "lr");
    group.temperature = number_of(facts, "temperature");
    group.schedule = pointer_of<const Hyper>(facts["schedule"]);
    group.schedule_steps = facts["schedule_steps"].cast<int64_t>();
    group.max_grad_norm = facts["max_grad_norm"].cast<double>();
    group.compensates = facts["compensates"].cast<bool>();
    group.compensation_global = facts["compensation_global"].cast<bool>();
  }
};

cuda::StepInput make_input(const py::object& grads, const std::vector<Hyper>& hypers, const std::vector<double>& grad_multipliers,
                           const std::vector<OnDevice>& on_device, const std::vector<double>& compensations, uint32_t chain) {
  if (hypers.size() != grad_multipliers.size() || (!on_device.empty() && on_device.size() != hypers.size()))
    throw std::invalid_argument("one multiplier for each group is needed");
  cuda::StepInput input{pointers_of(grads), {}, {}, chain};
  for (size_t i = 0; i < hypers.size(); ++i) {
    cuda::Group group = on_device.empty() ? cuda::Group{} : on_device[i].group;
    group.hyper = hypers[i];
    group.grad_multiplier = grad_multipliers[i];
    input.groups.push_back(group);
  }
  for (const double compensation : compensations) input.compensations.push_back(static_cast<float>(compensation));
  return input;
}

cuda::Common make_common(uintptr_t stream, uintptr_t grad_scale, uintptr_t found_inf, uintptr_t norms, int64_t places,
                         uintptr_t overrun) {
  return {reinterpret_cast<void*>(stream),
          reinterpret_cast<const float*>(grad_scale),
          reinterpret_cast<const float*>(found_inf),
          reinterpret_cast<double*>(norms),
          places,
          reinterpret_cast<int32_t*>(overrun)};
}

// (plan, input, address of the statistics ahead of the step, address of the step's); 0 is none.
using PythonPart = std::tuple<cuda::Plan*, const cuda::StepInput*, uintptr_t, uintptr_t>;

cuda::Part part_of(const PythonPart& part) {
  return {std::get<0>(part), std::get<1>(part), reinterpret_cast<double*>(std::get<2>(part)),
          reinterpret_cast<double*>(std::get<3>(part))};
}

void step_together(const std::vector<PythonPart>& parts, const cuda::Common& common) {
  std::vector<cuda::Part> all;
  for (const PythonPart& part : parts) all.push_back(part_of(part));
  const py::gil_scoped_release release;
  cuda::step_together(all, common);
}

std::vector<double> square_grads(const PythonPart& part, const cuda::Common& common) {
  const py::gil_scoped_release release;
  return cuda::square_grads(part_of(part), common);
}

std::vector<double> look_ahead(const PythonPart& part, const cuda::Common& common) {
  const py::gil_scoped_release release;
  return cuda::look_ahead(part_of(part), common);
}

// The hyper-parameters of consecutive steps as the device reads them.
py::bytes pack_hypers(const std::vector<Hyper>& hypers) {
  return py::bytes(reinterpret_cast<const char*>(hypers.data()), hypers.size() * sizeof(Hyper));
}

}  // namespace

void bind_cuda(py::module_& m) {
  py::register_local_exception<cuda::CudaError>(m, "CudaError", PyExc_RuntimeError);
  py::class_<OnDevice>(m, "OnDevice", py::module_local()).def(py::init<const py::dict&>());
  py::class_<cuda::StepInput>(m, "CudaStepInput", py::module_local())
      .def(py::init(&make_input), py::arg("grads"), py::arg("hypers"), py::arg("grad_multipliers"), py::arg("on_device"),
           py::arg("compensations"), py::arg("chain"));
  py::class_<cuda::Common>(m, "CudaCommon", py::module_local())
      .def(py::init(&make_common), py::arg("stream"), py::arg("grad_scale"), py::arg("found_inf"), py::arg("norms"),
           py::arg("places"), py::arg("overrun"));
  py::class_<cuda::Plan>(m, "CudaPlan", py::module_local())
      .def(py::init(&make_plan), py::arg("rule"), py::arg("storage"), py::arg("tensors"), py::arg("device"), py::arg("groups"),
           py::arg("counts_on_device"))
      .def(
          "place",
          [](cuda::Plan& plan, uintptr_t memory, uintptr_t stream) {
            plan.place(reinterpret_cast<void*>(memory), reinterpret_cast<void*>(stream));
          },
          py::arg("memory"), py::arg("stream"))
      .def("counters_fit", &cuda::Plan::counters_fit)
      .def("__len__", &cuda::Plan::size)
      .def_property_readonly("bytes", &cuda::Plan::bytes)
      .def_property_readonly("statistics_numbers", &cuda::Plan::statistics_numbers)
      .def_property_readonly("statistics_at", &cuda::Plan::statistics_at);
  m.def("cuda_step_together", &step_together, py::arg("parts"), py::arg("common"));
  m.def("cuda_square_grads", &square_grads, py::arg("part"), py::arg("common"));
  m.def("cuda_look_ahead", &look_ahead, py::arg("part"), py::arg("common"));
  m.def("count_norms", &cuda::count_norms, py::arg("places"));
  m.def("pack_hypers", &pack_hypers, py::arg("hypers"));
  m.def("why_no_cuda", &cuda::why_unusable, py::arg("device"));
  m.def("is_capturing", [](uintptr_t stream) { return cuda::is_capturing(reinterpret_cast<void*>(stream)); }, py::arg("stream"));
}

}  // namespace ql
