// Compiled once for all instruction sets, so that their noise has the same bits.
#include "levy.h"

#include <cmath>
#include <cstring>

namespace ql::cpu {
namespace {

constexpr double kQuarterTurn = 0x1.921FB54442D18p+0;  // pi / 2

// Chambers, Mallows, Stuck, JASA 1976, for an angle of +-(pi / 2) (1 - v) and an exponential w:
//
//   S = sin(alpha angle) / cos(angle) * (w cos(angle) / cos((alpha - 1) angle))^((alpha - 1) / alpha)
//
// The tails are where v is small, so that it has 40 of the 64 bits, is never 0, and each factor is written as the sine of what is
// exact there. No |S| reaches 2^40.
double levy_value(uint32_t first, uint32_t second, double tail_index) {
  const uint64_t magnitude = static_cast<uint64_t>(first & 0x7FFFFFFFu) << 8 | second >> 24;
  const double v = (static_cast<double>(magnitude) + 0.5) * 0x1p-39;
  const double w = -std::log((static_cast<double>(second & 0xFFFFFFu) + 0.5) * 0x1p-24);
  const double angle = kQuarterTurn * (1.0 - v), rest = kQuarterTurn * v, gap = kQuarterTurn * (2.0 - tail_index);
  const double cosine = std::sin(rest), smaller = std::sin(gap + (tail_index - 1.0) * rest);
  const double sine = v < 0.5 ? std::sin(gap + tail_index * rest) : std::sin(tail_index * angle);
  const double value = sine / cosine * std::pow(w * cosine / smaller, (tail_index - 1.0) / tail_index);
  return (first & 0x80000000u) != 0 ? -value : value;
}

}  // namespace

void fill_levy(const uint32_t* first, const uint32_t* second, double tail_index, uint32_t* noise, int count) {
  for (int i = 0; i < count; ++i) {
    const float value = static_cast<float>(levy_value(first[i], second[i], tail_index));
    memcpy(noise + i, &value, sizeof(value));
  }
}

}  // namespace ql::cpu
