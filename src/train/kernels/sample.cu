// Draws a token from each row of logits, as sample.rs states it: a block of threads has one row.
//
// Shapes: logits [n, v]; one uniform number, token and two log-probabilities a row. For `top_k` and
// `top_p`, room for `padded` keys a row, a power of two that is at least v.
// Deterministic: sums over tokens are those of 16 lanes in blocks of 256, or one thread's by
// descending weight; keys are all different, so their order is one.
// Bytes: 12 a logit, most from the cache; with keys 8 · ten times as many passes over them.
#include "sample.cuh"

constexpr unsigned BLOCK = 256;

extern "C" __global__ void sample_greedy(const float* logits, unsigned* token, float* processed,
                                         float* log_prob, unsigned v) {
    __shared__ Room room;
    const float* row = logits + (size_t)blockIdx.x * v;
    float m = row_max(row, v, room);
    unsigned best = greedy(row, v, m, room);
    finish(row, v, m, best, 0.0f, {token, processed, log_prob}, room);
}

// Sums of all blocks of 256 weights, each by sixteen lanes.
__device__ __forceinline__ void sum_blocks(const float* row, unsigned v, float m,
                                           float temperature, float* sums) {
    unsigned blocks = (v + BLOCK - 1) / BLOCK, lane = threadIdx.x % LANES;
    unsigned together = blockDim.x / LANES;
    for (unsigned first = 0; first < blocks; first += together) {
        unsigned block = first + threadIdx.x / LANES;
        unsigned start = block * BLOCK;
        unsigned len = block >= blocks ? 0 : v - start < BLOCK ? v - start : BLOCK;
        float sum = lane_sum(lane, len, [&](float sum, size_t at) {
            return sum + weight_of(row[start + at], m, temperature);
        });
        if (lane == 0 && block < blocks) sums[block] = sum;
    }
}

// The block in which the running sum passes the mark, or `blocks`; by one thread.
__device__ __forceinline__ unsigned find_block(const float* sums, unsigned blocks, float uniform,
                                               Room& room) {
    float total = 0.0f, reached = 0.0f;
    for (unsigned block = 0; block < blocks; block++) total += sums[block];
    room.total = total, room.mark = uniform * total;
    for (unsigned block = 0; block < blocks; block++) {
        room.reached = reached;
        reached += sums[block];
        if (room.mark < reached) return block;
    }
    return blocks;
}

constexpr unsigned NOT_PASSED = 0xFFFFFFFFu;

extern "C" __global__ void sample_all(const float* logits, const float* uniforms,
                                      unsigned* token, float* processed, float* log_prob,
                                      unsigned v, float temperature) {
    __shared__ Room room;
    extern __shared__ float4 shared[];
    float* sums = reinterpret_cast<float*>(shared);
    const float* row = logits + (size_t)blockIdx.x * v;
    unsigned blocks = (v + BLOCK - 1) / BLOCK;
    float m = row_max(row, v, room);
    sum_blocks(row, v, m, temperature, sums);
    __syncthreads();
    if (threadIdx.x == 0) room.token = find_block(sums, blocks, uniforms[blockIdx.x], room);
    __syncthreads();
    unsigned block = room.token, start = block * BLOCK;
    unsigned end = block == blocks ? v : start + BLOCK < v ? start + BLOCK : v;
    if (block < blocks)
        for (unsigned at = start + threadIdx.x; at < end; at += blockDim.x)
            room.tile[at - start] = weight_of(row[at], m, temperature);
    __syncthreads();
    if (threadIdx.x == 0) {
        room.token = NOT_PASSED;
        float reached = room.reached;
        for (unsigned at = start; at < end && block < blocks; at++) {
            reached += room.tile[at - start];
            if (!(room.mark < reached)) continue;
            room.token = at;
            break;
        }
    }
    __syncthreads();
    unsigned drawn = room.token;
    if (drawn == NOT_PASSED) {
        // The last token so far that has any weight; counted from 1, so that 0 is none.
        unsigned last = 0;
        for (unsigned at = threadIdx.x; at < end; at += blockDim.x)
            if (weight_of(row[at], m, temperature) > 0.0f) last = at + 1;
        last = block_max_of(last, room);
        drawn = last > 0 ? last - 1 : 0;
    }
    float share = weight_of(row[drawn], m, temperature) / room.total;
    finish(row, v, m, drawn, exact_ln(share), {token, processed, log_prob}, room);
}

// Keys that are sorted in shared memory at once.
constexpr unsigned SORTED = 4096;

__device__ __forceinline__ void exchange(unsigned long long& a, unsigned long long& b,
                                         bool ascending) {
    if ((a > b) != ascending) return;
    unsigned long long before = a;
    a = b, b = before;
}

// Bitonic sort (Batcher, 1968) of a power of two of keys: strides of a tile or more go over global
// memory, the shorter ones over a tile in shared memory.
__device__ __forceinline__ void sort(unsigned long long* keys, unsigned count,
                                     unsigned long long* tile) {
    unsigned side = count < SORTED ? count : SORTED;
    for (unsigned size = 2; size <= count; size *= 2) {
        // Up to one tile, all sizes are done when it is read for the first time.
        if (size < side) continue;
        for (unsigned stride = size / 2; stride >= side; stride /= 2) {
            for (unsigned pair = threadIdx.x; pair < count / 2; pair += blockDim.x) {
                unsigned at = 2 * pair - pair % stride;
                exchange(keys[at], keys[at + stride], (at & size) == 0);
            }
            __syncthreads();
        }
        for (unsigned first = 0; first < count; first += side) {
            for (unsigned at = threadIdx.x; at < side; at += blockDim.x)
                tile[at] = keys[first + at];
            __syncthreads();
            for (unsigned inner = size == side ? 2 : size; inner <= size; inner *= 2)
                for (unsigned stride = (inner < side ? inner : side) / 2; stride > 0; stride /= 2) {
                    for (unsigned pair = threadIdx.x; pair < side / 2; pair += blockDim.x) {
                        unsigned at = 2 * pair - pair % stride;
                        bool ascending = ((first + at) & inner) == 0;
                        exchange(tile[at], tile[at + stride], ascending);
                    }
                    __syncthreads();
                }
            for (unsigned at = threadIdx.x; at < side; at += blockDim.x)
                keys[first + at] = tile[at];
            __syncthreads();
        }
    }
}

__device__ __forceinline__ float weight_in(unsigned long long key) {
    return __uint_as_float(~(unsigned)(key >> 32));
}

// Walks the weights of sorted keys in order until `stops(weight, at)`; by one thread, all get the
// place, or `count`.
template <class Stops>
__device__ __forceinline__ unsigned walk(const unsigned long long* keys, unsigned count,
                                         Room& room, Stops stops) {
    if (threadIdx.x == 0) room.token = count;
    for (unsigned first = 0; first < count; first += TILE) {
        unsigned end = count - first < TILE ? count : first + TILE;
        for (unsigned at = first + threadIdx.x; at < end; at += blockDim.x)
            room.tile[at - first] = weight_in(keys[at]);
        __syncthreads();
        if (threadIdx.x == 0)
            for (unsigned at = first; at < end; at++) {
                if (!stops(room.tile[at - first])) continue;
                room.token = at;
                break;
            }
        __syncthreads();
        if (room.token < count) break;
    }
    unsigned found = room.token;
    __syncthreads();
    return found;
}

extern "C" __global__ void __launch_bounds__(512)
    sample_kept(const float* logits, const float* uniforms, unsigned long long* all_keys,
                unsigned* token, float* processed, float* log_prob, unsigned v,
                unsigned padded, float temperature, unsigned top_k, float top_p) {
    __shared__ Room room;
    extern __shared__ float4 shared[];
    const float* row = logits + (size_t)blockIdx.x * v;
    unsigned long long* keys = all_keys + (size_t)blockIdx.x * padded;
    float m = row_max(row, v, room);
    // Weights are not negative, so their bits are in their order: the largest first, then the
    // lowest id.
    for (unsigned at = threadIdx.x; at < padded; at += blockDim.x) {
        unsigned bits = at < v ? __float_as_uint(weight_of(row[at], m, temperature)) : 0;
        keys[at] = at < v ? (unsigned long long)~bits << 32 | at : ~0ull;
    }
    __syncthreads();
    sort(keys, padded, reinterpret_cast<unsigned long long*>(shared));
    unsigned kept = top_k < v ? top_k : v;
    // Sums that only the first thread makes.
    float total = 0.0f, reached = 0.0f;
    auto add_all = [&](float weight) { return total += weight, false; };
    walk(keys, kept, room, add_all);
    if (top_p < 1.0f) {
        float threshold = top_p * total;
        unsigned crossing = walk(keys, kept, room, [&](float weight) {
            reached += weight;
            return reached >= threshold;
        });
        if (crossing < kept) kept = crossing + 1, total = reached;
    }
    float mark = uniforms[blockIdx.x] * total;
    reached = 0.0f;
    unsigned place = walk(keys, kept, room, [&](float weight) {
        reached += weight;
        return mark < reached;
    });
    if (place == kept) place = kept - 1;
    float share = weight_in(keys[place]) / total;
    finish(row, v, m, (unsigned)keys[place], exact_ln(share), {token, processed, log_prob}, room);
}

// Launch: a block of 256 threads a row; sample_all with shared memory for a float for every 256
// tokens; sample_kept with 512 threads and shared memory for 4096 keys.
