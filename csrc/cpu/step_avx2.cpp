#include "table.h"

namespace ql::cpu {

struct Avx2 {};

Kernel find_avx2(int rule, StorageTypes types, bool observed) {
  return find_kernel<VectorLanes<8, Avx2>>(rule, types, observed);
}

SquareRange find_squares_avx2(Storage type) {
  return find_squares<VectorLanes<8, Avx2>>(type);
}

}  // namespace ql::cpu
