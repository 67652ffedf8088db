// Everything random that one block of elements needs, in memory order. The same for all rules and storage types.
#pragma once

#include "../core/update.h"
#include "lanes.h"
#include "levy.h"

namespace ql::cpu {

// Two tiles are drawn at a time, where possible for two purposes: four counters in step hide each other's latency.
template <class L>
constexpr int kBlock = 2 * kTile<L>;

// What is random for one block, in memory order; a draw that the step does not want leaves its buffer alone.
template <class L>
struct Bits {
  alignas(64) uint32_t noise[kBlock<L>];  // the values' bits
  alignas(64) uint32_t halves[3 + kMaxStates][kBlock<L> / 2];
};

enum Slot { kParam = 0, kGrad = 1, kUpdate = 2, kState = 3 };

// What a step reads of it.
struct Reads {
  bool noise, slots[3 + kMaxStates];
};

// What noise is drawn; tail_index: of Levy noise.
struct NoiseLaw {
  NoiseKind kind;
  double tail_index;
};

// The draws of a chunk. All its groups have the same high bits: chunks end at multiples of a power of two.
template <class L>
struct Draws {
  static constexpr uint32_t purposes[] = {Purpose::param_rounding,    Purpose::grad_quantizer,     Purpose::update_quantizer,
                                          Purpose::state_rounding,    Purpose::state_rounding + 1, Purpose::state_rounding + 2,
                                          Purpose::state_rounding + 3};
  Coordinates at;
  RoundKeys<L> keys;
  NoiseLaw law;
  bool noise;
  PurposePart noise_parts[2][2];  // of this step and of the next
  PurposePart levy_parts[2];
  int count = 0;  // of the draws for roundings
  PurposePart parts[3 + kMaxStates];
  uint32_t* buffers[3 + kMaxStates];

  [[gnu::noinline]] Draws(Coordinates coordinates, NoiseLaw noise_law, uint32_t group_high, const Reads& reads, Bits<L>& bits)
      : at(coordinates), keys(at.key), law(noise_law), noise(reads.noise) {
    for (uint32_t i = 0; i < 2; ++i) {
      noise_parts[0][i] = purpose_part(at, group_high, Purpose::noise + i);
      noise_parts[1][i] = purpose_part(at.next(), group_high, Purpose::noise + i);
      levy_parts[i] = purpose_part(at, group_high, Purpose::levy + i);
    }
    for (int slot = 0; slot < 3 + kMaxStates; ++slot) {
      if (!reads.slots[slot]) continue;
      parts[count] = purpose_part(at, group_high, purposes[slot]);
      buffers[count++] = bits.halves[slot];
    }
  }
  bool any() const { return noise || count > 0; }
};

// 16 bits an element of one block for each of M purposes.
template <class L, int M>
QL_HD void draw_halves(const RoundKeys<L>& keys, const GroupPart<L> (&groups)[2], const PurposePart (&parts)[M],
                       uint32_t* const (&buffers)[M]) {
  typename L::C c[2 * M][4];
  draw<L, M, 2>(keys, groups, parts, c);
  QL_UNROLL
  for (int i = 0; i < 2 * M; ++i) L::store_halves_draw(buffers[i / 2] + i % 2 * (kTile<L> / 2), c[i]);
}

// A word of 32 bits an element of one block.
template <class L>
QL_HD void draw_words(const RoundKeys<L>& keys, const GroupPart<L> (&groups)[2], const PurposePart (&parts)[2], uint32_t* words) {
  typename L::C c[4][4];
  draw<L, 2, 2>(keys, groups, parts, c);
  L::store_words_draw(words, c[0], c[2]);
  L::store_words_draw(words + kTile<L>, c[1], c[3]);
}

// The noise of one block at one step. Its values are made in a loop of their own: their chain of operations is long, and behind
// the draw's or before the update's it would keep the processor waiting.
template <class L>
QL_HD void draw_noise(const RoundKeys<L>& keys, NoiseKind law, const GroupPart<L> (&groups)[2], const PurposePart (&parts)[2],
                      uint32_t* noise) {
  alignas(64) uint32_t words[kBlock<L>];
  if (law == NoiseKind::gaussian) {
    draw_words<L>(keys, groups, parts, words);
    for (int v = 0; v < kBlock<L> / L::width; ++v) L::store_words(noise, v, L::bits_of(gaussian<L>(L::load_words(words, v))));
  } else {
    draw_halves<L, 1>(keys, groups, {parts[0]}, {words});
    for (int v = 0; v < kBlock<L> / L::width; ++v)
      L::store_words(noise, v, L::bits_of(noise_value<L>(law, L::load_halves(words, v))));
  }
}

template <class L>
QL_HD void find_groups(const Draws<L>& draws, Coordinates at, uint32_t group_low, GroupPart<L> (&groups)[2]) {
  QL_UNROLL
  for (uint32_t n = 0; n < 2; ++n) {
    groups[n] = group_part<L>(draws.keys, at, L::group_index() + L::splat_word(group_low + n * L::counters));
  }
}

template <class L>
[[gnu::noinline]] void draw_levy(const Draws<L>& draws, const GroupPart<L> (&groups)[2], uint32_t* noise) {
  alignas(64) uint32_t first[kBlock<L>], second[kBlock<L>];
  draw_words<L>(draws.keys, groups, draws.noise_parts[0], first);
  draw_words<L>(draws.keys, groups, draws.levy_parts, second);
  fill_levy(first, second, draws.law.tail_index, noise, kBlock<L>);
}

// Noise that is there already becomes the average of it and the next step's.
template <class L>
[[gnu::noinline]] void average_noise(const Draws<L>& draws, uint32_t group_low, uint32_t* noise) {
  alignas(64) uint32_t next[kBlock<L>];
  GroupPart<L> groups[2];
  find_groups<L>(draws, draws.at.next(), group_low, groups);
  draw_noise<L>(draws.keys, law_of(draws.law.kind), groups, draws.noise_parts[1], next);
  for (int v = 0; v < kBlock<L> / L::width; ++v) {
    const typename L::F both = average<L>(L::float_of(L::load_words(noise, v)), L::float_of(L::load_words(next, v)));
    L::store_words(noise, v, L::bits_of(both));
  }
}

// Not inlined: one function serves all kernels.
template <class L>
[[gnu::noinline]] void draw_block(const Draws<L>& draws, uint32_t group_low, uint32_t* noise) {
  GroupPart<L> groups[2];
  find_groups<L>(draws, draws.at, group_low, groups);
  if (draws.noise && draws.law.kind == NoiseKind::levy) {
    draw_levy<L>(draws, groups, noise);
  } else if (draws.noise) {
    draw_noise<L>(draws.keys, law_of(draws.law.kind), groups, draws.noise_parts[0], noise);
    if (averages(draws.law.kind)) average_noise<L>(draws, group_low, noise);
  }
  int i = 0;
  for (; i + 1 < draws.count; i += 2) {
    draw_halves<L, 2>(draws.keys, groups, {draws.parts[i], draws.parts[i + 1]}, {draws.buffers[i], draws.buffers[i + 1]});
  }
  if (i < draws.count) draw_halves<L, 1>(draws.keys, groups, {draws.parts[i]}, {draws.buffers[i]});
}

}  // namespace ql::cpu
