// Numbers of 4 bits widened, and the products of a linear layer whose weight they are, as nf4.rs
// and gemm/mod.rs state them: each number is widened where a tile is read, so that the bits are
// those of a product with a widened copy.
//
// Shapes: `packed` has two numbers a byte; `scales` one a block of 64, or, where there are `codes`,
// one for 256 of these. x, dx [m, k]; y, dy [m, n]; the weight [n, k].
// Deterministic: a number is one thread's; products as gemm.cu.
// Bytes: 1/2 a number of the weight and 1/16 for scales of 32 bits; 4 a number widened.
#include "few.cuh"
#include "product.cuh"

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

extern "C" __global__ void nf4_widen(const unsigned char* packed, const unsigned char* codes,
                                     const float* scales, const float* map, float offset,
                                     float* out, size_t len) {
    __shared__ float values[16];
    set_values(values);
    Four mine = my_four(len);
    float four[4];
    Nf4 from = {packed, codes, scales, map, offset, values, 0};
    from.quad(0, mine.first, mine.count, four);
    write_some(four, mine.count, out + mine.first);
}

extern "C" __global__ void __launch_bounds__(256)
    nf4_linear_64(const float* x, const unsigned char* packed, const unsigned char* codes,
                  const float* scales, const float* map, float offset, float* y, unsigned m,
                  unsigned k, unsigned n, unsigned add) {
    __shared__ float values[16];
    set_values(values);
    Nf4 w = {packed, codes, scales, map, offset, values, k};
    Dense<float> a = {x, k};
    product<64, 16, true, true>(a, w, y, m, n, blocks_of(k), add);
}

extern "C" __global__ void __launch_bounds__(256)
    nf4_linear_128(const float* x, const unsigned char* packed, const unsigned char* codes,
                   const float* scales, const float* map, float offset, float* y, unsigned m,
                   unsigned k, unsigned n, unsigned add) {
    __shared__ float values[16];
    set_values(values);
    Nf4 w = {packed, codes, scales, map, offset, values, k};
    Dense<float> a = {x, k};
    product<128, 8, true, true>(a, w, y, m, n, blocks_of(k), add);
}

extern "C" __global__ void __launch_bounds__(256)
    nf4_linear_grad_input_64(const float* dy, const unsigned char* packed, const unsigned char* codes,
                             const float* scales, const float* map, float offset, float* dx, unsigned m,
                             unsigned k, unsigned n, unsigned add) {
    __shared__ float values[16];
    set_values(values);
    Nf4 w = {packed, codes, scales, map, offset, values, k};
    Dense<float> a = {dy, n};
    product<64, 16, true, false>(a, w, dx, m, k, blocks_of(n), add);
}

extern "C" __global__ void __launch_bounds__(256)
    nf4_linear_grad_input_128(const float* dy, const unsigned char* packed, const unsigned char* codes,
                              const float* scales, const float* map, float offset, float* dx, unsigned m,
                              unsigned k, unsigned n, unsigned add) {
    __shared__ float values[16];
    set_values(values);
    Nf4 w = {packed, codes, scales, map, offset, values, k};
    Dense<float> a = {dy, n};
    product<128, 8, true, false>(a, w, dx, m, k, blocks_of(n), add);
}

extern "C" __global__ void __launch_bounds__(256)
    nf4_linear_few(const float* x, const unsigned char* packed, const unsigned char* codes,
                   const float* scales, const float* map, float offset, float* y, unsigned m,
                   unsigned k, unsigned n, unsigned add) {
    __shared__ float values[16];
    set_values(values);
    Nf4 w = {packed, codes, scales, map, offset, values, k};
    few(x, w, y, m, k, n, add);
}

// Launch: nf4_widen as swiglu.cu; products as gemm.cu.
