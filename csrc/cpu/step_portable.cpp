#include "step.h"

namespace ql::cpu {

struct Portable {};

Kernel find_portable(int rule, Storage param, Storage grad, Storage state) {
  return find_kernel<VectorLanes<4, Portable>>(rule, param, grad, state);
}

}  // namespace ql::cpu
