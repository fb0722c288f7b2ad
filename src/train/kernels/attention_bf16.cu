// Causal attention of the class bf16: as attention.cu, with products on tensor cores and sums over
// keys in their order. Weights are rounded to bf16 before they multiply values.
//
// Shapes: q, out [tq, heads · width] and k, v [tk, kv_heads · width] of bf16; max, sum [tq, heads]
// of f32. A block of threads has one head of 64 queries and goes over their keys twice: for the
// largest product of each row, then for the sums, so that nothing is ever rescaled.
// Deterministic: each element is one warp's, keys ascend; the same card gives the same bits.
// 6 · width operations for each query and key it sees; 4 · width bytes for each 64 of both.
#include "attention_bf16.cuh"

template <unsigned WIDTH>
__device__ void forward(const Bf16* __restrict__ q, const Bf16* __restrict__ k,
                        const Bf16* __restrict__ v, const Queries* __restrict__ blocks,
                        Bf16* __restrict__ out, float* __restrict__ max,
                        float* __restrict__ sum, Heads heads, float scale) {
    using Of = Head<WIDTH>;
    extern __shared__ float4 shared[];
    Half* queries = reinterpret_cast<Half*>(shared);
    Half* keys = queries + SIDE * Of::STRIDE;
    Half* values = keys + SIDE * Of::STRIDE;
    Half* weights = values + SIDE * Of::STRIDE;
    float* products = reinterpret_cast<float*>(weights + SIDE * CELLS);
    float* factors = products + SIDE * PRODUCTS;
    Queries of = blocks[blockIdx.x];
    Lane lane = my_lane();
    unsigned head = blockIdx.y, query = lane.in_block(), seen = of.seen(query);
    size_t row = (size_t)heads.query * WIDTH, kv_row = (size_t)heads.kv * WIDTH;
    q += of.first * row + head * WIDTH, out += of.first * row + head * WIDTH;
    k += of.first_key * kv_row + head / heads.group() * WIDTH;
    v += of.first_key * kv_row + head / heads.group() * WIDTH;
    Of::load(q, row, of.rows, queries);
    float* strip = products + lane.warp * STRIP * PRODUCTS;
    const float* mine = strip + lane.row * PRODUCTS;
    float m = __uint_as_float(0xFF800000u), z = 0.0f;
    for (unsigned first = 0; first < of.keys; first += SIDE) {
        Of::load(k + first * kv_row, kv_row, of.keys - first, keys);
        __syncthreads();
        Of::products(queries, keys, strip);
        for (unsigned i = 0; i < EACH; i++) {
            float scaled = mine[lane.column(i)] * scale;
            if (first + lane.column(i) < seen && scaled > m) m = scaled;
        }
        __syncthreads();
    }
    float other = __shfl_xor_sync(WHOLE_WARP, m, 1);
    m = other > m ? other : m;
    typename Of::Sums sums[Of::TILES];
    Of::clear(sums);
    for (unsigned first = 0; first < of.keys; first += SIDE) {
        Of::load(k + first * kv_row, kv_row, of.keys - first, keys);
        Of::load(v + first * kv_row, kv_row, of.keys - first, values);
        __syncthreads();
        Of::products(queries, keys, strip);
        for (unsigned i = 0; i < EACH; i++) {
            unsigned key = lane.column(i);
            bool is_seen = query < of.rows && first + key < seen;
            float weight = is_seen ? exact_exp(mine[key] * scale - m) : 0.0f;
            z += weight;
            put(weight, weights + query * CELLS + key);
        }
        __syncwarp();
        const Half* of_warp = weights + lane.warp * STRIP * CELLS;
        Of::template weigh<wmma::row_major>(of_warp, values, sums);
        __syncthreads();
    }
    z += __shfl_xor_sync(WHOLE_WARP, z, 1);
    if (lane.half == 0) {
        factors[query] = 1.0f / z;
        if (query < of.rows) {
            max[(size_t)(of.first + query) * heads.query + head] = m;
            sum[(size_t)(of.first + query) * heads.query + head] = z;
        }
    }
    // Its barrier stands between the factors and their use.
    Of::write(sums, factors, of.rows, reinterpret_cast<float*>(keys), out, row);
}

extern "C" __global__ void __launch_bounds__(128)
    attention_forward_bf16_16(const Bf16* q, const Bf16* k, const Bf16* v, const Queries* blocks,
                              Bf16* out, float* max, float* sum, unsigned heads,
                              unsigned kv_heads, float scale) {
    forward<16>(q, k, v, blocks, out, max, sum, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(128)
    attention_forward_bf16_32(const Bf16* q, const Bf16* k, const Bf16* v, const Queries* blocks,
                              Bf16* out, float* max, float* sum, unsigned heads,
                              unsigned kv_heads, float scale) {
    forward<32>(q, k, v, blocks, out, max, sum, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(128)
    attention_forward_bf16_64(const Bf16* q, const Bf16* k, const Bf16* v, const Queries* blocks,
                              Bf16* out, float* max, float* sum, unsigned heads,
                              unsigned kv_heads, float scale) {
    forward<64>(q, k, v, blocks, out, max, sum, {heads, kv_heads}, scale);
}

extern "C" __global__ void __launch_bounds__(128)
    attention_forward_bf16_128(const Bf16* q, const Bf16* k, const Bf16* v, const Queries* blocks,
                              Bf16* out, float* max, float* sum, unsigned heads,
                              unsigned kv_heads, float scale) {
    forward<128>(q, k, v, blocks, out, max, sum, {heads, kv_heads}, scale);
}

// Launch: as attention.cu, by 128 threads; shared memory for three times 64 rows and 64 × 72
// weights of bf16, 64 × 68 products and 64 factors of f32 (78 KiB for width 128).
