// The tensors of one (device, dtypes, rule) bucket with their tasks, kept between steps, and the step over all of them. The
// memory on the device is the caller's: a plan says how much it needs and is told where it lies.
#pragma once

#include <string>
#include <vector>

#include "kernel.h"
#include "runtime.h"

namespace ql::cuda {

struct Description {
  std::string rule;
  StorageTypes types;
  int device;
  int32_t groups;               // of the optimizer
  std::vector<Tensor> tensors;  // each with a counter on the device, or none of them
  std::vector<int64_t*> steps;  // the host's counters; empty where the device counts
  std::vector<int32_t> places;  // of each tensor among all that are stepped together
};

// What changes from step to step, for one plan; one group for each of the optimizer's.
struct StepInput {
  std::vector<const void*> grads;
  std::vector<Group> groups;
  std::vector<float> compensations;  // that the host made, one for each tensor; or none at all
  uint32_t chain;
};

// What the plans of one device share in a step; all addresses are of the device's memory.
struct Common {
  Stream stream;
  const float* grad_scale;  // or none
  const float* found_inf;   // or none
  double* norms;            // 2 * count_norms(places) numbers; none if no step clips or compensates
  int64_t places;           // of all tensors of all plans
  int32_t* overrun;         // becomes 1 where a schedule has no such step
};

// How many numbers it takes to sum so many in the fixed order, themselves included.
int64_t count_norms(int64_t places);

// Where the tables of a plan lie in its memory.
struct Tables {
  Tensor* tensors;
  Task* tasks;
  Fold *folds, *last_folds, *gathers;
  const void** grads;
  int64_t* steps;
  float* compensations;
  Group* groups;
  char* rows;
  double *squares, *sums;
};

// The norms that a step has taken on the device before its scalars are made, as sums of squares; null: not taken.
struct Known {
  const double *grad_squares, *displacement_squares;
  const double* ahead;  // the plan's statistics
};

class Plan {
 public:
  explicit Plan(Description description);

  // The memory on the device for what stays; and, in binary64 numbers, for the statistics, which only some steps need.
  size_t bytes() const { return bytes_; }
  int64_t statistics_numbers() const { return statistics_at() + sums_count() * Statistic::count; }
  // Where the statistics of the tensors begin among them.
  int64_t statistics_at() const { return static_cast<int64_t>(tasks_.size()) * Statistic::count; }

  // Fills the tables; the plan can step from then on.
  void place(void* memory, Stream stream);

  // Throws if the input does not fit, or a counter of the host cannot be advanced.
  void check(const StepInput& input, const Common& common) const;
  bool counters_fit() const;
  bool places_fit(int64_t places) const;

  // The parts of a step, in this order; those of norms only if they are wanted, and with statistics if there is memory for them.
  void begin(const StepInput& input, const Common& common, bool norms);
  void square_grads(const Common& common, double* by_place);
  void look_ahead(const Common& common, double* statistics);
  void gather_displacements(const Common& common, const double* statistics, double* by_place);
  void prepare(const Common& common, const Known& known, bool counts);
  void step(const Common& common, double* statistics);

  const double* sums() const { return tables_.sums; }  // of the squares of each gradient
  size_t size() const { return description_.tensors.size(); }
  const Description& description() const { return description_; }

 private:
  int64_t sums_count() const { return static_cast<int64_t>(size()) + segments_; }
  bool counts_on_device() const { return description_.steps.empty(); }
  void plan_tasks();
  size_t lay_out(void* memory);
  bool steps_agree(std::vector<int64_t>& steps) const;
  bool make_inline_rows(const StepInput& input, const Common& common);
  void put_scalars(const StepInput& input, const Common& common);
  void put_grads(const StepInput& input, size_t used, Stream stream);
  void launch_step(const Common& common, double* statistics, bool stores);
  void fold_tasks(const double* values, double* sums, int width, const Common& common);

  Description description_;
  const RuleEntry* rule_;
  bool unusual_ = false;  // the step that has begun
  std::vector<Task> tasks_;
  std::vector<Fold> folds_, last_folds_, gathers_;
  int64_t segments_ = 0;  // of tensors with more than kNormBlock tasks
  size_t bytes_ = 0;
  Tables tables_{};
  bool placed_ = false;
  bool captured_ = false;                    // a graph may write the table of gradients at any time
  std::vector<const void*> uploaded_grads_;  // what that table holds otherwise
  Arguments arguments_{};                    // of the step that has begun
  PrepareArguments scalars_{};
};

// One plan's part in a step. ahead, observed: memory for its statistics, where they are needed.
struct Part {
  Plan* plan;
  const StepInput* input;
  double *ahead, *observed;
};

// One step of several plans of one device.
void step_together(const std::vector<Part>& parts, const Common& common);

// Before a step, waiting for the device: the sum of squares of each gradient; the statistics of each displacement.
std::vector<double> square_grads(const Part& part, const Common& common);
std::vector<double> look_ahead(const Part& part, const Common& common);

}  // namespace ql::cuda
