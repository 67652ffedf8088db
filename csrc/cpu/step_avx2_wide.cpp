#include "step.h"

namespace ql::cpu {

struct Avx2Wide {};

Kernel find_avx2_wide(int rule, Storage param, Storage grad, Storage state) {
  return find_kernel<VectorLanes<16, Avx2Wide>>(rule, param, grad, state);
}

SquareRange find_squares_avx2_wide(Storage type) {
  return find_squares<VectorLanes<16, Avx2Wide>>(type);
}

}  // namespace ql::cpu
