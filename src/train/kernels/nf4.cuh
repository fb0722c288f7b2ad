// Numbers of 4 bits as kernels read them; what they are is written in nf4.rs.
#pragma once
#include "elements.cuh"

__device__ const float CODE[16] = {
    -1.0f,        -0.6961928f,  -0.52507305f, -0.3949175f, -0.28444138f, -0.18477343f,
    -0.091050036f, 0.0f,        0.0795803f,   0.1609302f,  0.2461123f,   0.33791524f,
    0.44070983f,  0.562617f,    0.72295684f,  1.0f,
};

constexpr unsigned NUMBERS = 64, NESTED = 256;

struct Nf4 {
    const unsigned char* __restrict__ packed;
    const unsigned char* __restrict__ codes;
    const float* __restrict__ scales;
    const float* __restrict__ map;
    float offset;
    // The sixteen values, in shared memory: what a warp reads of them is one access.
    const float* values;
    size_t stride;

    __device__ __forceinline__ float scale(size_t block) const {
        if (!codes) return scales[block];
        return map[codes[block]] * scales[block / NESTED] + offset;
    }

    __device__ __forceinline__ void quad(size_t line, size_t from, unsigned count,
                                         float* to) const {
        size_t first = line * stride + from;
        if (count == 4 && first % 4 == 0) {
            unsigned pair = *reinterpret_cast<const unsigned short*>(packed + first / 2);
            float by = scale(first / NUMBERS);
            to[0] = values[pair >> 4 & 15] * by, to[1] = values[pair & 15] * by;
            to[2] = values[pair >> 12 & 15] * by, to[3] = values[pair >> 8 & 15] * by;
            return;
        }
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            to[i] = 0.0f;
            if (i >= count) continue;
            unsigned byte = packed[(first + i) / 2];
            unsigned code = (first + i) % 2 == 0 ? byte >> 4 : byte & 15;
            to[i] = values[code] * scale((first + i) / NUMBERS);
        }
    }
};

// Fills the table of a block of threads.
__device__ __forceinline__ void set_values(float* values) {
    if (threadIdx.x < 16) values[threadIdx.x] = CODE[threadIdx.x];
    __syncthreads();
}
