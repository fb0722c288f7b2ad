// The three products of a linear layer, y = x wᵀ, dx = dy w and dw += dyᵀ x, by the rule of
// gemm/mod.rs; how a tile is made is product.cuh.
//
// Shapes: x, dx [m, k]; w, dw [n, k]; y, dy [m, n]. `bounds` has the blocks of tokens.
// Deterministic: every element is one thread's, and its sum has one order.
// 2·m·n·k operations on f32 units; a tile of 128 reads 1/32 byte an operation. The kernel for few
// rows (decoding) reads w once: 4·n·k bytes.
#include "product.cuh"
#include "reduce.cuh"

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
    product<SIDE, DEPTH, false, false>(a, b, dw, n, k, {m, blocks, bounds}, true);
}

// Rows of x that the kernel for few of them has, and numbers of a row of w that one of its threads
// reads at once: a whole line of the cache.
constexpr unsigned FEW = 4, RUN = 32;

template <bool whole>
__device__ __forceinline__ void continue_sums(const float* x, const float* w, unsigned len,
                                              unsigned m, unsigned k, float (&sum)[FEW]) {
    auto count = [&](unsigned quad) {
        unsigned left = 4 * quad < len ? len - 4 * quad : 0;
        return whole || left > 4 ? 4 : left;
    };
    float run[RUN], four[4];
#pragma unroll
    for (unsigned quad = 0; quad < RUN / 4; quad++)
        read_some(w + 4 * quad, count(quad), run + 4 * quad);
#pragma unroll
    for (unsigned i = 0; i < FEW; i++) {
        if (i >= m) break;
#pragma unroll
        for (unsigned quad = 0; quad < RUN / 4; quad++) {
            read_some(x + (size_t)i * k + 4 * quad, count(quad), four);
#pragma unroll
            for (unsigned at = 0; at < 4; at++)
                if (at < count(quad)) sum[i] = __fmaf_rn(four[at], run[4 * quad + at], sum[i]);
        }
    }
}

// Sixteen threads have a row of w, each of them every sixteenth block of it.
__device__ void few(const float* __restrict__ x, const float* __restrict__ w,
                    float* __restrict__ y, unsigned m, unsigned k, unsigned n, bool add) {
    unsigned lane = threadIdx.x % LANES;
    unsigned column = blockIdx.x * (blockDim.x / LANES) + threadIdx.x / LANES;
    bool is_there = column < n;
    w += (size_t)(is_there ? column : n - 1) * k;
    unsigned blocks = (k + BLOCK - 1) / BLOCK;
    float total[FEW];
    for (unsigned i = 0; i < FEW; i++)
        total[i] = add && is_there && i < m ? y[(size_t)i * n + column] : NOTHING;
    for (unsigned first = 0; first < blocks; first += LANES) {
        float sum[FEW] = {};
        unsigned start = (first + lane) * BLOCK;
        unsigned len = start >= k ? 0 : k - start < BLOCK ? k - start : BLOCK;
        for (unsigned at = 0; at < len; at += RUN) {
            if (len - at >= RUN) continue_sums<true>(x + start + at, w + start + at, RUN, m, k, sum);
            else continue_sums<false>(x + start + at, w + start + at, len - at, m, k, sum);
        }
#pragma unroll
        for (unsigned i = 0; i < FEW; i++)
            for (unsigned from = 0; from < LANES && first + from < blocks; from++)
                total[i] += __shfl_sync(WHOLE_WARP, sum[i], from, LANES);

    }
#pragma unroll
    for (unsigned i = 0; i < FEW; i++)
        if (is_there && i < m && lane == i) y[(size_t)i * n + column] = total[i];
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
    linear_few(const float* x, const float* w, float* y, unsigned m, unsigned k, unsigned n,
               unsigned add) {
    few(x, w, y, m, k, n, add);
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
// too few of 128 for the multiprocessors. linear_few: 16 columns to a block of 256.
