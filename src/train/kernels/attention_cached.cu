// Attention of few queries to many keys of before (decoding), with the bits of attention.cu: keys
// are shared out among blocks of threads by 256, as the sums over them are.
//
// Shapes: as attention.cu; `places` has the row of each query, that of its first key, and how many
// keys it sees. Between the kernels lie weights [queries, heads, most] and, for each 256 keys, sums
// [queries, heads, most / 256, width], where no query sees more than `most` keys.
// Deterministic: each sum is one thread's, or sixteen lanes' and folded; the sums of 256 keys are
// added ascending.
// Bytes: keys and values are read once, 8 · kv_heads · width for each; the rest is small beside it.
#include "elements.cuh"
#include "math.cuh"
#include "reduce.cuh"

constexpr unsigned KEYS = 256;
// Query heads that read a key at the same time.
constexpr unsigned TOGETHER = 8;

// Scaled products; block (x, y, z) has 256 keys, a kv head and a query, a thread one key.
extern "C" __global__ void __launch_bounds__(256)
    attention_cached_scores(const float* __restrict__ q, const float* __restrict__ k,
                            const uint3* __restrict__ places, float* __restrict__ weights,
                            unsigned heads, unsigned kv_heads, unsigned width, unsigned most,
                            float scale) {
    extern __shared__ float4 shared[];
    float* queries = reinterpret_cast<float*>(shared);
    uint3 place = places[blockIdx.z];
    unsigned group = heads / kv_heads, first_head = blockIdx.y * group;
    if (blockIdx.x * KEYS >= place.z) return;
    const float* of_query = q + ((size_t)place.x * heads + first_head) * width;
    for (unsigned at = threadIdx.x; at < group * width; at += blockDim.x)
        queries[at] = of_query[at];
    __syncthreads();
    unsigned key = blockIdx.x * KEYS + threadIdx.x;
    if (key >= place.z) return;
    const float* row = k + (((size_t)place.y + key) * kv_heads + blockIdx.y) * width;
    float* to = weights + ((size_t)blockIdx.z * heads + first_head) * most + key;
    for (unsigned first = 0; first < group; first += TOGETHER) {
        float sum[TOGETHER] = {};
        for (unsigned at = 0; at < width; at += 16) {
            float part[16];
#pragma unroll
            for (unsigned quad = 0; quad < 4; quad++)
                read_some(row + at + 4 * quad, 4, part + 4 * quad);
#pragma unroll
            for (unsigned head = 0; head < TOGETHER; head++) {
                if (first + head >= group) break;
                const float* query = queries + (first + head) * width + at;
#pragma unroll
                for (unsigned i = 0; i < 16; i++)
                    sum[head] = __fmaf_rn(query[i], part[i], sum[head]);
            }
        }
#pragma unroll
        for (unsigned head = 0; head < TOGETHER; head++)
            if (first + head < group) to[(size_t)(first + head) * most] = sum[head] * scale;
    }
}

// Turns the products of one query and head into weights; a block of threads has one.
extern "C" __global__ void __launch_bounds__(256)
    attention_cached_softmax(const uint3* __restrict__ places, float* __restrict__ weights,
                             float* __restrict__ max, float* __restrict__ sum, unsigned heads,
                             unsigned most) {
    __shared__ float tile[TILE];
    __shared__ float room[32];
    uint3 place = places[blockIdx.y];
    float* row = weights + ((size_t)blockIdx.y * heads + blockIdx.x) * most;
    float largest = __uint_as_float(0xFF800000u);
    for (unsigned at = threadIdx.x; at < place.z; at += blockDim.x)
        largest = row[at] > largest ? row[at] : largest;
    float m = block_max(largest, room);
    float z = block_lane_sum(place.z, tile, [&](unsigned at) {
        return row[at] = exact_exp(row[at] - m);
    });
    if (threadIdx.x != 0) return;
    max[(size_t)place.x * heads + blockIdx.x] = m;
    sum[(size_t)place.x * heads + blockIdx.x] = z;
}

// Sums of 256 keys; block (x, y, z) has them of a kv head and a query, a thread one column of one
// or several heads.
extern "C" __global__ void __launch_bounds__(256)
    attention_cached_values(const float* __restrict__ v, const uint3* __restrict__ places,
                            const float* __restrict__ weights, float* __restrict__ parts,
                            unsigned heads, unsigned kv_heads, unsigned width, unsigned most) {
    extern __shared__ float4 shared[];
    float* mine = reinterpret_cast<float*>(shared);
    uint3 place = places[blockIdx.z];
    unsigned group = heads / kv_heads, first_head = blockIdx.y * group;
    unsigned start = blockIdx.x * KEYS;
    if (start >= place.z) return;
    unsigned count = place.z - start < KEYS ? place.z - start : KEYS;
    const float* from = weights + ((size_t)blockIdx.z * heads + first_head) * most + start;
    for (unsigned at = threadIdx.x; at < group * KEYS; at += blockDim.x)
        if (at % KEYS < count) mine[at] = from[(size_t)(at / KEYS) * most + at % KEYS];
    __syncthreads();
    unsigned column = threadIdx.x % width;
    const float* values = v + (((size_t)place.y + start) * kv_heads + blockIdx.y) * width + column;
    for (unsigned head = threadIdx.x / width; head < group; head += blockDim.x / width) {
        float sum = 0.0f;
#pragma unroll 8
        for (unsigned key = 0; key < count; key++)
            sum = __fmaf_rn(mine[head * KEYS + key], values[(size_t)key * kv_heads * width], sum);
        size_t row = (size_t)blockIdx.z * heads + first_head + head;
        parts[(row * (most / KEYS) + blockIdx.x) * width + column] = sum;
    }
}

// Adds the sums of all keys of a query and head, and divides by that of the weights.
extern "C" __global__ void attention_cached_join(const uint3* __restrict__ places,
                                                 const float* __restrict__ parts,
                                                 const float* __restrict__ sum,
                                                 float* __restrict__ out, unsigned heads,
                                                 unsigned width, unsigned most) {
    uint3 place = places[blockIdx.y];
    size_t row = (size_t)blockIdx.y * heads + blockIdx.x;
    const float* of = parts + row * (most / KEYS) * width + threadIdx.x;
    float total = 0.0f;
    for (unsigned block = 0; block * KEYS < place.z; block++) total += of[(size_t)block * width];
    size_t head = (size_t)place.x * heads + blockIdx.x;
    out[head * width + threadIdx.x] = total * (1.0f / sum[head]);
}

// Keys and values of new tokens to their rows among those of before.
extern "C" __global__ void attention_store(const float* __restrict__ k,
                                           const float* __restrict__ v,
                                           const unsigned* __restrict__ rows,
                                           float* __restrict__ keys, float* __restrict__ values,
                                           unsigned width) {
    size_t from = (size_t)blockIdx.x * width, to = (size_t)rows[blockIdx.x] * width;
    for (unsigned at = threadIdx.x; at < width; at += blockDim.x) {
        keys[to + at] = k[from + at];
        values[to + at] = v[from + at];
    }
}

// Launch: scores and values by blocks of 256 threads, with shared memory for the group's queries,
// or its weights of 256 keys; softmax by 256; join by as many as a head is wide; store by 128.
