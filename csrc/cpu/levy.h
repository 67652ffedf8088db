// Symmetric alpha-stable noise. It takes sin, log and pow, whose last bits are the C library's: it is outside of the bit contract
// (numerics.md section 3), so that it is not in csrc/core and GPUs do not have it.
#pragma once

#include <cstdint>

namespace ql::cpu {

// Fills in the noise of `count` elements, the bits of binary32 numbers of the law E exp(i w S) = exp(-|w|^tail_index), from two
// words of random bits for each. tail_index: in (1, 2].
void fill_levy(const uint32_t* first, const uint32_t* second, double tail_index, uint32_t* noise, int count);

}  // namespace ql::cpu
