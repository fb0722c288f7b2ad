// A step of AdamW whose moments are in blocks of 8 bits, as adamw8.rs states it.
//
// Shapes: weights, gradients and codes [n]; scales [⌈n / 256⌉]; `maps` has the 256 shares and the
// 256 bounds (the last unused) of the signed map, then those of the unsigned.
// Deterministic: a number is one thread's, and a block's largest is exact in any order.
// Bytes: 16 a number (weight read and written, gradient, four codes) and 1/16 for scales; some 60
// operations a number.
#include "adamw.cuh"
#include "reduce.cuh"

constexpr unsigned NUMBERS = 256;

struct Map {
    const float *values, *bounds;

    // The code of the share nearest to x / scale, and of two the lower.
    __device__ __forceinline__ unsigned char code(float x, float scale) const {
        if (!(scale > 0.0f)) return 0;
        float share = x / scale;
        unsigned code = 0;
#pragma unroll
        for (unsigned step = 128; step > 0; step /= 2)
            if (share > bounds[code + step - 1]) code += step;
        return (unsigned char)code;
    }
};

// One moment of one number in a block of threads: gives the block its scale, and the number its
// code.
__device__ __forceinline__ void quantise(const Map& map, float x, bool is_there, size_t block,
                                         unsigned char* code, float* scales, float* room) {
    float scale = block_max(is_there ? fabsf(x) : 0.0f, room);
    if (is_there) *code = map.code(x, scale);
    if (threadIdx.x == 0) scales[block] = scale;
}

extern "C" __global__ void __launch_bounds__(256)
    adamw8_step(float* weights, const float* gradients, unsigned char* first,
                float* first_scales, unsigned char* second, float* second_scales,
                const float* maps, float keep, float rate, float root, float one_less_1,
                float one_less_2, float beta2, float eps, float scale, size_t len) {
    __shared__ float tables[4][NUMBERS];
    __shared__ float room[NUMBERS / 32];
    for (unsigned at = 0; at < 4; at++) tables[at][threadIdx.x] = maps[at * NUMBERS + threadIdx.x];
    __syncthreads();
    Map of_first = {tables[0], tables[1]}, of_second = {tables[2], tables[3]};
    Constants by = {keep, rate, root, one_less_1, one_less_2, beta2, eps, scale};
    size_t blocks = (len + NUMBERS - 1) / NUMBERS;
    for (size_t block = blockIdx.x; block < blocks; block += gridDim.x) {
        size_t at = block * NUMBERS + threadIdx.x;
        bool is_there = at < len;
        float p = 0.0f, m = 0.0f, v = 0.0f;
        if (is_there) {
            p = weights[at];
            m = of_first.values[first[at]] * first_scales[block];
            v = of_second.values[second[at]] * second_scales[block];
            move_one(by, p, m, v, gradients[at]);
            weights[at] = p;
        }
        // Every thread has read the scales before one writes them: `block_max` has barriers.
        quantise(of_first, m, is_there, block, first + at, first_scales, room);
        quantise(of_second, v, is_there, block, second + at, second_scales, room);
    }
}

// Launch: blocks of 256 threads, each with every so-many-th block of numbers, so that the maps are
// read once for many.
