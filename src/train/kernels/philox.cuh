// Philox-4x32-10 by counter, as rng.rs has it: the 128 bits at (step, element) of a stream.
#pragma once

struct Bits {
    unsigned word[4];
};

// A stream's key.
struct Stream {
    unsigned key[2];

    __device__ __forceinline__ Bits bits(size_t step, size_t element) const {
        unsigned a = (unsigned)element, b = (unsigned)(element >> 32);
        unsigned c = (unsigned)step, d = (unsigned)(step >> 32);
        unsigned first = key[0], second = key[1];
#pragma unroll
        for (int round = 0; round < 10; round++) {
            unsigned low = 0xD2511F53u * a, low_high = __umulhi(0xD2511F53u, a);
            unsigned high = 0xCD9E8D57u * c, high_high = __umulhi(0xCD9E8D57u, c);
            a = high_high ^ b ^ first, b = high;
            c = low_high ^ d ^ second, d = low;
            first += 0x9E3779B9u, second += 0xBB67AE85u;
        }
        return {{a, b, c, d}};
    }
};

// Uniform in [0, 1) with 24 bits, exact.
__device__ __forceinline__ float uniform_of(unsigned bits) {
    return (float)(bits >> 8) / 16777216.0f;
}
