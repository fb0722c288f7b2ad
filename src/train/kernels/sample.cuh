// Parts of drawing tokens that a block of threads does for one row of logits, as sample.rs states
// them.
#pragma once
#include "math.cuh"
#include "reduce.cuh"

// Shared memory of one block of threads.
struct Room {
    float tile[TILE];
    float warps[32];
    unsigned token;
    float total, reached, mark;
};

// Where a token goes, and its log-probabilities.
struct Draws {
    unsigned* token;
    float *processed, *log_prob;
};

__device__ __forceinline__ float row_max(const float* row, unsigned v, Room& room) {
    float largest = __uint_as_float(0xFF800000u);
    for (unsigned at = threadIdx.x; at < v; at += blockDim.x)
        largest = row[at] > largest ? row[at] : largest;
    return block_max(largest, room.warps);
}

// The largest of all threads, of whole numbers.
__device__ __forceinline__ unsigned block_max_of(unsigned value, Room& room) {
    for (int by = 16; by > 0; by /= 2) {
        unsigned other = __shfl_xor_sync(WHOLE_WARP, value, by);
        value = other > value ? other : value;
    }
    unsigned* of_warps = reinterpret_cast<unsigned*>(room.warps);
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = value;
    __syncthreads();
    for (unsigned warp = 0; warp < blockDim.x / 32; warp++)
        value = of_warps[warp] > value ? of_warps[warp] : value;
    __syncthreads();
    return value;
}

// The lowest token with the largest logit; 0 of a row that has none.
__device__ __forceinline__ unsigned greedy(const float* row, unsigned v, float m, Room& room) {
    unsigned lowest = v;
    for (unsigned at = threadIdx.x; at < v && lowest == v; at += blockDim.x)
        if (row[at] == m) lowest = at;
    unsigned found = v - block_max_of(v - lowest, room);
    return found < v ? found : 0;
}

__device__ __forceinline__ float weight_of(float logit, float m, float temperature) {
    return exact_exp((logit - m) / temperature);
}

// Writes a token that all threads know, and its log-probability in the model's own distribution.
__device__ __forceinline__ void finish(const float* row, unsigned v, float m, unsigned token,
                                       float processed, Draws to, Room& room) {
    float z = block_lane_sum(v, room.tile, [&](unsigned at) { return exact_exp(row[at] - m); });
    if (threadIdx.x != 0) return;
    to.token[blockIdx.x] = token;
    to.processed[blockIdx.x] = processed;
    to.log_prob[blockIdx.x] = 0.0f - ((m + exact_ln(z)) - row[token]);
}
