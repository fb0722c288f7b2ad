// The gradients of causal attention, as attention.rs states them.
//
// Shapes: q, out, dout, dq [t, heads · width]; k, v, dk, dv [t, kv_heads · width]; max, sum, dots
// [t, heads]. Three kernels: D = dot(dout, out) of each token and head; dq, one block of threads to
// a head of 64 queries; dk and dv, one to a kv head of 64 keys, which goes over the heads of its
// group and their queries. Weights are made again from max and sum; no T × T matrix anywhere.
// Deterministic: each sum is one thread's. Over keys it has blocks of 256, over queries blocks of
// 64, both counted from the segment's start; heads ascend before queries; no atomics.
// 14 · width operations for each query and key it sees.
#include "attention.cuh"

// The gradient reads what the forward pass read and wrote.
struct Saved {
    const float *q, *k, *v, *dout, *max, *sum, *dots;
};

// dot(dout, out) by the tree of 16 lanes.
extern "C" __global__ void attention_dots(const float* __restrict__ dout,
                                          const float* __restrict__ out, float* __restrict__ dots,
                                          size_t rows, unsigned width) {
    size_t row = (size_t)blockIdx.x * (blockDim.x / LANES) + threadIdx.x / LANES;
    bool is_there = row < rows;
    size_t from = (is_there ? row : rows - 1) * width;
    float dot = lane_sum(threadIdx.x % LANES, width, [&](float sum, size_t at) {
        return __fmaf_rn(dout[from + at], out[from + at], sum);
    });
    if (is_there && threadIdx.x % LANES == 0) dots[row] = dot;
}

// The softmax of four queries: those of rows y, y + 16, … of a block.
struct Rows {
    float max[4], inverse[4], dot[4];

    __device__ __forceinline__ void load(const Saved& saved, size_t first, unsigned count,
                                         unsigned side, unsigned heads, unsigned head) {
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            unsigned row = side + 16 * i;
            size_t at = (first + (row < count ? row : 0)) * heads + head;
            max[i] = saved.max[at], inverse[i] = 1.0f / saved.sum[at], dot[i] = saved.dots[at];
        }
    }

    __device__ __forceinline__ float weight(unsigned i, float product, float scale) const {
        return exact_exp(product * scale - max[i]) * inverse[i];
    }

    __device__ __forceinline__ float slope(unsigned i, float weight, float product,
                                           float scale) const {
        return weight * (product - dot[i]) * scale;
    }
};

template <unsigned WIDTH>
__device__ void grad_queries(const Saved& saved, const Queries* __restrict__ blocks,
                             float* __restrict__ dq, Heads heads, float scale) {
    using Of = Head<WIDTH>;
    extern __shared__ float4 shared[];
    float* queries = reinterpret_cast<float*>(shared);
    float* douts = queries + SIDE * Of::STRIDE;
    float* keys = douts + SIDE * Of::STRIDE;
    float* slopes = keys + SIDE * Of::STRIDE;
    Queries of = blocks[blockIdx.x];
    unsigned head = blockIdx.y;
    size_t row = (size_t)heads.query * WIDTH, kv_row = (size_t)heads.kv * WIDTH;
    size_t at = of.first * row + head * WIDTH;
    size_t kv_at = of.first_key * kv_row + head / heads.group() * WIDTH;
    Of::load(saved.q + at, row, of.rows, queries);
    Of::load(saved.dout + at, row, of.rows, douts);
    Rows rows;
    rows.load(saved, of.first, of.rows, threadIdx.x / 16, heads.query, head);
    typename Of::Rows part, total;
    Of::clear(part);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (unsigned c = 0; c < Of::COLUMNS; c++) total[i][c] = NOTHING;
    for (unsigned first = 0; first < of.keys; first += SIDE) {
        unsigned count = of.keys - first < SIDE ? of.keys - first : SIDE;
        float s[4][4], dp[4][4];
        Of::load(saved.v + kv_at + first * kv_row, kv_row, count, keys);
        __syncthreads();
        Of::products(douts, keys, dp);
        __syncthreads();
        Of::load(saved.k + kv_at + first * kv_row, kv_row, count, keys);
        __syncthreads();
        Of::products(queries, keys, s);
#pragma unroll
        for (unsigned i = 0; i < 4; i++)
#pragma unroll
            for (unsigned j = 0; j < 4; j++) {
                unsigned query = threadIdx.x / 16 + 16 * i, key = threadIdx.x % 16 + 16 * j;
                bool is_seen = query < of.rows && first + key < of.seen(query);
                float slope = rows.slope(i, rows.weight(i, s[i][j], scale), dp[i][j], scale);
                slopes[query * CELLS + key] = is_seen ? slope : 0.0f;
            }
        __syncthreads();
        Of::weigh(slopes, keys, count, part);
        if ((first + SIDE) % KEY_BLOCK == 0 || first + SIDE >= of.keys) Of::close(total, part);
        __syncthreads();
    }
    const float one[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    Of::write(total, one, of.rows, dq + at, row);
}

// `keys`: a segment's first row, its length, and the first of 64 keys counted from there.
template <unsigned WIDTH>
__device__ void grad_keys(const Saved& saved, uint3 of, float* __restrict__ dk,
                          float* __restrict__ dv, Heads heads, float scale) {
    using Of = Head<WIDTH>;
    extern __shared__ float4 shared[];
    float* keys = reinterpret_cast<float*>(shared);
    float* values = keys + SIDE * Of::STRIDE;
    float* queries = values + SIDE * Of::STRIDE;
    float* douts = queries + SIDE * Of::STRIDE;
    float* cells = douts + SIDE * Of::STRIDE;
    unsigned start = of.x, len = of.y, first_key = of.z, kv_head = blockIdx.y;
    unsigned count = len - first_key < SIDE ? len - first_key : SIDE;
    size_t row = (size_t)heads.query * WIDTH, kv_row = (size_t)heads.kv * WIDTH;
    size_t kv_at = (start + first_key) * kv_row + kv_head * WIDTH;
    Of::load(saved.k + kv_at, kv_row, count, keys);
    Of::load(saved.v + kv_at, kv_row, count, values);
    typename Of::Rows part, of_keys, of_values;
    Of::clear(part), Of::clear(of_keys), Of::clear(of_values);
    for (unsigned head = kv_head * heads.group(); head < (kv_head + 1) * heads.group(); head++)
        for (unsigned first = first_key; first < len; first += SIDE) {
            unsigned rows_there = len - first < SIDE ? len - first : SIDE;
            size_t at = (start + first) * row + head * WIDTH;
            Of::load(saved.q + at, row, rows_there, queries);
            Of::load(saved.dout + at, row, rows_there, douts);
            __syncthreads();
            // Keys are the rows here, and queries the columns.
            float s[4][4], dp[4][4];
            Of::products(keys, queries, s);
            Of::products(values, douts, dp);
            Rows rows;
            rows.load(saved, start + first, rows_there, threadIdx.x % 16, heads.query, head);
#pragma unroll
            for (unsigned i = 0; i < 4; i++)
#pragma unroll
                for (unsigned j = 0; j < 4; j++) {
                    unsigned key = threadIdx.x / 16 + 16 * i, query = threadIdx.x % 16 + 16 * j;
                    bool is_seen = query < rows_there && first_key + key <= first + query;
                    float weight = rows.weight(j, s[i][j], scale);
                    dp[i][j] = is_seen ? rows.slope(j, weight, dp[i][j], scale) : 0.0f;
                    cells[key * CELLS + query] = is_seen ? weight : 0.0f;
                }
            __syncthreads();
            Of::weigh(cells, douts, rows_there, part);
            Of::close(of_values, part);
            __syncthreads();
#pragma unroll
            for (unsigned i = 0; i < 4; i++)
#pragma unroll
                for (unsigned j = 0; j < 4; j++)
                    cells[(threadIdx.x / 16 + 16 * i) * CELLS + threadIdx.x % 16 + 16 * j] =
                        dp[i][j];
            __syncthreads();
            Of::weigh(cells, queries, rows_there, part);
            Of::close(of_keys, part);
            __syncthreads();
        }
    const float one[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    Of::write(of_keys, one, count, dk + kv_at, kv_row);
    Of::write(of_values, one, count, dv + kv_at, kv_row);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    attention_grad_queries_16(const float* q, const float* k, const float* v, const float* dout,
                              const float* max, const float* sum, const float* dots,
                              const Queries* blocks, float* dq, unsigned heads,
                              unsigned kv_heads, float scale) {
    grad_queries<16>({q, k, v, dout, max, sum, dots}, blocks, dq, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    attention_grad_queries_32(const float* q, const float* k, const float* v, const float* dout,
                              const float* max, const float* sum, const float* dots,
                              const Queries* blocks, float* dq, unsigned heads,
                              unsigned kv_heads, float scale) {
    grad_queries<32>({q, k, v, dout, max, sum, dots}, blocks, dq, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    attention_grad_queries_64(const float* q, const float* k, const float* v, const float* dout,
                              const float* max, const float* sum, const float* dots,
                              const Queries* blocks, float* dq, unsigned heads,
                              unsigned kv_heads, float scale) {
    grad_queries<64>({q, k, v, dout, max, sum, dots}, blocks, dq, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(256, 1)
    attention_grad_queries_128(const float* q, const float* k, const float* v, const float* dout,
                              const float* max, const float* sum, const float* dots,
                              const Queries* blocks, float* dq, unsigned heads,
                              unsigned kv_heads, float scale) {
    grad_queries<128>({q, k, v, dout, max, sum, dots}, blocks, dq, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    attention_grad_keys_16(const float* q, const float* k, const float* v, const float* dout,
                           const float* max, const float* sum, const float* dots,
                           const uint3* tiles, float* dk, float* dv, unsigned heads,
                           unsigned kv_heads, float scale) {
    Saved saved = {q, k, v, dout, max, sum, dots};
    grad_keys<16>(saved, tiles[blockIdx.x], dk, dv, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    attention_grad_keys_32(const float* q, const float* k, const float* v, const float* dout,
                           const float* max, const float* sum, const float* dots,
                           const uint3* tiles, float* dk, float* dv, unsigned heads,
                           unsigned kv_heads, float scale) {
    Saved saved = {q, k, v, dout, max, sum, dots};
    grad_keys<32>(saved, tiles[blockIdx.x], dk, dv, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    attention_grad_keys_64(const float* q, const float* k, const float* v, const float* dout,
                           const float* max, const float* sum, const float* dots,
                           const uint3* tiles, float* dk, float* dv, unsigned heads,
                           unsigned kv_heads, float scale) {
    Saved saved = {q, k, v, dout, max, sum, dots};
    grad_keys<64>(saved, tiles[blockIdx.x], dk, dv, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(256, 1)
    attention_grad_keys_128(const float* q, const float* k, const float* v, const float* dout,
                           const float* max, const float* sum, const float* dots,
                           const uint3* tiles, float* dk, float* dv, unsigned heads,
                           unsigned kv_heads, float scale) {
    Saved saved = {q, k, v, dout, max, sum, dots};
    grad_keys<128>(saved, tiles[blockIdx.x], dk, dv, {heads, kv_heads}, scale);
}

// Launch: blocks of queries or of keys along x, the longest work first; heads or kv heads along y;
// 256 threads; shared memory for three (queries) or four (keys) times 64 rows and 64 × 68 cells
// (116 and 149 KiB for width 128). attention_dots: sixteen rows to a block of 256 threads.
