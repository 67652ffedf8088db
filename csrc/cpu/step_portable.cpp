#include "table.h"

namespace ql::cpu {

struct Portable {};

Kernel find_portable(int rule, StorageTypes types, bool observed) {
  return find_kernel<VectorLanes<4, Portable>>(rule, types, observed);
}

SquareRange find_squares_portable(Storage type) {
  return find_squares<VectorLanes<4, Portable>>(type);
}

}  // namespace ql::cpu
