// hidden = silu(gate) · up and back; the formulas are those of swiglu.rs.
//
// Shapes: all [n], of f32 or of bf16. No sums, so nothing depends on an order.
// Bytes: 12 a number of f32 forward, 20 backward, half of bf16; some 40 operations, far below what
// the bytes take.
#include "elements.cuh"
#include "math.cuh"

template <class T>
__device__ void forward(const T* gate, const T* up, T* hidden, size_t len) {
    Four mine = my_four(len);
    float g[4], u[4], h[4];
    read_some(gate + mine.first, mine.count, g);
    read_some(up + mine.first, mine.count, u);
#pragma unroll
    for (int at = 0; at < 4; at++) h[at] = (g[at] * exact_sigmoid(g[at])) * u[at];
    write_some(h, mine.count, hidden + mine.first);
}

template <class T>
__device__ void backward(const T* gate, const T* up, const T* dhidden, T* dgate, T* dup,
                         size_t len) {
    Four mine = my_four(len);
    float g[4], u[4], dh[4], dg[4], du[4];
    read_some(gate + mine.first, mine.count, g);
    read_some(up + mine.first, mine.count, u);
    read_some(dhidden + mine.first, mine.count, dh);
#pragma unroll
    for (int at = 0; at < 4; at++) {
        float sigma = exact_sigmoid(g[at]);
        float silu = g[at] * sigma;
        du[at] = dh[at] * silu;
        dg[at] = (dh[at] * u[at]) * __fmaf_rn(silu, 1.0f - sigma, sigma);
    }
    write_some(dg, mine.count, dgate + mine.first);
    write_some(du, mine.count, dup + mine.first);
}

extern "C" __global__ void swiglu_forward(const float* gate, const float* up, float* hidden,
                                          size_t len) {
    forward(gate, up, hidden, len);
}

extern "C" __global__ void swiglu_backward(const float* gate, const float* up,
                                           const float* dhidden, float* dgate, float* dup,
                                           size_t len) {
    backward(gate, up, dhidden, dgate, dup, len);
}

extern "C" __global__ void swiglu_forward_bf16(const Bf16* gate, const Bf16* up, Bf16* hidden,
                                               size_t len) {
    forward(gate, up, hidden, len);
}

extern "C" __global__ void swiglu_backward_bf16(const Bf16* gate, const Bf16* up,
                                                const Bf16* dhidden, Bf16* dgate, Bf16* dup,
                                                size_t len) {
    backward(gate, up, dhidden, dgate, dup, len);
}

// Launch: 256 threads of four numbers each, as many blocks as cover n.
