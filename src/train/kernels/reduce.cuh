// Sums of rows by the tree of 16 lanes: sixteen neighbouring threads are the lanes of one row, so a
// warp has two rows. Every thread of the warp takes part in every call.
#pragma once

constexpr unsigned LANES = 16;
constexpr unsigned WHOLE_WARP = 0xFFFFFFFFu;

// Lane l takes lane l + 8, then l + 4, l + 2, l + 1; all sixteen get the sum.
template <class T> __device__ __forceinline__ T fold_lanes(T sum) {
#pragma unroll
    for (unsigned half = LANES / 2; half > 0; half /= 2)
        sum = sum + __shfl_down_sync(WHOLE_WARP, sum, half, LANES);
    return __shfl_sync(WHOLE_WARP, sum, 0, LANES);
}

// Lane l has added the terms l, l + 16, … of `len` in ascending order by `add(sum, at)`.
template <class Add>
__device__ __forceinline__ float lane_sum(unsigned lane, size_t len, Add add) {
    float sum = 0.0f;
#pragma unroll 8
    for (size_t at = lane; at < len; at += LANES) sum = add(sum, at);
    return fold_lanes(sum);
}

// The largest of all threads of a block, in any order: a maximum is exact. `room` has a float for
// each warp; two barriers.
__device__ __forceinline__ float block_max(float value, float* room) {
    for (int by = 16; by > 0; by /= 2) {
        float other = __shfl_xor_sync(WHOLE_WARP, value, by);
        value = other > value ? other : value;
    }
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = value;
    __syncthreads();
    for (unsigned warp = 0; warp < blockDim.x / 32; warp++)
        value = room[warp] > value ? room[warp] : value;
    __syncthreads();
    return value;
}

// Numbers of a long row that a block of threads makes together before sixteen of them add them.
constexpr unsigned TILE = 2048;

// Σ term(at) of `len` terms by the tree of 16 lanes, which all threads of the block make and the
// first warp gets; `tile` has room for TILE floats. Begins with a barrier.
template <class Term>
__device__ __forceinline__ float block_lane_sum(unsigned len, float* tile, Term term) {
    float sum = 0.0f;
    for (unsigned first = 0; first < len; first += TILE) {
        unsigned count = len - first < TILE ? len - first : TILE;
        __syncthreads();
        for (unsigned at = threadIdx.x; at < count; at += blockDim.x) tile[at] = term(first + at);
        __syncthreads();
        if (threadIdx.x >= 32) continue;
#pragma unroll 8
        for (unsigned at = threadIdx.x % LANES; at < count; at += LANES) sum += tile[at];
    }
    return threadIdx.x < 32 ? fold_lanes(sum) : 0.0f;
}
