// AdamW over many tensors at once, the pieces of a norm, and scaling; formulas and orders are those
// of adamw.rs.
//
// Shapes: tensors of any length, each with its gradient and two moments of the same length.
// Deterministic: a step is element by element; a piece of the norm is summed by the tree of 16
// lanes in f64, and the pieces are added on the host, ascending.
// Bytes: a step 28 a number (four read, three written), and 2 for its copy in the class bf16; the
// norm 4; some 20 operations a number.
#include "adamw.cuh"
#include "elements.cuh"
#include "reduce.cuh"

// One tensor of a step, as words of 8 bytes: five addresses, a length, and the bits of the factor
// that weight decay keeps of a weight. The copy in 16 bits is null where there is none.
struct Moved {
    float* weight;
    Bf16* copy;
    const float* gradient;
    float* first;
    float* second;
    size_t len;
    size_t keep;
};

extern "C" __global__ void adamw_step(const Moved* tensors, float rate, float root,
                                      float one_less_1, float one_less_2, float beta2, float eps,
                                      float scale) {
    Moved of = tensors[blockIdx.y];
    float keep = __uint_as_float((unsigned)of.keep);
    Constants by = {keep, rate, root, one_less_1, one_less_2, beta2, eps, scale};
    size_t stride = 4 * (size_t)gridDim.x * blockDim.x;
    size_t mine = 4 * ((size_t)blockIdx.x * blockDim.x + threadIdx.x);
    for (size_t at = mine; at < of.len; at += stride) {
        float p[4], g[4], m[4], v[4];
        unsigned count = of.len - at < 4 ? (unsigned)(of.len - at) : 4;
        read_some(of.weight + at, count, p);
        read_some(of.gradient + at, count, g);
        read_some(of.first + at, count, m);
        read_some(of.second + at, count, v);
#pragma unroll
        for (int i = 0; i < 4; i++) move_one(by, p[i], m[i], v[i], g[i]);
        write_some(p, count, of.weight + at);
        if (of.copy) write_some(p, count, of.copy + at);
        write_some(m, count, of.first + at);
        write_some(v, count, of.second + at);
    }
}

// A part of a tensor whose squares are summed by itself.
struct Piece {
    const float* numbers;
    size_t len;
};

extern "C" __global__ void squared_norm_pieces(const Piece* pieces, double* sums, unsigned count) {
    unsigned lane = threadIdx.x % LANES;
    unsigned mine = blockIdx.x * (blockDim.x / LANES) + threadIdx.x / LANES;
    // Those beyond the last work on the last again and write nothing.
    Piece piece = pieces[mine < count ? mine : count - 1];
    double sum = 0.0;
#pragma unroll 8
    for (size_t at = lane; at < piece.len; at += LANES) {
        double x = (double)piece.numbers[at];
        sum = __fma_rn(x, x, sum);
    }
    sum = fold_lanes(sum);
    if (mine < count && lane == 0) sums[mine] = sum;
}

template <class T> __device__ void scale_all(T* x, size_t len, float factor) {
    Four mine = my_four(len);
    float value[4];
    read_some(x + mine.first, mine.count, value);
#pragma unroll
    for (int at = 0; at < 4; at++) value[at] *= factor;
    write_some(value, mine.count, x + mine.first);
}

extern "C" __global__ void scale_by(float* x, size_t len, float factor) {
    scale_all(x, len, factor);
}

extern "C" __global__ void scale_by_bf16(Bf16* x, size_t len, float factor) {
    scale_all(x, len, factor);
}

// Launch: a step by blocks of 256 threads, a row of at most 1024 of them for each tensor, which
// walk over it; the norm by blocks of 256 that have sixteen pieces; scaling as swiglu.cu.
