#include "step.h"

namespace ql::cpu {

struct Portable {};

Kernel find_portable(int rule, Storage param, Storage grad, Storage state) {
  return find_kernel<VectorLanes<4, Portable>>(rule, param, grad, state);
}

SquareRange find_squares_portable(Storage type) {
  return find_squares<VectorLanes<4, Portable>>(type);
}

}  // namespace ql::cpu
