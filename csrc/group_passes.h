// One pass over all param groups where Python would take one over each.
#pragma once

#include <pybind11/pybind11.h>

namespace ql {

// changed_groups, steps_taken, which_have_grads.
void bind_group_passes(pybind11::module_& module);

}  // namespace ql
