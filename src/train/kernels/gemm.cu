// The three products of a linear layer, y = x wᵀ, dx = dy w and dw += dyᵀ x, by the rule of
// gemm/mod.rs; how a tile is made is product.cuh.
//
// Shapes: x, dx [m, k]; w, dw [n, k]; y, dy [m, n]. `bounds` has the blocks of tokens.
// Deterministic: every element is one thread's, and its sum has one order.
// Where a result has few elements, the blocks of its sums are made at the same time, each into a
// part of its own, and a second kernel adds the parts ascending: the same sums.
// 2·m·n·k operations on f32 units; a tile of 128 reads 1/32 byte an operation. The kernel for few
// rows (decoding) reads w once: 4·n·k bytes.
#include "few.cuh"
#include "product.cuh"

template <int SIDE, int DEPTH>
__device__ void forward(const float* x, const float* w, float* y, unsigned m, unsigned k,
                        unsigned n, unsigned add) {
    Dense<float> a = {x, k}, b = {w, k};
    product<SIDE, DEPTH, true, true>(a, b, y, m, n, blocks_of(k), add);
}

template <int SIDE, int DEPTH>
__device__ void grad_input(const float* dy, const float* w, float* dx, unsigned m, unsigned k,
                           unsigned n, unsigned add) {
    Dense<float> a = {dy, n}, b = {w, k};
    product<SIDE, DEPTH, true, false>(a, b, dx, m, k, blocks_of(n), add);
}

template <int SIDE, int DEPTH>
__device__ void grad_weight(const float* dy, const float* x, const unsigned* bounds,
                            unsigned blocks, float* dw, unsigned m, unsigned k, unsigned n) {
    Dense<float> a = {dy, n}, b = {x, k};
    product<SIDE, DEPTH, false, false>(a, b, dw, n, k, {m, blocks, bounds, 0}, true);
}

extern "C" __global__ void __launch_bounds__(256)
    linear_128(const float* x, const float* w, float* y, unsigned m, unsigned k, unsigned n,
               unsigned add) {
    forward<128, 8>(x, w, y, m, k, n, add);
}

extern "C" __global__ void __launch_bounds__(256)
    linear_64(const float* x, const float* w, float* y, unsigned m, unsigned k, unsigned n,
              unsigned add) {
    forward<64, 16>(x, w, y, m, k, n, add);
}

extern "C" __global__ void __launch_bounds__(256)
    linear_parts(const float* x, const float* w, float* parts, unsigned m, unsigned k,
                 unsigned n) {
    Dense<float> a = {x, k}, b = {w, k};
    float* part = parts + (size_t)blockIdx.z * m * n;
    product<64, 16, true, true>(a, b, part, m, n, block_of(k, blockIdx.z), false);
}

extern "C" __global__ void linear_join(const float* parts, float* y, size_t len, unsigned blocks,
                                       unsigned add) {
    Four mine = my_four(len);
    float total[4] = {NOTHING, NOTHING, NOTHING, NOTHING}, part[4];
    if (add) read_some(y + mine.first, mine.count, total);
    for (unsigned block = 0; block < blocks; block++) {
        read_some(parts + block * len + mine.first, mine.count, part);
#pragma unroll
        for (int i = 0; i < 4; i++) total[i] += part[i];
    }
    write_some(total, mine.count, y + mine.first);
}

extern "C" __global__ void __launch_bounds__(256)
    linear_few(const float* x, const float* w, float* y, unsigned m, unsigned k, unsigned n,
               unsigned add) {
    few(x, Dense<float>{w, k}, y, m, k, n, add);
}

extern "C" __global__ void __launch_bounds__(256)
    linear_grad_input_128(const float* dy, const float* w, float* dx, unsigned m, unsigned k,
                          unsigned n, unsigned add) {
    grad_input<128, 8>(dy, w, dx, m, k, n, add);
}

extern "C" __global__ void __launch_bounds__(256)
    linear_grad_input_64(const float* dy, const float* w, float* dx, unsigned m, unsigned k,
                         unsigned n, unsigned add) {
    grad_input<64, 16>(dy, w, dx, m, k, n, add);
}

extern "C" __global__ void __launch_bounds__(256)
    linear_grad_weight_128(const float* dy, const float* x, const unsigned* bounds,
                           unsigned blocks, float* dw, unsigned m, unsigned k, unsigned n) {
    grad_weight<128, 8>(dy, x, bounds, blocks, dw, m, k, n);
}

extern "C" __global__ void __launch_bounds__(256)
    linear_grad_weight_64(const float* dy, const float* x, const unsigned* bounds,
                          unsigned blocks, float* dw, unsigned m, unsigned k, unsigned n) {
    grad_weight<64, 16>(dy, x, bounds, blocks, dw, m, k, n);
}

// Launch: tiles of the result, columns along x, by 256 threads; those of 64 where there would be
// too few of 128 for the multiprocessors. linear_parts: those of 64, the blocks of the inner index
// along z; linear_join as swiglu.cu. linear_few: 16 columns to a block of 256.
