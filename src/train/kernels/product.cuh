// One tile of c = (or +=) a · b by the rule of gemm/mod.rs: every element is one thread's, which
// sums by FMA over the inner index in ascending order inside blocks, each from zero, and adds the
// blocks ascending. Tiles, edges and threads never split a sum.
//
// Both tiles of the inner loop lie in shared memory by inner index, twice: while one is multiplied,
// the next is on its way through registers. A thread has squares of 4 × 4 elements, so that each of
// its reads is four neighbours.
#pragma once
#include "elements.cuh"

// Numbers by line, as they lie.
template <class T> struct Dense {
    const T* __restrict__ data;
    size_t stride;

    // The first `count` of four numbers of a line; zeros instead of the others.
    __device__ __forceinline__ void quad(size_t line, size_t at, unsigned count, float* to) const {
        read_some(data + line * stride + at, count, to);
    }
};

// The longest run of FMAs into one partial sum.
constexpr unsigned BLOCK = 256;

// The inner index in blocks: of 256, or as `bounds` has them; those before `first` are left out.
struct Inner {
    unsigned len, blocks;
    const unsigned* bounds;
    unsigned first;

    __device__ __forceinline__ unsigned end(unsigned block) const {
        if (bounds) return bounds[block + 1];
        return (block + 1) * BLOCK < len ? (block + 1) * BLOCK : len;
    }
};

__device__ __forceinline__ Inner blocks_of(unsigned len) {
    return {len, (len + BLOCK - 1) / BLOCK, nullptr, 0};
}

// One of the blocks of 256.
__device__ __forceinline__ Inner block_of(unsigned len, unsigned block) {
    return {len, block + 1, nullptr, block};
}

// A SIDE × SIDE tile of c and DEPTH inner indices at a time, by 256 threads.
template <int SIDE, int DEPTH> struct Tile {
    static constexpr int STRIDE = SIDE + 4, SQUARES = SIDE / 64, QUADS = SIDE * DEPTH / 1024;
    static constexpr int FLOATS = DEPTH * STRIDE;
    using Registers = float[QUADS][4];

    // Reads DEPTH × SIDE numbers of an operand: `along`, its lines run along the inner index.
    template <bool along, class Source>
    static __device__ __forceinline__ void read(const Source& from, unsigned first, unsigned limit,
                                                unsigned inner, unsigned len, Registers& to) {
#pragma unroll
        for (int i = 0; i < QUADS; i++) {
            unsigned quad = threadIdx.x + 256 * i;
            unsigned outer = along ? quad / (DEPTH / 4) : quad % (SIDE / 4) * 4;
            unsigned deep = along ? quad % (DEPTH / 4) * 4 : quad / (SIDE / 4);
            unsigned left = first + outer < limit ? limit - first - outer : 0;
            unsigned deeper = deep < len ? len - deep : 0;
            unsigned run = along ? deeper : left, other = along ? left : deeper;
            unsigned count = other == 0 ? 0 : run < 4 ? run : 4;
            size_t line = along ? first + outer : inner + deep;
            size_t at = along ? inner + deep : first + outer;
            from.quad(line, at, count, to[i]);
        }
    }

    template <bool along>
    static __device__ __forceinline__ void store(const Registers& from, float* tile) {
#pragma unroll
        for (int i = 0; i < QUADS; i++) {
            unsigned quad = threadIdx.x + 256 * i;
            if (along) {
                float* to = tile + quad % (DEPTH / 4) * 4 * STRIDE + quad / (DEPTH / 4);
#pragma unroll
                for (int k = 0; k < 4; k++) to[k * STRIDE] = from[i][k];
            } else {
                write_quad(from[i], tile + quad / (SIDE / 4) * STRIDE + quad % (SIDE / 4) * 4);
            }
        }
    }

    // One step of every sum of this thread.
    static __device__ __forceinline__ void step(const float* a, const float* b, unsigned deep,
                                                float (&sum)[4 * SQUARES][4 * SQUARES]) {
        float left[4 * SQUARES], right[4 * SQUARES];
#pragma unroll
        for (int i = 0; i < SQUARES; i++) {
            read_quad(a + deep * STRIDE + threadIdx.x / 16 * 4 + 64 * i, left + 4 * i);
            read_quad(b + deep * STRIDE + threadIdx.x % 16 * 4 + 64 * i, right + 4 * i);
        }
#pragma unroll
        for (int i = 0; i < 4 * SQUARES; i++)
#pragma unroll
            for (int j = 0; j < 4 * SQUARES; j++)
                sum[i][j] = __fmaf_rn(left[i], right[j], sum[i][j]);
    }

    // Calls `each(row, column, count, i, j)` for every four neighbours that this thread has of the
    // tile, which are its elements [i][j] and on.
    template <class Each>
    static __device__ __forceinline__ void visit(unsigned m, unsigned n, Each each) {
#pragma unroll
        for (int i = 0; i < 4 * SQUARES; i++)
#pragma unroll
            for (int j = 0; j < SQUARES; j++) {
                unsigned row = blockIdx.y * SIDE + threadIdx.x / 16 * 4 + i / 4 * 64 + i % 4;
                unsigned column = blockIdx.x * SIDE + threadIdx.x % 16 * 4 + j * 64;
                unsigned left = row < m && column < n ? n - column : 0;
                if (left > 0) each(row, column, left < 4 ? left : 4, i, 4 * j);
            }
    }
};

// A tile under way: where it stands in c, its sums, and which of the two copies of the operands'
// tiles was written last.
template <int SIDE, int DEPTH> struct Sums {
    using Of = Tile<SIDE, DEPTH>;
    float (*tiles)[2][Of::FLOATS];
    unsigned m, n, turn;
    float total[4 * Of::SQUARES][4 * Of::SQUARES];

    __device__ __forceinline__ void begin(const float* c, bool add) {
        turn = 1;
#pragma unroll
        for (int i = 0; i < 4 * Of::SQUARES; i++)
#pragma unroll
            for (int j = 0; j < 4 * Of::SQUARES; j++) total[i][j] = NOTHING;
        if (!add) return;
        Of::visit(m, n, [&](unsigned row, unsigned column, unsigned count, int i, int j) {
            read_some(c + (size_t)row * n + column, count, &total[i][j]);
        });
    }

    // Adds a · b, block by block. `along_a` and `along_b`: whether the lines of the operand run
    // along the inner index.
    template <bool along_a, bool along_b, class A, class B>
    __device__ __forceinline__ void add(const A& a, const B& b, Inner inner) {
        float sum[4 * Of::SQUARES][4 * Of::SQUARES] = {};
        typename Of::Registers next_a, next_b;
        auto fetch = [&](unsigned at, unsigned end) {
            unsigned len = end - at < DEPTH ? end - at : DEPTH;
            Of::template read<along_a>(a, blockIdx.y * SIDE, m, at, len, next_a);
            Of::template read<along_b>(b, blockIdx.x * SIDE, n, at, len, next_b);
        };
        auto keep = [&] {
            turn ^= 1;
            Of::template store<along_a>(next_a, tiles[turn][0]);
            Of::template store<along_b>(next_b, tiles[turn][1]);
            __syncthreads();
        };
        unsigned block = inner.first, at = block * BLOCK, end = inner.end(block);
        fetch(at, end);
        keep();
        for (;;) {
            unsigned len = end - at < DEPTH ? end - at : DEPTH;
            bool closes = at + len == end;
            at += len;
            if (closes && ++block < inner.blocks) end = inner.end(block);
            bool more = block < inner.blocks;
            if (more) fetch(at, end);
            const float *left = tiles[turn][0], *right = tiles[turn][1];
            if (len == DEPTH) {
                // Not unrolled further: the registers hold two tiles of sums.
#pragma unroll 2
                for (unsigned deep = 0; deep < DEPTH; deep++) Of::step(left, right, deep, sum);
            } else {
                for (unsigned deep = 0; deep < len; deep++) Of::step(left, right, deep, sum);
            }
            if (closes) {
#pragma unroll
                for (int i = 0; i < 4 * Of::SQUARES; i++)
#pragma unroll
                    for (int j = 0; j < 4 * Of::SQUARES; j++) {
                        total[i][j] += sum[i][j];
                        sum[i][j] = 0.0f;
                    }
            }
            if (!more) break;
            keep();
        }
    }

    __device__ __forceinline__ void write(float* c) {
        Of::visit(m, n, [&](unsigned row, unsigned column, unsigned count, int i, int j) {
            write_some(&total[i][j], count, c + (size_t)row * n + column);
        });
    }
};

template <int SIDE, int DEPTH, bool along_a, bool along_b, class A, class B>
__device__ __forceinline__ void product(const A& a, const B& b, float* __restrict__ c, unsigned m,
                                        unsigned n, Inner inner, bool add) {
    __shared__ float4 tiles[Tile<SIDE, DEPTH>::FLOATS];
    using Tiles = float(*)[2][Tile<SIDE, DEPTH>::FLOATS];
    Sums<SIDE, DEPTH> sums = {reinterpret_cast<Tiles>(tiles), m, n};
    sums.begin(c, add);
    sums.template add<along_a, along_b>(a, b, inner);
    sums.write(c);
}

// The same of two products, the second added to the first.
template <int SIDE, int DEPTH, bool along_a, bool along_b, class A, class B, class C, class D>
__device__ __forceinline__ void two_products(const A& a, const B& b, Inner inner, const C& second_a,
                                             const D& second_b, Inner second,
                                             float* __restrict__ c, unsigned m, unsigned n,
                                             bool add) {
    __shared__ float4 tiles[Tile<SIDE, DEPTH>::FLOATS];
    using Tiles = float(*)[2][Tile<SIDE, DEPTH>::FLOATS];
    Sums<SIDE, DEPTH> sums = {reinterpret_cast<Tiles>(tiles), m, n};
    sums.begin(c, add);
    sums.template add<along_a, along_b>(a, b, inner);
    sums.template add<along_a, along_b>(second_a, second_b, second);
    sums.write(c);
}
