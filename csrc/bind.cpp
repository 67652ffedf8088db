// The module qlangevin._native: pointers, sizes and scalars in; no torch. The caller checks dtype, device, layout, lifetime.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bind_cuda.h"
#include "convert.h"
#include "cpu/plan.h"
#include "group_passes.h"
#include "watch.h"

namespace py = pybind11;

namespace {

using ql::pointer_of;
using ql::pointers_of;
using ql::storage_of;

ql::cpu::Tensor tensor_of(const py::dict& facts) {
  ql::cpu::Tensor tensor{};
  tensor.param = pointer_of<void>(facts["param"]);
  const py::list states = facts["states"];
  if (states.size() > static_cast<size_t>(ql::cpu::kMaxStateTensors)) throw std::invalid_argument("too many state tensors");
  for (size_t k = 0; k < states.size(); ++k) tensor.states[k] = pointer_of<void>(states[k]);
  tensor.size = facts["size"].cast<int64_t>();
  tensor.offset = facts["offset"].cast<int64_t>();
  tensor.key = facts["key"].cast<uint64_t>();
  tensor.noise = facts["noise"].cast<bool>();
  return tensor;
}

std::unique_ptr<ql::cpu::Plan> make_plan(const std::string& rule, const std::vector<std::string>& storage,
                                         const py::list& tensors, const std::string& cpu) {
  if (storage.size() != 3) throw std::invalid_argument("storage names the types of param, grad and state");
  ql::cpu::Description description{rule, cpu, {storage_of(storage[0]), storage_of(storage[1]), storage_of(storage[2])},
                                   {},   {},  {}};
  for (const py::handle item : tensors) {
    const auto facts = py::reinterpret_borrow<py::dict>(item);
    description.tensors.push_back(tensor_of(facts));
    description.groups.push_back(facts["group"].cast<int32_t>());
    description.steps.push_back(pointer_of<int64_t>(facts["step"]));
  }
  return std::make_unique<ql::cpu::Plan>(std::move(description));
}

std::vector<double> square_grads(const ql::cpu::Plan& plan, const py::object& grads, int threads) {
  const std::vector<const void*> pointers = pointers_of(grads);
  const py::gil_scoped_release release;
  return plan.square_grads(pointers, threads);
}

ql::cpu::StepInput input_of(const py::object& grads, const std::vector<ql::Hyper>& hypers,
                            const std::vector<double>& grad_multipliers, const std::vector<double>& compensations, uint32_t chain,
                            int threads) {
  ql::cpu::StepInput input{pointers_of(grads), hypers, grad_multipliers, {}, chain, threads};
  for (const double compensation : compensations) input.compensations.push_back(static_cast<float>(compensation));
  return input;
}

// Steps several plans in one call: no other code of this thread, not even a signal's handler, runs between two of them.
// Returns the statistics of each if they are wanted.
std::vector<std::vector<double>> step_together(const std::vector<ql::cpu::Plan*>& plans,
                                               const std::vector<const ql::cpu::StepInput*>& inputs, bool observes) {
  if (plans.size() != inputs.size()) throw std::invalid_argument("one input for each plan is needed");
  const py::gil_scoped_release release;
  for (size_t i = 0; i < plans.size(); ++i) plans[i]->check(*inputs[i]);
  std::vector<std::vector<double>> statistics(observes ? plans.size() : 0);
  for (size_t i = 0; i < plans.size(); ++i) {
    if (observes)
      statistics[i] = plans[i]->step_observed(*inputs[i]);
    else
      plans[i]->step(*inputs[i]);
  }
  return statistics;
}

void step_plan(ql::cpu::Plan& plan, const ql::cpu::StepInput& input) {
  step_together({&plan}, {&input}, false);
}

std::vector<double> step_observed(ql::cpu::Plan& plan, const ql::cpu::StepInput& input) {
  return step_together({&plan}, {&input}, true)[0];
}

std::vector<double> look_ahead(const ql::cpu::Plan& plan, const ql::cpu::StepInput& input) {
  const py::gil_scoped_release release;
  return plan.look_ahead(input);
}

ql::Hyper make_hyper(const py::dict& values) {
  ql::Hyper h;
  h.lr = values["lr"].cast<double>();
  h.temperature = values["temperature"].cast<double>();
  h.weight_decay = values["weight_decay"].cast<double>();
  h.decoupled_weight_decay = values["decoupled_weight_decay"].cast<double>();
  h.grad_resolution = values["grad_resolution"].cast<double>();
  h.update_resolution = values["update_resolution"].cast<double>();
  h.compensation = values["compensation"].cast<double>();
  const auto rule = values["rule"].cast<std::vector<double>>();
  if (rule.size() > static_cast<size_t>(ql::kMaxRuleHypers)) throw std::invalid_argument("too many rule hyper-parameters");
  for (size_t i = 0; i < rule.size(); ++i) h.rule[i] = rule[i];
  h.noise = static_cast<ql::NoiseKind>(values["noise"].cast<int>());
  h.grad_rounding = static_cast<ql::GridRounding>(values["grad_rounding"].cast<int>());
  h.update_rounding = static_cast<ql::GridRounding>(values["update_rounding"].cast<int>());
  h.stochastic_param = values["stochastic_param"].cast<bool>();
  h.stochastic_state = values["stochastic_state"].cast<bool>();
  h.corrected_param = values["corrected_param"].cast<bool>();
  h.grad_blocks = values["grad_blocks"].cast<bool>();
  return h;
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  m.doc() = "C++ kernels of qlangevin; used through qlangevin.backends.";
  py::class_<ql::Hyper>(m, "Hyper").def(py::init(&make_hyper));
  py::class_<ql::cpu::StepInput>(m, "StepInput")
      .def(py::init(&input_of), py::arg("grads"), py::arg("hypers"), py::arg("grad_multipliers"), py::arg("compensations"),
           py::arg("chain"), py::arg("threads"))
      .def_readwrite("tail_indices", &ql::cpu::StepInput::tail_indices);
  py::class_<ql::cpu::Plan>(m, "CpuPlan")
      .def(py::init(&make_plan), py::arg("rule"), py::arg("storage"), py::arg("tensors"), py::arg("cpu") = "auto")
      .def("step", &step_plan, py::arg("input"))
      .def("step_observed", &step_observed, py::arg("input"))
      .def("look_ahead", &look_ahead, py::arg("input"))
      .def("square_grads", &square_grads, py::arg("grads"), py::arg("threads"))
      .def("counters_fit", &ql::cpu::Plan::counters_fit)
      .def("__len__", &ql::cpu::Plan::size)
      .def_property_readonly("path", &ql::cpu::Plan::path);
  m.def("step_together", &step_together, py::arg("plans"), py::arg("inputs"), py::arg("observes"));
  ql::bind_watch(m);
  ql::bind_group_passes(m);
#if defined(QL_CUDA)
  ql::bind_cuda(m);
  m.attr("cuda_architectures") = py::make_tuple(QL_CUDA_ARCHITECTURES);
#else
  m.attr("cuda_architectures") = py::make_tuple();
#endif
  m.def("cpu_paths", [] {
    py::dict paths;
    for (const ql::cpu::Path& path : ql::cpu::list_paths()) paths[py::str(path.name)] = path.missing;
    return paths;
  });
}
