// y = (or +=) x wᵀ for few rows of x, by the rule of gemm/mod.rs: the blocks of one sum are made by
// different threads at the same time, and added ascending.
#pragma once
#include "product.cuh"
#include "reduce.cuh"

// Rows of x that the kernel for few of them has, and numbers of a row of w that one of its threads
// reads at once: a whole line of the cache.
constexpr unsigned FEW = 4, RUN = 32;

template <bool whole, class Source>
__device__ __forceinline__ void continue_sums(const float* x, const Source& w, size_t line,
                                              unsigned start, unsigned len, unsigned m, unsigned k,
                                              float (&sum)[FEW]) {
    auto count = [&](unsigned quad) {
        unsigned left = 4 * quad < len ? len - 4 * quad : 0;
        return whole || left > 4 ? 4 : left;
    };
    float run[RUN], four[4];
#pragma unroll
    for (unsigned quad = 0; quad < RUN / 4; quad++)
        w.quad(line, start + 4 * quad, count(quad), run + 4 * quad);
#pragma unroll
    for (unsigned i = 0; i < FEW; i++) {
        if (i >= m) break;
#pragma unroll
        for (unsigned quad = 0; quad < RUN / 4; quad++) {
            read_some(x + (size_t)i * k + start + 4 * quad, count(quad), four);
#pragma unroll
            for (unsigned at = 0; at < 4; at++)
                if (at < count(quad)) sum[i] = __fmaf_rn(four[at], run[4 * quad + at], sum[i]);
        }
    }
}

// Sixteen threads have a row of w, each of them every sixteenth block of it.
template <class Source>
__device__ __forceinline__ void few(const float* __restrict__ x, const Source& w,
                                    float* __restrict__ y, unsigned m, unsigned k, unsigned n,
                                    bool add) {
    unsigned lane = threadIdx.x % LANES;
    unsigned column = blockIdx.x * (blockDim.x / LANES) + threadIdx.x / LANES;
    bool is_there = column < n;
    size_t line = is_there ? column : n - 1;
    unsigned blocks = (k + BLOCK - 1) / BLOCK;
    float total[FEW];
    for (unsigned i = 0; i < FEW; i++)
        total[i] = add && is_there && i < m ? y[(size_t)i * n + column] : NOTHING;
    for (unsigned first = 0; first < blocks; first += LANES) {
        float sum[FEW] = {};
        unsigned start = (first + lane) * BLOCK;
        unsigned len = start >= k ? 0 : k - start < BLOCK ? k - start : BLOCK;
        for (unsigned at = 0; at < len; at += RUN) {
            if (len - at >= RUN) continue_sums<true>(x, w, line, start + at, RUN, m, k, sum);
            else continue_sums<false>(x, w, line, start + at, len - at, m, k, sum);
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
