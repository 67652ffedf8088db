#include "step.h"

namespace ql::cpu {

struct Avx2Wide {};

Kernel find_avx2_wide(int rule, Storage param, Storage grad, Storage state) {
  return find_kernel<VectorLanes<16, Avx2Wide>>(rule, param, grad, state);
}

}  // namespace ql::cpu
