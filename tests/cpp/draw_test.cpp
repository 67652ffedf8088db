// Which counter serves which element: numerics.md, section 2.
#include <initializer_list>

#include "check.h"
#include "draws.h"

namespace ql {
namespace {

constexpr uint64_t kGroups[] = {0, 1, 7, 0xFFFFFFFFull, 0x100000000ull, 0x123456789ull, 0xFFFFFFFFFFFFull};
constexpr Coordinates kAt{{0xDEADBEEFu, 0x01234567u}, 77, 0x80000001u};

// The four words of a counter that is put together by hand.
void draw_directly(uint64_t group, uint32_t purpose, uint32_t* words) {
  uint32_t c[1][4] = {{static_cast<uint32_t>(group % 0x100000000ull),
                       static_cast<uint32_t>(group / 0x100000000ull) + purpose * 0x10000u, kAt.step, kAt.chain}};
  philox<ScalarLanes>(RoundKeys<ScalarLanes>(kAt.key), c);
  for (int i = 0; i < 4; ++i) words[i] = c[0][i];
}

TEST(words_come_from_purposes_0_and_1) {
  for (const uint64_t group : kGroups) {
    uint32_t words[8], wanted[8];
    test::draw_words<ScalarLanes>(kAt, group, words);
    draw_directly(group, 0, wanted);
    draw_directly(group, 1, wanted + 4);
    for (int i = 0; i < 8; ++i) CHECK_EQUAL(words[i], wanted[i]);
  }
}

TEST(halves_of_every_purpose_come_from_their_own_counter) {
  for (const uint32_t purpose : {0u, 2u, 3u, 4u, 8u, 9u, 10u, 11u, 16u, 17u, 0xFFFFu}) {
    for (const uint64_t group : kGroups) {
      uint32_t words[4], wanted[4];
      test::draw_halves<ScalarLanes>(kAt, group, purpose, words);
      draw_directly(group, purpose, wanted);
      for (int i = 0; i < 4; ++i) CHECK_EQUAL(words[i], wanted[i]);
    }
  }
}

TEST(tiles_and_purposes_drawn_at_once_are_those_drawn_alone) {
  const RoundKeys<ScalarLanes> keys(kAt.key);
  const GroupPart<ScalarLanes> groups[2] = {group_part<ScalarLanes>(keys, kAt, 12), group_part<ScalarLanes>(keys, kAt, 13)};
  constexpr uint32_t purposes[3] = {Purpose::noise, Purpose::update_quantizer, Purpose::state_rounding + 1};
  const PurposePart parts[3] = {purpose_part(kAt, 7, purposes[0]), purpose_part(kAt, 7, purposes[1]),
                                purpose_part(kAt, 7, purposes[2])};
  uint32_t c[6][4], wanted[4];
  draw<ScalarLanes>(keys, groups, parts, c);
  for (uint64_t i = 0; i < 6; ++i) {
    draw_directly(0x700000000ull + 12 + i % 2, purposes[i / 2], wanted);
    for (int word = 0; word < 4; ++word) CHECK_EQUAL(c[i][word], wanted[word]);
  }
}

TEST(purposes_are_those_of_the_contract) {
  CHECK_EQUAL(uint32_t{Purpose::noise}, 0u);
  CHECK_EQUAL(uint32_t{Purpose::param_rounding}, 2u);
  CHECK_EQUAL(uint32_t{Purpose::grad_quantizer}, 3u);
  CHECK_EQUAL(uint32_t{Purpose::update_quantizer}, 4u);
  CHECK_EQUAL(uint32_t{Purpose::state_rounding}, 8u);
  CHECK_EQUAL(uint32_t{Purpose::levy}, 16u);
}

TEST(element_2i_has_the_low_half_of_word_i) {
  const uint32_t words[4] = {0x11110000u, 0x33332222u, 0x55554444u, 0x77776666u};
  for (uint32_t element = 0; element < 8; ++element)
    CHECK_EQUAL(ScalarLanes::load_halves(words, static_cast<int>(element)), element * 0x1111u);
}

}  // namespace
}  // namespace ql
