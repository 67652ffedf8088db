#include "../../csrc/cpu/lanes.h"
#include "lane_table.h"

namespace ql::test {
namespace {

struct Avx2 {};

}  // namespace

LaneTable avx2_table() {
  return lane_functions::make_table<VectorLanes<8, Avx2>>("avx2, 8 lanes");
}

}  // namespace ql::test
