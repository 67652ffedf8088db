#include "table.h"

namespace ql::cpu {

struct Avx2Wide {};

Kernel find_avx2_wide(int rule, StorageTypes types, bool observed) {
  return find_kernel<VectorLanes<16, Avx2Wide>>(rule, types, observed);
}

SquareRange find_squares_avx2_wide(Storage type) {
  return find_squares<VectorLanes<16, Avx2Wide>>(type);
}

}  // namespace ql::cpu
