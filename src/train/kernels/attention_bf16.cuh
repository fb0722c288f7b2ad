// Parts of the attention kernels of the class bf16: products of 64 rows of a head on tensor cores,
// sums in f32. A block has four warps; warp w has the rows 16 · w to 16 · w + 15 of its queries, or
// of its keys. Shared memory lies so that sixteen rows begin at a multiple of 32 bytes.
#pragma once
#include <cuda_bf16.h>
#include <mma.h>
#include <type_traits>

#include "elements.cuh"
#include "math.cuh"

namespace wmma = nvcuda::wmma;
using Half = __nv_bfloat16;

constexpr unsigned SIDE = 64, STRIP = 16, CELLS = SIDE + 8, PRODUCTS = SIDE + 4, EACH = 32;
constexpr unsigned WHOLE_WARP = 0xFFFFFFFFu;

// As attention.cuh has them.
struct Queries {
    unsigned first, rows, first_key, keys;

    __device__ __forceinline__ unsigned seen(unsigned i) const { return keys - rows + i + 1; }
};

struct Heads {
    unsigned query, kv;

    __device__ __forceinline__ unsigned group() const { return query / kv; }
};

// The lane's half of one of its warp's rows: 32 neighbours of 64.
struct Lane {
    unsigned warp, row, half;

    __device__ __forceinline__ unsigned in_block() const { return warp * STRIP + row; }
    __device__ __forceinline__ unsigned column(unsigned i) const { return half * EACH + i; }
};

__device__ __forceinline__ Lane my_lane() {
    return {threadIdx.x / 32, threadIdx.x % 32 / 2, threadIdx.x % 2};
}

__device__ __forceinline__ void put(float x, Half* to) {
    narrow(x, reinterpret_cast<Bf16*>(to));
}

template <unsigned WIDTH> struct Head {
    static constexpr unsigned STRIDE = WIDTH + 8, TILES = WIDTH / STRIP;
    using Sums = wmma::fragment<wmma::accumulator, 16, 16, 16, float>;

    // Rows of one head to shared memory; zeros beyond `count`.
    static __device__ __forceinline__ void load(const Bf16* __restrict__ from, size_t stride,
                                                unsigned count, Half* to) {
#pragma unroll 4
        for (unsigned quad = threadIdx.x; quad < SIDE * WIDTH / 4; quad += blockDim.x) {
            unsigned row = quad / (WIDTH / 4), at = quad % (WIDTH / 4) * 4;
            const Bf16* four = from + row * stride + at;
            uint2 bits = {0, 0};
            if (row < count && is_aligned(four)) {
                bits = *reinterpret_cast<const uint2*>(four);
            } else if (row < count) {
                bits.x = four[0].bits | (unsigned)four[1].bits << 16;
                bits.y = four[2].bits | (unsigned)four[3].bits << 16;
            }
            *reinterpret_cast<uint2*>(to + row * STRIDE + at) = bits;
        }
    }

    // out = a · bᵀ over the width, of this warp's rows of a and all 64 of b.
    static __device__ __forceinline__ void products(const Half* a, const Half* b, float* out) {
        Sums sums[SIDE / STRIP];
#pragma unroll
        for (unsigned j = 0; j < SIDE / STRIP; j++) wmma::fill_fragment(sums[j], 0.0f);
#pragma unroll 2
        for (unsigned at = 0; at < WIDTH; at += STRIP) {
            wmma::fragment<wmma::matrix_a, 16, 16, 16, Half, wmma::row_major> left;
            wmma::load_matrix_sync(left, a + threadIdx.x / 32 * STRIP * STRIDE + at, STRIDE);
#pragma unroll
            for (unsigned j = 0; j < SIDE / STRIP; j++) {
                wmma::fragment<wmma::matrix_b, 16, 16, 16, Half, wmma::col_major> right;
                wmma::load_matrix_sync(right, b + j * STRIP * STRIDE + at, STRIDE);
                wmma::mma_sync(sums[j], left, right, sums[j]);
            }
        }
#pragma unroll
        for (unsigned j = 0; j < SIDE / STRIP; j++)
            wmma::store_matrix_sync(out + j * STRIP, sums[j], PRODUCTS, wmma::mem_row_major);
        __syncwarp();
    }

    static __device__ __forceinline__ void clear(Sums (&sums)[TILES]) {
#pragma unroll
        for (unsigned c = 0; c < TILES; c++) wmma::fill_fragment(sums[c], 0.0f);
    }

    // Adds weights · values to the rows of this warp: `Order` says whether its rows are those of
    // the weights (row_major) or their columns (col_major), and `mine` where they begin.
    template <class Order>
    static __device__ __forceinline__ void weigh(const Half* mine, const Half* values,
                                                 Sums (&sums)[TILES]) {
        constexpr bool by_row = std::is_same<Order, wmma::row_major>::value;
#pragma unroll 1
        for (unsigned at = 0; at < SIDE; at += STRIP) {
            wmma::fragment<wmma::matrix_a, 16, 16, 16, Half, Order> left;
            wmma::load_matrix_sync(left, mine + (by_row ? at : at * CELLS), CELLS);
#pragma unroll
            for (unsigned c = 0; c < TILES; c++) {
                wmma::fragment<wmma::matrix_b, 16, 16, 16, Half, wmma::row_major> right;
                wmma::load_matrix_sync(right, values + at * STRIDE + c * STRIP, STRIDE);
                wmma::mma_sync(sums[c], left, right, sums[c]);
            }
        }
    }

    // Writes the sums of the first `count` of the block's rows, each times its factor; `room` has
    // 64 × (WIDTH + 4) floats that nothing else uses any more.
    static __device__ __forceinline__ void write(Sums (&sums)[TILES], const float* factors,
                                                 unsigned count, float* room, Bf16* to,
                                                 size_t stride) {
        constexpr unsigned WIDE = WIDTH + 4;
        unsigned first = threadIdx.x / 32 * STRIP;
        float* strip = room + first * WIDE;
#pragma unroll
        for (unsigned c = 0; c < TILES; c++)
            wmma::store_matrix_sync(strip + c * STRIP, sums[c], WIDE, wmma::mem_row_major);
        __syncwarp();
        for (unsigned at = threadIdx.x % 32 * 4; at < STRIP * WIDTH; at += 128) {
            unsigned row = at / WIDTH, column = at % WIDTH;
            if (first + row >= count) break;
            float four[4], factor = factors ? factors[first + row] : 1.0f;
            read_quad(strip + row * WIDE + column, four);
#pragma unroll
            for (int i = 0; i < 4; i++) four[i] *= factor;
            write_some(four, 4, to + (first + row) * stride + column);
        }
    }
};
