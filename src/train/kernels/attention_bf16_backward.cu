// The gradients of causal attention of the class bf16: as attention_backward.cu, with products on
// tensor cores. Weights and the gradients of scores are rounded to bf16 where they are made.
//
// Shapes: q, out, dout, dq [t, heads · width] and k, v, dk, dv [t, kv_heads · width] of bf16; max,
// sum, dots [t, heads] of f32.
// Deterministic: each element is one warp's; dq sums keys ascending, dk and dv the heads of their
// group, and in each the queries, ascending, without atomics.
// 14 · width operations for each query and key it sees.
#include "attention_bf16.cuh"

// dot(dout, out) of a row by sixteen threads.
extern "C" __global__ void attention_dots_bf16(const Bf16* __restrict__ dout,
                                               const Bf16* __restrict__ out,
                                               float* __restrict__ dots, size_t rows,
                                               unsigned width) {
    size_t row = (size_t)blockIdx.x * (blockDim.x / 16) + threadIdx.x / 16;
    bool is_there = row < rows;
    size_t from = (is_there ? row : rows - 1) * width;
    float dot = 0.0f;
    for (unsigned at = threadIdx.x % 16; at < width; at += 16)
        dot = __fmaf_rn(widen(dout[from + at]), widen(out[from + at]), dot);
    for (unsigned by = 8; by > 0; by /= 2) dot += __shfl_down_sync(WHOLE_WARP, dot, by, 16);
    if (is_there && threadIdx.x % 16 == 0) dots[row] = dot;
}

struct Saved {
    const Bf16 *q, *k, *v, *dout;
    const float *max, *sum, *dots;
};

// The softmax of a lane's row, and the room of its block of threads.
template <unsigned WIDTH> struct Pass {
    using Of = Head<WIDTH>;
    Half *queries, *douts, *keys, *values, *weights, *slopes;
    float *products;
    float max, inverse, dot;

    __device__ __forceinline__ explicit Pass(float4* shared) {
        queries = reinterpret_cast<Half*>(shared);
        douts = queries + SIDE * Of::STRIDE;
        keys = douts + SIDE * Of::STRIDE;
        values = keys + SIDE * Of::STRIDE;
        weights = values + SIDE * Of::STRIDE;
        slopes = weights + SIDE * CELLS;
        products = reinterpret_cast<float*>(slopes + SIDE * CELLS);
    }

    // `first`: the row of the first of `count` queries.
    __device__ __forceinline__ void load(const Saved& saved, size_t first, unsigned count,
                                         unsigned heads, unsigned head) {
        unsigned query = my_lane().in_block();
        size_t at = (first + (query < count ? query : 0)) * heads + head;
        max = saved.max[at], inverse = 1.0f / saved.sum[at], dot = saved.dots[at];
    }

    // Weights and gradients of scores of this warp's queries with 64 keys; `sees(query, key)`.
    template <class Sees>
    __device__ __forceinline__ void cells(float scale, Sees sees) {
        Lane lane = my_lane();
        float* strip = products + lane.warp * STRIP * PRODUCTS;
        const float* mine = strip + lane.row * PRODUCTS;
        Half* row = weights + lane.in_block() * CELLS;
        Of::products(queries, keys, strip);
        for (unsigned i = 0; i < EACH; i++) {
            unsigned key = lane.column(i);
            float weight = exact_exp(mine[key] * scale - max) * inverse;
            put(sees(lane.in_block(), key) ? weight : 0.0f, row + key);
        }
        __syncwarp();
        Of::products(douts, values, strip);
        for (unsigned i = 0; i < EACH; i++) {
            unsigned key = lane.column(i);
            float slope = widen(*reinterpret_cast<Bf16*>(row + key)) * (mine[key] - dot) * scale;
            bool is_seen = sees(lane.in_block(), key);
            put(is_seen ? slope : 0.0f, slopes + lane.in_block() * CELLS + key);
        }
        __syncwarp();
    }
};

template <unsigned WIDTH>
__device__ void grad_queries(const Saved& saved, const Queries* __restrict__ blocks,
                             Bf16* __restrict__ dq, Heads heads, float scale) {
    using Of = Head<WIDTH>;
    extern __shared__ float4 shared[];
    Pass<WIDTH> pass(shared);
    Queries of = blocks[blockIdx.x];
    unsigned head = blockIdx.y;
    size_t row = (size_t)heads.query * WIDTH, kv_row = (size_t)heads.kv * WIDTH;
    size_t at = of.first * row + head * WIDTH;
    size_t kv_at = of.first_key * kv_row + head / heads.group() * WIDTH;
    Of::load(saved.q + at, row, of.rows, pass.queries);
    Of::load(saved.dout + at, row, of.rows, pass.douts);
    pass.load(saved, of.first, of.rows, heads.query, head);
    typename Of::Sums sums[Of::TILES];
    Of::clear(sums);
    for (unsigned first = 0; first < of.keys; first += SIDE) {
        Of::load(saved.k + kv_at + first * kv_row, kv_row, of.keys - first, pass.keys);
        Of::load(saved.v + kv_at + first * kv_row, kv_row, of.keys - first, pass.values);
        __syncthreads();
        pass.cells(scale, [&](unsigned query, unsigned key) {
            return query < of.rows && first + key < of.seen(query);
        });
        const Half* of_warp = pass.slopes + my_lane().warp * STRIP * CELLS;
        Of::template weigh<wmma::row_major>(of_warp, pass.keys, sums);
        __syncthreads();
    }
    float* room = reinterpret_cast<float*>(pass.keys);
    Of::write(sums, nullptr, of.rows, room, dq + at, row);
}

// `of`: a segment's first row, its length, and the first of 64 keys counted from there.
template <unsigned WIDTH>
__device__ void grad_keys(const Saved& saved, uint3 of, Bf16* __restrict__ dk,
                          Bf16* __restrict__ dv, Heads heads, float scale) {
    using Of = Head<WIDTH>;
    extern __shared__ float4 shared[];
    Pass<WIDTH> pass(shared);
    unsigned start = of.x, len = of.y, first_key = of.z, kv_head = blockIdx.y;
    unsigned count = len - first_key < SIDE ? len - first_key : SIDE;
    size_t row = (size_t)heads.query * WIDTH, kv_row = (size_t)heads.kv * WIDTH;
    size_t kv_at = (start + first_key) * kv_row + kv_head * WIDTH;
    Of::load(saved.k + kv_at, kv_row, count, pass.keys);
    Of::load(saved.v + kv_at, kv_row, count, pass.values);
    typename Of::Sums of_keys[Of::TILES], of_values[Of::TILES];
    Of::clear(of_keys), Of::clear(of_values);
    unsigned mine = my_lane().warp * STRIP;
    for (unsigned head = kv_head * heads.group(); head < (kv_head + 1) * heads.group(); head++)
        for (unsigned first = first_key; first < len; first += SIDE) {
            unsigned rows = len - first < SIDE ? len - first : SIDE;
            size_t at = (start + first) * row + head * WIDTH;
            Of::load(saved.q + at, row, rows, pass.queries);
            Of::load(saved.dout + at, row, rows, pass.douts);
            pass.load(saved, start + first, rows, heads.query, head);
            __syncthreads();
            pass.cells(scale, [&](unsigned query, unsigned key) {
                return query < rows && first_key + key <= first + query;
            });
            __syncthreads();
            Of::template weigh<wmma::col_major>(pass.weights + mine, pass.douts, of_values);
            Of::template weigh<wmma::col_major>(pass.slopes + mine, pass.queries, of_keys);
            __syncthreads();
        }
    // Keys and values, and then queries and the gradients of what they gave, are not needed again.
    float* room = reinterpret_cast<float*>(pass.keys);
    Of::write(of_keys, nullptr, count, room, dk + kv_at, kv_row);
    room = reinterpret_cast<float*>(pass.queries);
    Of::write(of_values, nullptr, count, room, dv + kv_at, kv_row);
}

extern "C" __global__ void __launch_bounds__(128)
    attention_grad_queries_bf16_16(const Bf16* q, const Bf16* k, const Bf16* v, const Bf16* dout,
                                   const float* max, const float* sum, const float* dots,
                                   const Queries* blocks, Bf16* dq, unsigned heads,
                                   unsigned kv_heads, float scale) {
    grad_queries<16>({q, k, v, dout, max, sum, dots}, blocks, dq, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(128)
    attention_grad_queries_bf16_32(const Bf16* q, const Bf16* k, const Bf16* v, const Bf16* dout,
                                   const float* max, const float* sum, const float* dots,
                                   const Queries* blocks, Bf16* dq, unsigned heads,
                                   unsigned kv_heads, float scale) {
    grad_queries<32>({q, k, v, dout, max, sum, dots}, blocks, dq, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(128)
    attention_grad_queries_bf16_64(const Bf16* q, const Bf16* k, const Bf16* v, const Bf16* dout,
                                   const float* max, const float* sum, const float* dots,
                                   const Queries* blocks, Bf16* dq, unsigned heads,
                                   unsigned kv_heads, float scale) {
    grad_queries<64>({q, k, v, dout, max, sum, dots}, blocks, dq, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(128)
    attention_grad_queries_bf16_128(const Bf16* q, const Bf16* k, const Bf16* v, const Bf16* dout,
                                    const float* max, const float* sum, const float* dots,
                                    const Queries* blocks, Bf16* dq, unsigned heads,
                                    unsigned kv_heads, float scale) {
    grad_queries<128>({q, k, v, dout, max, sum, dots}, blocks, dq, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(128)
    attention_grad_keys_bf16_16(const Bf16* q, const Bf16* k, const Bf16* v, const Bf16* dout,
                                const float* max, const float* sum, const float* dots,
                                const uint3* tiles, Bf16* dk, Bf16* dv, unsigned heads,
                                unsigned kv_heads, float scale) {
    Saved saved = {q, k, v, dout, max, sum, dots};
    grad_keys<16>(saved, tiles[blockIdx.x], dk, dv, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(128)
    attention_grad_keys_bf16_32(const Bf16* q, const Bf16* k, const Bf16* v, const Bf16* dout,
                                const float* max, const float* sum, const float* dots,
                                const uint3* tiles, Bf16* dk, Bf16* dv, unsigned heads,
                                unsigned kv_heads, float scale) {
    Saved saved = {q, k, v, dout, max, sum, dots};
    grad_keys<32>(saved, tiles[blockIdx.x], dk, dv, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(128)
    attention_grad_keys_bf16_64(const Bf16* q, const Bf16* k, const Bf16* v, const Bf16* dout,
                                const float* max, const float* sum, const float* dots,
                                const uint3* tiles, Bf16* dk, Bf16* dv, unsigned heads,
                                unsigned kv_heads, float scale) {
    Saved saved = {q, k, v, dout, max, sum, dots};
    grad_keys<64>(saved, tiles[blockIdx.x], dk, dv, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(128)
    attention_grad_keys_bf16_128(const Bf16* q, const Bf16* k, const Bf16* v, const Bf16* dout,
                                 const float* max, const float* sum, const float* dots,
                                 const uint3* tiles, Bf16* dk, Bf16* dv, unsigned heads,
                                 unsigned kv_heads, float scale) {
    Saved saved = {q, k, v, dout, max, sum, dots};
    grad_keys<128>(saved, tiles[blockIdx.x], dk, dv, {heads, kv_heads}, scale);
}

// Launch: as attention_backward.cu, by 128 threads; shared memory for four times 64 rows and two
// times 64 × 72 cells of bf16 and for 64 × 68 products of f32 (105 KiB for width 128).
