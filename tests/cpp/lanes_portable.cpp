#include "../../csrc/cpu/lanes.h"
#include "lane_table.h"

namespace ql::test {
namespace {

struct Portable {};

}  // namespace

LaneTable portable_table() {
  return lane_functions::make_table<VectorLanes<4, Portable>>("portable, 4 lanes");
}

}  // namespace ql::test
