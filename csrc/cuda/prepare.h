// The scalars of a step, made on the device from what only it knows: step counters, lr and temperature in tensors, the scale of
// the gradients, norms (core/scalars.h has every formula).
#pragma once

#include "gpu.h"
#include "kernel.h"

namespace ql::cuda {

QL_HD double read_number(const DeviceNumber& number, double otherwise) {
  if (number.type == NumberType::float32) return *static_cast<const float*>(number.address);
  if (number.type == NumberType::float64) return *static_cast<const double*>(number.address);
  return otherwise;
}

constexpr int kPrepareThreads = 64;

QL_HD Hyper hyper_at(const Group& group, int64_t step) {
  Hyper hyper = group.hyper;
  if (group.schedule != nullptr) {
    const int64_t last = group.schedule_steps;
    hyper = group.schedule[(step < last ? step : last) - 1];
  }
  hyper.lr = read_number(group.lr, hyper.lr);
  hyper.temperature = read_number(group.temperature, hyper.temperature);
  return hyper;
}

QL_HD double multiplier_of(const PrepareArguments& a, const Group& group) {
  const double inverse_scale = a.grad_scale == nullptr ? 1.0 : 1.0 / static_cast<double>(*a.grad_scale);
  const double multiplier = group.grad_multiplier * inverse_scale;
  if (group.max_grad_norm == 0.0) return multiplier;
  return multiplier * clip_coefficient(norm_of(*a.grad_squares) * inverse_scale, group.max_grad_norm);
}

QL_HD float compensation_of(const PrepareArguments& a, const Group& group, const Hyper& hyper, int64_t tensor) {
  if (!a.counts) return 0.0f;  // it is made from the displacements that are looked at
  if (a.compensations != nullptr) return a.compensations[tensor];
  if (a.statistics == nullptr || !group.compensates) return 0.0f;
  const double own = a.statistics[tensor * Statistic::count + Statistic::displacement_squares];
  return compensation_factor(hyper.compensation * hyper.lr, norm_of(group.compensation_global ? *a.displacement_squares : own));
}

template <class Rule>
__global__ void __launch_bounds__(kPrepareThreads) prepare_kernel(const __grid_constant__ PrepareArguments a) {
  const Place here = place();
  const int64_t index = here.block * kPrepareThreads + here.thread;
  if (index >= a.count || (a.found_inf != nullptr && *a.found_inf != 0.0f)) return;
  const Tensor& tensor = a.tensors[index];
  const Group* groups = a.groups != nullptr ? a.groups : reinterpret_cast<const Group*>(a.inline_bytes);
  const Group& group = groups[tensor.group];
  const int64_t step = a.steps != nullptr ? a.steps[index] : *tensor.step + 1;
  if (group.schedule != nullptr && step > group.schedule_steps) *a.overrun = 1;
  const Hyper hyper = hyper_at(group, step);
  Row<typename Rule::Kernel> row = make_row<Rule>(hyper, multiplier_of(a, group), step, a.chain);
  row.common.compensation = compensation_of(a, group, hyper, index);
  static_cast<Row<typename Rule::Kernel>*>(a.rows)[index] = row;
  if (a.counts && tensor.step != nullptr) *tensor.step = step;
}

}  // namespace ql::cuda
