#include "../../csrc/cpu/lanes.h"
#include "lane_table.h"

namespace ql::test {
namespace {

struct Avx512 {};

}  // namespace

LaneTable avx512_table() {
  return lane_functions::make_table<VectorLanes<16, Avx512>>("avx512, 16 lanes");
}

}  // namespace ql::test
