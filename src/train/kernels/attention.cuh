// Parts of the attention kernels: 64 rows of a head in shared memory, the products of two such, and
// sums of rows weighted by such products. A block has 256 threads; thread (y, x) has the rows
// y, y + 16, y + 32, y + 48 and of the other side x, x + 16, x + 32, x + 48, so that its reads of
// four neighbours fall into different banks.
#pragma once
#include "elements.cuh"
#include "math.cuh"
#include "reduce.cuh"

constexpr unsigned SIDE = 64, CELLS = SIDE + 4, KEY_BLOCK = 256;

// Queries that are worked on together: their first row, how many there are, the row of the first
// key, and how many keys the last of them sees.
struct Queries {
    unsigned first, rows, first_key, keys;

    // How many keys query i of them sees.
    __device__ __forceinline__ unsigned seen(unsigned i) const { return keys - rows + i + 1; }
};

// Heads as they lie: a row of q has `query` of them, a row of k or v `kv`.
struct Heads {
    unsigned query, kv;

    __device__ __forceinline__ unsigned group() const { return query / kv; }
};

template <unsigned WIDTH> struct Head {
    static constexpr unsigned STRIDE = WIDTH + 4, COLUMNS = WIDTH / 16;
    static constexpr unsigned RUN = COLUMNS < 4 ? COLUMNS : 4;
    using Rows = float[4][COLUMNS];

    // Where this thread's column c stands in a row.
    static __device__ __forceinline__ unsigned column(unsigned c) {
        return c / RUN * 16 * RUN + threadIdx.x % 16 * RUN + c % RUN;
    }

    // Rows of one head to shared memory; zeros beyond `count`.
    static __device__ __forceinline__ void load(const float* __restrict__ from, size_t stride,
                                                unsigned count, float* to) {
#pragma unroll 4
        for (unsigned quad = threadIdx.x; quad < SIDE * WIDTH / 4; quad += 256) {
            unsigned row = quad / (WIDTH / 4), at = quad % (WIDTH / 4) * 4;
            float four[4];
            read_some(from + row * stride + at, row < count ? 4 : 0, four);
            write_quad(four, to + row * STRIDE + at);
        }
    }

    // out[i][j] = Σ a · b over the width, by FMA in ascending order from zero.
    static __device__ __forceinline__ void products(const float* a, const float* b,
                                                    float (&out)[4][4]) {
        const float* left = a + threadIdx.x / 16 * STRIDE;
        const float* right = b + threadIdx.x % 16 * STRIDE;
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) out[i][j] = 0.0f;
#pragma unroll 1
        for (unsigned at = 0; at < WIDTH; at += 4) {
            float of_a[4][4], of_b[4][4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                read_quad(left + 16 * i * STRIDE + at, of_a[i]);
                read_quad(right + 16 * i * STRIDE + at, of_b[i]);
            }
#pragma unroll
            for (int d = 0; d < 4; d++)
#pragma unroll
                for (int i = 0; i < 4; i++)
#pragma unroll
                    for (int j = 0; j < 4; j++)
                        out[i][j] = __fmaf_rn(of_a[i][d], of_b[j][d], out[i][j]);
        }
    }

    // One row of values, weighted.
    static __device__ __forceinline__ void add_row(const float (&weight)[4], const float* row,
                                                   Rows& sum) {
        float value[COLUMNS];
#pragma unroll
        for (unsigned c = 0; c < COLUMNS; c += RUN) {
            const float* from = row + column(c);
            if (RUN == 4) {
                read_quad(from, value + c);
            } else {
#pragma unroll
                for (unsigned i = 0; i < RUN; i++) value[c + i] = from[i];
            }
        }
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (unsigned c = 0; c < COLUMNS; c++)
                sum[i][c] = __fmaf_rn(weight[i], value[c], sum[i][c]);
    }

    // sum[i][c] += Σ weights[row i][at] · values[at][column c] over the first `count`, by FMA in
    // ascending order.
    static __device__ __forceinline__ void weigh(const float* weights, const float* values,
                                                 unsigned count, Rows& sum) {
        const float* mine = weights + threadIdx.x / 16 * CELLS;
        unsigned at = 0;
        for (; at + 4 <= count; at += 4) {
            float four[4][4];
#pragma unroll
            for (int i = 0; i < 4; i++) read_quad(mine + 16 * i * CELLS + at, four[i]);
#pragma unroll
            for (int d = 0; d < 4; d++) {
                float weight[4] = {four[0][d], four[1][d], four[2][d], four[3][d]};
                add_row(weight, values + (at + d) * STRIDE, sum);
            }
        }
        for (; at < count; at++) {
            float weight[4];
#pragma unroll
            for (int i = 0; i < 4; i++) weight[i] = mine[16 * i * CELLS + at];
            add_row(weight, values + at * STRIDE, sum);
        }
    }

    static __device__ __forceinline__ void clear(Rows& rows) {
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (unsigned c = 0; c < COLUMNS; c++) rows[i][c] = 0.0f;
    }

    // Adds a finished block of a sum, and begins the next.
    static __device__ __forceinline__ void close(Rows& total, Rows& sum) {
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (unsigned c = 0; c < COLUMNS; c++) {
                total[i][c] += sum[i][c];
                sum[i][c] = 0.0f;
            }
    }

    // Writes the first `count` rows, each times its factor.
    static __device__ __forceinline__ void write(const Rows& rows, const float (&factor)[4],
                                                 unsigned count, float* to, size_t stride) {
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            unsigned row = threadIdx.x / 16 + 16 * i;
            if (row >= count) continue;
#pragma unroll
            for (unsigned c = 0; c < COLUMNS; c++)
                to[row * stride + column(c)] = rows[i][c] * factor[i];
        }
    }
};
