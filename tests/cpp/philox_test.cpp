// Known answers of Random123 (tests/kat_vectors, lines "philox4x32 7" and "philox4x32 10").
#include "../../csrc/core/philox.h"

#include "check.h"

namespace ql {
namespace {

struct KnownAnswer {
  int rounds;
  uint32_t counter[4], key[2], words[4];
};

constexpr uint32_t kOnes = 0xFFFFFFFFu;

constexpr KnownAnswer kKnown[] = {
    {7, {0, 0, 0, 0}, {0, 0}, {0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48}},
    {7, {kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}, {0x5207ddc2, 0x45165e59, 0x4d8ee751, 0x8c52f662}},
    {7,
     {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0x4dfccaba, 0x190a87f0, 0xc47362ba, 0xb6b5242a}},
    {10, {0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {10, {kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {10,
     {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

// Fewer rounds than kPhiloxRounds are its last ones, with a key that has advanced as far back.
template <int rounds>
void check_known_answers() {
  constexpr uint32_t done = kPhiloxRounds - rounds;
  int found = 0;
  for (const KnownAnswer& known : kKnown) {
    if (known.rounds != rounds) continue;
    ++found;
    uint32_t c[1][4] = {{known.counter[0], known.counter[1], known.counter[2], known.counter[3]}};
    const PhiloxKey key{known.key[0] - done * 0x9E3779B9u, known.key[1] - done * 0xBB67AE85u};
    philox<ScalarLanes, 1, done>(RoundKeys<ScalarLanes>(key), c);
    for (int i = 0; i < 4; ++i) CHECK_EQUAL(c[0][i], known.words[i]);
  }
  CHECK_EQUAL(found, 3);
}

TEST(philox_7_rounds_give_the_known_answers) {
  check_known_answers<7>();
}

TEST(philox_10_rounds_give_the_known_answers) {
  check_known_answers<10>();
}

TEST(philox_has_10_rounds) {
  CHECK_EQUAL(kPhiloxRounds, 10);
}

TEST(counters_in_step_do_not_touch_each_other) {
  test::Words words(1);
  for (int repeat = 0; repeat < 1000; ++repeat) {
    const RoundKeys<ScalarLanes> keys({words.next(), words.next()});
    uint32_t together[3][4], alone[3][1][4];
    for (int n = 0; n < 3; ++n) {
      for (int i = 0; i < 4; ++i) together[n][i] = alone[n][0][i] = words.next();
      philox<ScalarLanes>(keys, alone[n]);
    }
    philox<ScalarLanes>(keys, together);
    for (int n = 0; n < 3; ++n) {
      for (int i = 0; i < 4; ++i) CHECK_EQUAL(together[n][i], alone[n][0][i]);
    }
  }
}

}  // namespace
}  // namespace ql
