// Rotary position embedding in place and back, as rope.rs states it; the table is made there.
//
// Shapes: x [m, heads · width], of f32 or of bf16; cos, sin [positions, width / 2]; one position a
// token.
// Deterministic: a pair is one thread's, and there are no sums.
// Bytes: 8 a number of f32, the table from the cache; six operations a pair.
#include "elements.cuh"

template <class T>
__device__ void turn(T* x, const unsigned* __restrict__ positions, const float* __restrict__ cos,
                     const float* __restrict__ sin, unsigned heads, unsigned half, float sign) {
    size_t token = blockIdx.x;
    unsigned pair = blockIdx.y * blockDim.x + threadIdx.x;
    if (pair >= heads * half) return;
    unsigned head = pair / half, i = pair % half;
    T* low = x + token * heads * 2 * half + (size_t)head * 2 * half + i;
    size_t at = (size_t)positions[token] * half + i;
    float a = widen(low[0]), b = widen(low[half]), c = cos[at], s = sign * sin[at];
    narrow(__fmaf_rn(a, c, -(b * s)), &low[0]);
    narrow(__fmaf_rn(b, c, a * s), &low[half]);
}

extern "C" __global__ void rope_turn(float* x, const unsigned* positions, const float* cos,
                                     const float* sin, unsigned heads, unsigned half,
                                     float sign) {
    turn(x, positions, cos, sin, heads, half, sign);
}

extern "C" __global__ void rope_turn_bf16(Bf16* x, const unsigned* positions, const float* cos,
                                          const float* sin, unsigned heads, unsigned half,
                                          float sign) {
    turn(x, positions, cos, sin, heads, half, sign);
}

// Launch: tokens along x; the pairs of a token along y, 128 to a block of as many threads.
