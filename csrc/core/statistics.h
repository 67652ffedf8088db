// What is kept of a step besides its result, one number a tensor each: sums in the order of norm.h, and one maximum.
// qlangevin/reference.py lists the same names in the same order.
#pragma once

namespace ql {

struct Statistic {
  enum : int {
    grad_squares,          // of the unscaled gradient
    displacement_squares,  // of the displacement before its quantizer; with its compensation, once the step is taken
    displacement_sum,      // of the same; 0 without a quantizer
    update_squares,        // of the displacement after its quantizer, before noise is added to it
    quantizer_error,       // after minus before the quantizer; 0 without one
    noise_squares,         // of the noise as it moves the parameter in this step
    rounding_squares,      // of stored minus unrounded parameter; 0 for binary32
    unmoved,               // elements whose stored parameter did not change
    zeroed,                // elements whose displacement is 0 after its quantizer
    largest_displacement,  // the largest magnitude before the quantizer, NaN left out; 0 without a quantizer
    count,
  };
};

}  // namespace ql
