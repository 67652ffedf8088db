#include "../../csrc/cpu/lanes.h"
#include "lane_table.h"

namespace ql::test {
namespace {

struct Avx2Wide {};

}  // namespace

LaneTable avx2_wide_table() {
  return lane_functions::make_table<VectorLanes<16, Avx2Wide>>("avx2_wide, 16 lanes");
}

}  // namespace ql::test
