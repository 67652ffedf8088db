// Scalar lanes against vector lanes of 4, 8 and 16: every core function on random and on special patterns, bit for bit.
#include <cmath>
#include <initializer_list>
#include <vector>

#include "check.h"
#include "lane_table.h"

namespace ql::test {
namespace {

constexpr int64_t kCount = 1 << 16;

uint32_t special(uint32_t index) {
  static constexpr uint32_t patterns[] = {
      0x00000000, 0x00000001, 0x007FFFFF, 0x00800000, 0x33000000, 0x33800000, 0x387FC000, 0x387FFFFF, 0x38800000, 0x3F000000,
      0x3EFFFFFF, 0x3F7FFFFF, 0x3F800000, 0x3F808000, 0x40490FDB, 0x477FE000, 0x477FEFFF, 0x477FF000, 0x47800000, 0x4A7FFFFF,
      0x4A800000, 0x4B000000, 0x4B400000, 0x7F7F0000, 0x7F7F8000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF};
  constexpr uint32_t count = sizeof(patterns) / sizeof(*patterns);
  return patterns[index % count] | (index / count % 2 << 31);
}

// A third random patterns, a third special ones, a third floats of moderate size.
std::vector<uint32_t> make_values(uint64_t seed) {
  Words words(seed);
  std::vector<uint32_t> values(kCount);
  for (uint32_t& value : values) {
    const uint32_t kind = words.next() % 3, word = words.next();
    value = kind == 0 ? word : kind == 1 ? special(word) : (word & 0x80FFFFFFu) | (0x39u + words.next() % 12u) << 24;
  }
  return values;
}

std::vector<uint32_t> make_halves(uint64_t seed) {
  Words words(seed);
  std::vector<uint32_t> halves(kCount);
  for (uint32_t& half : halves) half = words.next() % 8 == 0 ? 0xFFFFu * (words.next() % 2) : words.next() & 0xFFFFu;
  return halves;
}

bool is_nan(uint32_t bits) {
  return (bits & 0x7FFFFFFFu) > 0x7F800000u;
}

void compare(const char* what, const std::vector<uint32_t>& wanted, const std::vector<uint32_t>& got, bool any_nan) {
  int64_t different = 0, first = -1;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == got[i] || (any_nan && is_nan(wanted[i]) && is_nan(got[i]))) continue;
    if (different++ == 0) first = static_cast<int64_t>(i);
  }
  if (different == 0) return;
  const size_t i = static_cast<size_t>(first);
  std::printf("  %s: %" PRId64 " lanes differ, the first at %" PRId64 "\n", what, different, first);
  CHECK_EQUAL(got[i], wanted[i]);
}

void compare_functions(const LaneTable& scalar, const LaneTable& lanes) {
  const std::vector<uint32_t> values = make_values(11), halves = make_halves(12);
  std::vector<uint32_t> wanted(kCount), got(kCount);
  for (int f = 0; f < kFunctions; ++f) {
    scalar.functions[f].run(values.data(), halves.data(), wanted.data(), kCount);
    lanes.functions[f].run(values.data(), halves.data(), got.data(), kCount);
    compare(scalar.functions[f].name, wanted, got, scalar.functions[f].float_result);
  }
}

void compare_draws(const LaneTable& scalar, const LaneTable& lanes) {
  constexpr int64_t groups = 1024;
  const Coordinates at{{0x9ABCDEF0u, 0xFFFFFFFFu}, 0xFFFFFFFEu, 3};
  for (const uint64_t first : {uint64_t{0}, uint64_t{8}, uint64_t{0xFFFFF800u}, uint64_t{0xABCDEF0123F8u}}) {
    std::vector<uint32_t> wanted(8 * groups), got(8 * groups);
    scalar.draw_words(at, first, wanted.data(), groups);
    lanes.draw_words(at, first, got.data(), groups);
    compare("draw_words", wanted, got, false);
    scalar.draw_halves(at, first, Purpose::state_rounding + 3, wanted.data(), groups);
    lanes.draw_halves(at, first, Purpose::state_rounding + 3, got.data(), groups);
    compare("draw_halves", wanted, got, false);
  }
}

constexpr NoiseKind kKinds[] = {NoiseKind::gaussian, NoiseKind::uniform, NoiseKind::rademacher};

template <class Rule, class Step>
void compare_steps(const char* what, Step scalar, Step lanes) {
  std::vector<std::vector<uint32_t>> in;
  for (uint64_t i = 0; i < kInputs; ++i) in.push_back(i < 3 || i == 6 ? make_values(20 + i) : make_halves(20 + i));
  for (uint32_t& pattern : in[6]) pattern &= 0x7FFFFFFFu;
  StepIn input{};
  for (size_t i = 0; i < kInputs; ++i) input.arrays[i] = in[i].data();
  for (int option = 0; option < 90; ++option) {
    Hyper h;
    h.lr = option % 4 == 0 ? 0.0 : 0.01;
    h.temperature = option % 3 == 0 ? 0.0 : 0.7;
    h.weight_decay = option % 5 == 0 ? 0.1 : 0.0;
    h.decoupled_weight_decay = option % 7 == 0 ? 0.1 : 0.0;
    h.grad_rounding = static_cast<GridRounding>(option % 5);
    h.update_rounding = static_cast<GridRounding>(option / 5 % 5);
    h.grad_resolution = option % 2 == 0 ? 256.0 : 100.0;
    h.update_resolution = option % 2 == 0 ? 1000.0 : 4096.0;
    h.noise = kKinds[option / 4 % 3];
    h.grad_blocks = option >= 60;
    if (h.grad_blocks) h.grad_resolution = 0x1p1 * (1 << option % 21);
    h.rule[0] = 0.9;
    h.rule[2] = option % 2;
    const Row<Rule> row = make_row<Rule>(h, option % 6 == 0 ? -0.3 : 1.0, 1 + option % 3, 0);
    std::vector<uint32_t> param(kCount), state(kCount), param_lanes(kCount), state_lanes(kCount);
    scalar(row, input, {param.data(), state.data()}, kCount);
    lanes(row, input, {param_lanes.data(), state_lanes.data()}, kCount);
    compare(what, param, param_lanes, true);
    compare(what, state, state_lanes, true);
  }
}

void compare_table(const LaneTable& lanes) {
  const LaneTable scalar = lane_functions::make_table<ScalarLanes>("scalar");
  compare_functions(scalar, lanes);
  compare_draws(scalar, lanes);
  compare_steps<Plain>("plain step", scalar.plain, lanes.plain);
  compare_steps<Momentum>("momentum step", scalar.momentum, lanes.momentum);
}

TEST(four_portable_lanes_equal_scalar_lanes) {
  compare_table(portable_table());
}

#if defined(QL_X86)
TEST(eight_avx2_lanes_equal_scalar_lanes) {
  if (!__builtin_cpu_supports("avx2")) return skip("this processor has no AVX2");
  compare_table(avx2_table());
}

TEST(sixteen_avx2_lanes_equal_scalar_lanes) {
  if (!__builtin_cpu_supports("avx2")) return skip("this processor has no AVX2");
  compare_table(avx2_wide_table());
}

TEST(sixteen_avx512_lanes_equal_scalar_lanes) {
  const bool usable = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!usable) return skip("this processor has no AVX-512 (F, BW, DQ, VL)");
  compare_table(avx512_table());
}
#endif

}  // namespace
}  // namespace ql::test
