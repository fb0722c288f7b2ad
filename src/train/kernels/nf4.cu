// Numbers of 4 bits widened, and the products of a linear layer whose weight they are, as nf4.rs
// and gemm/mod.rs state them: each number is widened where a tile is read, so that the bits are
// those of a product with a widened copy.
//
// Shapes: `packed` has two numbers a byte; `scales` one a block of 64, or, where there are `codes`,
// one for 256 of these. x, dx [m, k]; y, dy [m, n]; the weight [n, k].
// Deterministic: a number is one thread's; products as gemm.cu.
// Bytes: 1/2 a number of the weight and 1/16 for scales of 32 bits; 4 a number widened, of bf16 2.
#include "few.cuh"
#include "nf4.cuh"
#include "product.cuh"

template <class T> __device__ __forceinline__ void widen_all(Nf4 from, T* out, size_t len) {
    Four mine = my_four(len);
    float four[4];
    from.quad(0, mine.first, mine.count, four);
    write_some(four, mine.count, out + mine.first);
}

extern "C" __global__ void nf4_widen(const unsigned char* packed, const unsigned char* codes,
                                     const float* scales, const float* map, float offset,
                                     float* out, size_t len) {
    __shared__ float values[16];
    set_values(values);
    widen_all({packed, codes, scales, map, offset, values, 0}, out, len);
}

extern "C" __global__ void nf4_widen_bf16(const unsigned char* packed, const unsigned char* codes,
                                          const float* scales, const float* map, float offset,
                                          Bf16* out, size_t len) {
    __shared__ float values[16];
    set_values(values);
    widen_all({packed, codes, scales, map, offset, values, 0}, out, len);
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
    nf4_linear_grad_input_64(const float* dy, const unsigned char* packed,
                             const unsigned char* codes, const float* scales, const float* map,
                             float offset, float* dx, unsigned m, unsigned k, unsigned n,
                             unsigned add) {
    __shared__ float values[16];
    set_values(values);
    Nf4 w = {packed, codes, scales, map, offset, values, k};
    Dense<float> a = {dy, n};
    product<64, 16, true, false>(a, w, dx, m, k, blocks_of(n), add);
}

extern "C" __global__ void __launch_bounds__(256)
    nf4_linear_grad_input_128(const float* dy, const unsigned char* packed,
                              const unsigned char* codes, const float* scales, const float* map,
                              float offset, float* dx, unsigned m, unsigned k, unsigned n,
                              unsigned add) {
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

extern "C" __global__ void __launch_bounds__(256)
    nf4_linear_parts(const float* x, const unsigned char* packed, const unsigned char* codes,
                     const float* scales, const float* map, float offset, float* parts,
                     unsigned m, unsigned k, unsigned n) {
    __shared__ float values[16];
    set_values(values);
    Nf4 w = {packed, codes, scales, map, offset, values, k};
    Dense<float> a = {x, k};
    float* part = parts + (size_t)blockIdx.z * m * n;
    product<64, 16, true, true>(a, w, part, m, n, block_of(k, blockIdx.z), false);
}

// Launch: nf4_widen as swiglu.cu; products as gemm.cu.
