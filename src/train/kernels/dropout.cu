// Leaves numbers out of x, and divides those that stay by 1 − rate, as dropout.rs states it.
//
// Shapes: x, y [m, d] of f32 or of bf16, which may be the same; `places` has the row of the step
// and the place in it of each token, counted from the first row at hand.
// Deterministic: what stays follows from the stream, the step and the place of a number alone.
// Bytes: 8 a number of f32; 35 operations for four numbers of one counter.
#include "elements.cuh"
#include "philox.cuh"

template <class T>
__device__ void apply(const T* x, T* y, const size_t* places, unsigned key_0, unsigned key_1,
                      size_t step, size_t first_row, float rate, float scale, unsigned width) {
    size_t token = blockIdx.x;
    unsigned quad = blockIdx.y * blockDim.x + threadIdx.x, at = 4 * quad;
    if (at >= width) return;
    Stream stream = {{key_0, key_1}};
    Bits bits = stream.bits(step, places[token] + (first_row << 40) + quad);
    float four[4];
    unsigned count = width - at < 4 ? width - at : 4;
    read_some(x + token * width + at, count, four);
#pragma unroll
    for (int i = 0; i < 4; i++)
        four[i] = uniform_of(bits.word[i]) < rate ? 0.0f : four[i] * scale;
    write_some(four, count, y + token * width + at);
}

extern "C" __global__ void dropout_apply(const float* x, float* y, const size_t* places,
                                         unsigned key_0, unsigned key_1, size_t step,
                                         size_t first_row, float rate, float scale,
                                         unsigned width) {
    apply(x, y, places, key_0, key_1, step, first_row, rate, scale, width);
}

extern "C" __global__ void dropout_apply_bf16(const Bf16* x, Bf16* y, const size_t* places,
                                              unsigned key_0, unsigned key_1, size_t step,
                                              size_t first_row, float rate, float scale,
                                              unsigned width) {
    apply(x, y, places, key_0, key_1, step, first_row, rate, scale, width);
}

// Launch: tokens along x; the fours of a token along y, 128 to a block of as many threads.
