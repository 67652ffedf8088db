// The tensors of one (dtypes, rule) bucket with their chunks, kept between steps, and the step over all of them.
#pragma once

#include <string>
#include <vector>

#include "../core/scalars.h"
#include "dispatch.h"

namespace ql::cpu {

struct Description {
  std::string rule, cpu;
  StorageTypes types;
  std::vector<Tensor> tensors;
  std::vector<int32_t> groups;  // the group of each tensor
  std::vector<int64_t*> steps;  // the step counter of each tensor
};

// What changes from step to step; one Hyper and one multiplier for each group, one compensation for each tensor or none at all.
struct StepInput {
  std::vector<const void*> grads;
  std::vector<Hyper> hypers;
  std::vector<double> grad_multipliers;
  std::vector<float> compensations;
  uint32_t chain;
  int threads;
  std::vector<double> tail_indices = {};  // of Levy noise, one for each group; or none at all
};

class Plan {
 public:
  explicit Plan(Description description);

  // Steps every tensor once and advances its counter. Throws before anything is written.
  void step(const StepInput& input);

  // The same, and Statistic::count numbers for each tensor.
  std::vector<double> step_observed(const StepInput& input);

  // The statistics of the displacements of the coming step; nothing is written.
  std::vector<double> look_ahead(const StepInput& input) const;

  // Throws if the input does not fit or a step counter cannot be advanced; what it lets pass can be stepped.
  void check(const StepInput& input) const;

  // Whether every step counter can be advanced.
  bool counters_fit() const;

  // The sum of squares of each gradient.
  std::vector<double> square_grads(const std::vector<const void*>& grads, int threads) const;

  size_t size() const { return description_.tensors.size(); }
  const std::string& path() const { return path_->name; }

 private:
  void run(const StepInput& input, const Observer* observer) const;
  std::vector<double> run_observed(const StepInput& input, bool stores) const;
  void advance();

  Description description_;
  const Path* path_;
  Kernel kernel_, observed_kernel_;
  std::vector<Chunk> chunks_;
  std::vector<int64_t> tasks_;
  std::vector<int64_t> first_block_;  // of each tensor among all blocks of core/norm.h, and the number of blocks last
};

}  // namespace ql::cpu
