#include "table.h"

namespace ql::cpu {

struct Avx512 {};

Kernel find_avx512(int rule, StorageTypes types, bool observed) {
  return find_kernel<VectorLanes<16, Avx512>>(rule, types, observed);
}

SquareRange find_squares_avx512(Storage type) {
  return find_squares<VectorLanes<16, Avx512>>(type);
}

}  // namespace ql::cpu
