// The gains of DoRA and their gradients, as dora.rs states them.
//
// Shapes: y, z, dy [m, o]; gains, norms, magnitudes [o]; cross = A Wᵀ [r, o], square = A Aᵀ [r, r],
// b [o, r]; squares, the ‖W‖² of each output, [o] of f64, from w [o, i] once.
// Deterministic: every sum is one thread's, ascending; no atomics.
// Bytes: 8 a number forward, 12 backward; norms 8 · r an output.
#include "nf4.cuh"

// Gains of all outputs.
extern "C" __global__ void dora_gains(const float* magnitudes, const float* norms, float* gains,
                                      unsigned outputs) {
    unsigned at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < outputs) gains[at] = magnitudes[at] / norms[at];
}

extern "C" __global__ void dora_gain(float* y, const float* gains, size_t len, unsigned outputs) {
    Four mine = my_four(len);
    float four[4];
    read_some(y + mine.first, mine.count, four);
#pragma unroll
    for (unsigned i = 0; i < 4; i++)
        if (i < mine.count) four[i] = four[i] * gains[(mine.first + i) % outputs];
    write_some(four, mine.count, y + mine.first);
}

// Adds to the gradient of the magnitudes, and turns z into dz.
extern "C" __global__ void dora_backward(const float* __restrict__ dy, float* __restrict__ z,
                                         const float* __restrict__ gains,
                                         const float* __restrict__ norms,
                                         float* __restrict__ dmagnitudes, unsigned tokens,
                                         unsigned outputs) {
    unsigned output = blockIdx.x * blockDim.x + threadIdx.x;
    if (output >= outputs) return;
    float sum = dmagnitudes[output], norm = norms[output], gain = gains[output];
#pragma unroll 8
    for (unsigned token = 0; token < tokens; token++) {
        size_t at = (size_t)token * outputs + output;
        sum += dy[at] * z[at] / norm;
        z[at] = dy[at] * gain;
    }
    dmagnitudes[output] = sum;
}

// Columns that a warp brings to shared memory, each of its threads then reading a row of its own.
constexpr unsigned SIDE = 32;

template <class Weight>
__device__ __forceinline__ void row_squares(const Weight& w, double* squares, unsigned outputs,
                                            unsigned inputs) {
    __shared__ float tile[SIDE][SIDE + 1];
    unsigned output = blockIdx.x * SIDE + threadIdx.x;
    double sum = 0.0;
    for (unsigned first = 0; first < inputs; first += SIDE) {
        for (unsigned quad = threadIdx.x; quad < SIDE * SIDE / 4; quad += SIDE) {
            unsigned row = quad / (SIDE / 4), at = quad % (SIDE / 4) * 4;
            unsigned left = first + at < inputs ? inputs - first - at : 0;
            unsigned count = blockIdx.x * SIDE + row >= outputs ? 0 : left < 4 ? left : 4;
            w.quad(blockIdx.x * SIDE + row, first + at, count, &tile[row][at]);
        }
        __syncthreads();
        for (unsigned at = 0; at < SIDE && first + at < inputs; at++) {
            double x = (double)tile[threadIdx.x][at];
            sum += x * x;
        }
        __syncthreads();
    }
    if (output < outputs) squares[output] = sum;
}

// Rows of f32 as they lie; a tile's rows begin at places that are not aligned.
struct Plain {
    const float* __restrict__ data;
    size_t stride;

    __device__ __forceinline__ void quad(size_t line, size_t at, unsigned count, float* to) const {
        for (unsigned i = 0; i < 4; i++) to[i] = i < count ? data[line * stride + at + i] : 0.0f;
    }
};

extern "C" __global__ void dora_row_squares(const float* w, double* squares, unsigned outputs,
                                            unsigned inputs) {
    row_squares(Plain{w, inputs}, squares, outputs, inputs);
}

extern "C" __global__ void nf4_dora_row_squares(const unsigned char* packed,
                                                const unsigned char* codes, const float* scales,
                                                const float* map, float offset, double* squares,
                                                unsigned outputs, unsigned inputs) {
    __shared__ float values[16];
    set_values(values);
    Nf4 w = {packed, codes, scales, map, offset, values, inputs};
    row_squares(w, squares, outputs, inputs);
}

extern "C" __global__ void dora_norms(const double* __restrict__ squares,
                                      const float* __restrict__ b,
                                      const float* __restrict__ cross,
                                      const float* __restrict__ square, double scale,
                                      float* __restrict__ norms, unsigned outputs,
                                      unsigned rank) {
    unsigned output = blockIdx.x * blockDim.x + threadIdx.x;
    if (output >= outputs) return;
    const float* row = b + (size_t)output * rank;
    double sum = squares[output];
    for (unsigned k = 0; k < rank; k++) {
        double inner = 0.0;
        for (unsigned l = 0; l < rank; l++) inner += (double)row[l] * (double)square[k * rank + l];
        double twice = 2.0 * (double)cross[(size_t)k * outputs + output];
        sum += scale * (double)row[k] * (twice + scale * inner);
    }
    norms[output] = (float)__dsqrt_rn(sum > 0.0 ? sum : 0.0);
}

// Launch: 256 threads; row_squares by blocks of one warp, which has 32 rows.
