// A linear layer with what an adapter adds to it, in one pass over the result: y = x wᵀ + u bᵀ and
// dx = dz w + dlow a, the second product added to the first block by block, as
// model/projection.rs has them one after the other. The weight is of f32 or of 4 bits.
//
// Shapes: x, dx [m, k]; y, dz [m, n]; w [n, k]; u, dlow [m, r]; b [n, r]; a [r, k].
// Deterministic: as gemm.cu. 2·m·(n·k + n·r) operations; spares 8 bytes an element of the result.
#include "nf4.cuh"
#include "product.cuh"

template <int SIDE, int DEPTH, class Weight>
__device__ void forward(const float* x, const Weight& w, const float* u, const float* b, float* y,
                        unsigned m, unsigned k, unsigned n, unsigned rank) {
    Dense<float> left = {x, k}, second_left = {u, rank}, second_right = {b, rank};
    two_products<SIDE, DEPTH, true, true>(left, w, blocks_of(k), second_left, second_right,
                                          blocks_of(rank), y, m, n, false);
}

template <int SIDE, int DEPTH, class Weight>
__device__ void grad_input(const float* dz, const Weight& w, const float* dlow, const float* a,
                           float* dx, unsigned m, unsigned k, unsigned n, unsigned rank,
                           unsigned add) {
    Dense<float> left = {dz, n}, second_left = {dlow, rank}, second_right = {a, k};
    two_products<SIDE, DEPTH, true, false>(left, w, blocks_of(n), second_left, second_right,
                                           blocks_of(rank), dx, m, k, add);
}

extern "C" __global__ void __launch_bounds__(256)
    linear_adapted_64(const float* x, const float* w, const float* u, const float* b, float* y,
                      unsigned m, unsigned k, unsigned n, unsigned rank) {
    forward<64, 16>(x, Dense<float>{w, k}, u, b, y, m, k, n, rank);
}

extern "C" __global__ void __launch_bounds__(256)
    linear_adapted_128(const float* x, const float* w, const float* u, const float* b, float* y,
                       unsigned m, unsigned k, unsigned n, unsigned rank) {
    forward<128, 8>(x, Dense<float>{w, k}, u, b, y, m, k, n, rank);
}

extern "C" __global__ void __launch_bounds__(256)
    linear_grad_input_adapted_64(const float* dz, const float* w, const float* dlow,
                                 const float* a, float* dx, unsigned m, unsigned k, unsigned n,
                                 unsigned rank, unsigned add) {
    grad_input<64, 16>(dz, Dense<float>{w, k}, dlow, a, dx, m, k, n, rank, add);
}

extern "C" __global__ void __launch_bounds__(256)
    linear_grad_input_adapted_128(const float* dz, const float* w, const float* dlow,
                                  const float* a, float* dx, unsigned m, unsigned k, unsigned n,
                                  unsigned rank, unsigned add) {
    grad_input<128, 8>(dz, Dense<float>{w, k}, dlow, a, dx, m, k, n, rank, add);
}

extern "C" __global__ void __launch_bounds__(256)
    nf4_linear_adapted_64(const float* x, const unsigned char* packed, const unsigned char* codes,
                          const float* scales, const float* map, float offset, const float* u,
                          const float* b, float* y, unsigned m, unsigned k, unsigned n,
                          unsigned rank) {
    __shared__ float values[16];
    set_values(values);
    Nf4 w = {packed, codes, scales, map, offset, values, k};
    forward<64, 16>(x, w, u, b, y, m, k, n, rank);
}

extern "C" __global__ void __launch_bounds__(256)
    nf4_linear_adapted_128(const float* x, const unsigned char* packed, const unsigned char* codes,
                           const float* scales, const float* map, float offset, const float* u,
                           const float* b, float* y, unsigned m, unsigned k, unsigned n,
                           unsigned rank) {
    __shared__ float values[16];
    set_values(values);
    Nf4 w = {packed, codes, scales, map, offset, values, k};
    forward<128, 8>(x, w, u, b, y, m, k, n, rank);
}

extern "C" __global__ void __launch_bounds__(256)
    nf4_linear_grad_input_adapted_64(const float* dz, const unsigned char* packed,
                                     const unsigned char* codes, const float* scales,
                                     const float* map, float offset, const float* dlow,
                                     const float* a, float* dx, unsigned m, unsigned k, unsigned n,
                                     unsigned rank, unsigned add) {
    __shared__ float values[16];
    set_values(values);
    Nf4 w = {packed, codes, scales, map, offset, values, k};
    grad_input<64, 16>(dz, w, dlow, a, dx, m, k, n, rank, add);
}

extern "C" __global__ void __launch_bounds__(256)
    nf4_linear_grad_input_adapted_128(const float* dz, const unsigned char* packed,
                                      const unsigned char* codes, const float* scales,
                                      const float* map, float offset, const float* dlow,
                                      const float* a, float* dx, unsigned m, unsigned k,
                                      unsigned n, unsigned rank, unsigned add) {
    __shared__ float values[16];
    set_values(values);
    Nf4 w = {packed, codes, scales, map, offset, values, k};
    grad_input<128, 8>(dz, w, dlow, a, dx, m, k, n, rank, add);
}

// Launch: as gemm.cu.
