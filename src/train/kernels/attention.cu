// Causal attention of packed segments with grouped queries, as attention.rs states it.
//
// Shapes: q, out [tq, heads · width]; k, v [tk, kv_heads · width]; max, sum [tq, heads]. A block of
// threads has one head of 64 queries and goes over their keys twice: for the exact maximum of each
// row, then for the sums. No T × T matrix anywhere.
// Deterministic: each sum is one thread's, or sixteen lanes' and folded; keys ascend in blocks of
// 256 counted from the segment's start.
// 6 · width operations for each query and key it sees; 8 · width bytes for each 64 of both.
#include "attention.cuh"

// The largest product, scaled, of each of this thread's rows with a key that it sees.
template <unsigned WIDTH>
__device__ __forceinline__ void row_maxima(const float* __restrict__ k, size_t kv_row,
                                           Queries of, float scale, const float* queries,
                                           float* keys, float (&largest)[4]) {
    for (unsigned first = 0; first < of.keys; first += SIDE) {
        Head<WIDTH>::load(k + first * kv_row, kv_row, of.keys - first, keys);
        __syncthreads();
        float s[4][4];
        Head<WIDTH>::products(queries, keys, s);
#pragma unroll
        for (unsigned i = 0; i < 4; i++)
#pragma unroll
            for (unsigned j = 0; j < 4; j++) {
                unsigned key = first + threadIdx.x % 16 + 16 * j;
                float scaled = s[i][j] * scale;
                if (key < of.seen(threadIdx.x / 16 + 16 * i) && scaled > largest[i])
                    largest[i] = scaled;
            }
        __syncthreads();
    }
#pragma unroll
    for (unsigned i = 0; i < 4; i++)
#pragma unroll
        for (int by = 8; by > 0; by /= 2) {
            float other = __shfl_xor_sync(WHOLE_WARP, largest[i], by);
            largest[i] = other > largest[i] ? other : largest[i];
        }
}

// Four of the sixteen lanes of a row: those of thread t are 4 · (t mod 4) and on, of row t / 4.
__device__ __forceinline__ void add_lanes(const float* weights, float (&lanes)[4]) {
    const float* row = weights + threadIdx.x / 4 * CELLS + threadIdx.x % 4 * 4;
#pragma unroll
    for (unsigned at = 0; at < SIDE; at += LANES) {
        float four[4];
        read_quad(row + at, four);
#pragma unroll
        for (int i = 0; i < 4; i++) lanes[i] += four[i];
    }
}

// The tree of 16 lanes that lie in four threads; the first of them gets the sum.
__device__ __forceinline__ float fold_four(float (&lanes)[4]) {
#pragma unroll
    for (unsigned by = 2; by > 0; by /= 2)
#pragma unroll
        for (int i = 0; i < 4; i++) lanes[i] += __shfl_down_sync(WHOLE_WARP, lanes[i], by, 4);
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

template <unsigned WIDTH>
__device__ void forward(const float* __restrict__ q, const float* __restrict__ k,
                        const float* __restrict__ v, const Queries* __restrict__ blocks,
                        float* __restrict__ out, float* __restrict__ max,
                        float* __restrict__ sum, Heads heads, float scale) {
    using Of = Head<WIDTH>;
    extern __shared__ float4 shared[];
    float* queries = reinterpret_cast<float*>(shared);
    float* keys = queries + SIDE * Of::STRIDE;
    float* weights = keys + SIDE * Of::STRIDE;
    float* sums = weights + SIDE * CELLS;
    Queries of = blocks[blockIdx.x];
    unsigned head = blockIdx.y;
    size_t row = (size_t)heads.query * WIDTH, kv_row = (size_t)heads.kv * WIDTH;
    q += of.first * row + head * WIDTH, out += of.first * row + head * WIDTH;
    k += of.first_key * kv_row + head / heads.group() * WIDTH;
    v += of.first_key * kv_row + head / heads.group() * WIDTH;
    Of::load(q, row, of.rows, queries);
    const float none = __uint_as_float(0xFF800000u);
    float largest[4] = {none, none, none, none}, lanes[4] = {};
    row_maxima<WIDTH>(k, kv_row, of, scale, queries, keys, largest);
    typename Of::Rows part, total;
    Of::clear(part), Of::clear(total);
    for (unsigned first = 0; first < of.keys; first += SIDE) {
        unsigned count = of.keys - first < SIDE ? of.keys - first : SIDE;
        Of::load(k + first * kv_row, kv_row, count, keys);
        __syncthreads();
        float s[4][4];
        Of::products(queries, keys, s);
#pragma unroll
        for (unsigned i = 0; i < 4; i++)
#pragma unroll
            for (unsigned j = 0; j < 4; j++) {
                unsigned query = threadIdx.x / 16 + 16 * i, key = threadIdx.x % 16 + 16 * j;
                bool is_seen = query < of.rows && first + key < of.seen(query);
                float weight = exact_exp(s[i][j] * scale - largest[i]);
                weights[query * CELLS + key] = is_seen ? weight : 0.0f;
            }
        __syncthreads();
        Of::load(v + first * kv_row, kv_row, count, keys);
        add_lanes(weights, lanes);
        __syncthreads();
        Of::weigh(weights, keys, count, part);
        if ((first + SIDE) % KEY_BLOCK == 0 || first + SIDE >= of.keys) Of::close(total, part);
        __syncthreads();
    }
    float z = fold_four(lanes);
    if (threadIdx.x % 4 == 0) sums[threadIdx.x / 4] = z;
    __syncthreads();
    float inverse[4];
#pragma unroll
    for (unsigned i = 0; i < 4; i++) {
        unsigned query = threadIdx.x / 16 + 16 * i;
        inverse[i] = 1.0f / sums[query];
        if (threadIdx.x % 16 != 0 || query >= of.rows) continue;
        max[(size_t)(of.first + query) * heads.query + head] = largest[i];
        sum[(size_t)(of.first + query) * heads.query + head] = sums[query];
    }
    Of::write(total, inverse, of.rows, out, row);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    attention_forward_16(const float* q, const float* k, const float* v, const Queries* blocks,
                         float* out, float* max, float* sum, unsigned heads, unsigned kv_heads,
                         float scale) {
    forward<16>(q, k, v, blocks, out, max, sum, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    attention_forward_32(const float* q, const float* k, const float* v, const Queries* blocks,
                         float* out, float* max, float* sum, unsigned heads, unsigned kv_heads,
                         float scale) {
    forward<32>(q, k, v, blocks, out, max, sum, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    attention_forward_64(const float* q, const float* k, const float* v, const Queries* blocks,
                         float* out, float* max, float* sum, unsigned heads, unsigned kv_heads,
                         float scale) {
    forward<64>(q, k, v, blocks, out, max, sum, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(256, 1)
    attention_forward_128(const float* q, const float* k, const float* v, const Queries* blocks,
                         float* out, float* max, float* sum, unsigned heads, unsigned kv_heads,
                         float scale) {
    forward<128>(q, k, v, blocks, out, max, sum, {heads, kv_heads}, scale);
}

// Launch: blocks of queries along x, those with most keys first; heads along y; 256 threads; shared
// memory for two times 64 rows, 64 × 68 weights and 64 sums (83 KiB for width 128).
