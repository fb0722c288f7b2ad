// y = x · w / √(mean(x²) + ε), its gradients, and the residual addition; formulas and orders are
// those of rms_norm.rs.
//
// Shapes: x, y, dx, dy [m, d], of f32 or of bf16; w, dw [d] and a factor a token, of f32.
// Deterministic: a row is summed by the tree of 16 lanes, a column over tokens by one thread a
// block of tokens, and the blocks are added ascending by one thread.
// Bytes: forward 8 a number (a row is read twice, the second time from the cache), grad_input 12
// to 16, grad_weight 8; two to six operations a number.
#include "elements.cuh"
#include "reduce.cuh"

// The row of sixteen threads; those beyond the last work on the last again and write nothing.
struct Row {
    unsigned lane;
    size_t token;
    bool is_there;
};

__device__ __forceinline__ Row my_row(unsigned tokens) {
    unsigned row = blockIdx.x * (blockDim.x / LANES) + threadIdx.x / LANES;
    return {threadIdx.x % LANES, row < tokens ? row : tokens - 1, row < tokens};
}

template <class T>
__device__ void forward(const T* __restrict__ x, const float* __restrict__ weight, float eps,
                        T* __restrict__ y, float* __restrict__ inv_rms, unsigned tokens,
                        unsigned d) {
    Row row = my_row(tokens);
    x += row.token * d, y += row.token * d;
    float squares = lane_sum(row.lane, d, [&](float sum, size_t at) {
        float value = widen(x[at]);
        return __fmaf_rn(value, value, sum);
    });
    float inverse = 1.0f / __fsqrt_rn(squares / (float)d + eps);
    if (!row.is_there) return;
    if (row.lane == 0) inv_rms[row.token] = inverse;
    for (unsigned at = 4 * row.lane; at < d; at += 4 * LANES) {
        float value[4], w[4];
        unsigned count = d - at < 4 ? d - at : 4;
        read_some(x + at, count, value);
        read_some(weight + at, count, w);
#pragma unroll
        for (int i = 0; i < 4; i++) value[i] = (value[i] * inverse) * w[i];
        write_some(value, count, y + at);
    }
}

template <class T>
__device__ void grad_input(const T* __restrict__ dy, const T* __restrict__ x,
                           const float* __restrict__ weight, const float* __restrict__ inv_rms,
                           T* __restrict__ dx, unsigned tokens, unsigned d, unsigned add) {
    Row row = my_row(tokens);
    dy += row.token * d, x += row.token * d, dx += row.token * d;
    float dot = lane_sum(row.lane, d, [&](float sum, size_t at) {
        return __fmaf_rn(widen(dy[at]) * weight[at], widen(x[at]), sum);
    });
    float inverse = inv_rms[row.token];
    float c = inverse * inverse * inverse * (dot / (float)d);
    if (!row.is_there) return;
    for (unsigned at = 4 * row.lane; at < d; at += 4 * LANES) {
        float g[4], value[4], w[4], before[4];
        unsigned count = d - at < 4 ? d - at : 4;
        read_some(dy + at, count, g);
        read_some(x + at, count, value);
        read_some(weight + at, count, w);
        if (add) read_some(dx + at, count, before);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            value[i] = __fmaf_rn(value[i], -c, (g[i] * w[i]) * inverse);
            if (add) value[i] = before[i] + value[i];
        }
        write_some(value, count, dx + at);
    }
}

// Columns of one block of threads, and blocks of tokens that it sums at the same time.
constexpr unsigned COLUMNS = 32, TOGETHER = 8;

template <class T>
__device__ void grad_weight(const T* __restrict__ dy, const T* __restrict__ x,
                            const float* __restrict__ inv_rms,
                            const unsigned* __restrict__ bounds, unsigned blocks,
                            float* __restrict__ dw, unsigned d) {
    __shared__ float sums[TOGETHER][COLUMNS];
    unsigned mine = threadIdx.x / COLUMNS, lane = threadIdx.x % COLUMNS;
    unsigned column = blockIdx.x * COLUMNS + lane;
    float total = mine == 0 && column < d ? dw[column] : 0.0f;
    for (unsigned first = 0; first < blocks; first += TOGETHER) {
        unsigned block = first + mine;
        float sum = 0.0f;
        if (block < blocks && column < d) {
#pragma unroll 8
            for (unsigned token = bounds[block]; token < bounds[block + 1]; token++) {
                size_t at = (size_t)token * d + column;
                sum = __fmaf_rn(widen(dy[at]), widen(x[at]) * inv_rms[token], sum);
            }
        }
        sums[mine][lane] = sum;
        __syncthreads();
        if (mine == 0)
            for (unsigned i = 0; i < TOGETHER && first + i < blocks; i++) total += sums[i][lane];
        __syncthreads();
    }
    if (mine == 0 && column < d) dw[column] = total;
}

template <class T> __device__ void add(const T* x, T* y, size_t len) {
    Four mine = my_four(len);
    float a[4], b[4];
    read_some(x + mine.first, mine.count, a);
    read_some(y + mine.first, mine.count, b);
#pragma unroll
    for (int at = 0; at < 4; at++) b[at] += a[at];
    write_some(b, mine.count, y + mine.first);
}

extern "C" __global__ void rms_norm_forward(const float* x, const float* weight, float eps,
                                            float* y, float* inv_rms, unsigned tokens,
                                            unsigned d) {
    forward(x, weight, eps, y, inv_rms, tokens, d);
}

extern "C" __global__ void rms_norm_grad_input(const float* dy, const float* x,
                                               const float* weight, const float* inv_rms,
                                               float* dx, unsigned tokens, unsigned d,
                                               unsigned add) {
    grad_input(dy, x, weight, inv_rms, dx, tokens, d, add);
}

extern "C" __global__ void rms_norm_grad_weight(const float* dy, const float* x,
                                                const float* inv_rms, const unsigned* bounds,
                                                unsigned blocks, float* dw, unsigned d) {
    grad_weight(dy, x, inv_rms, bounds, blocks, dw, d);
}

extern "C" __global__ void residual_add(const float* x, float* y, size_t len) { add(x, y, len); }

extern "C" __global__ void rms_norm_forward_bf16(const Bf16* x, const float* weight, float eps,
                                                 Bf16* y, float* inv_rms, unsigned tokens,
                                                 unsigned d) {
    forward(x, weight, eps, y, inv_rms, tokens, d);
}

extern "C" __global__ void rms_norm_grad_input_bf16(const Bf16* dy, const Bf16* x,
                                                    const float* weight, const float* inv_rms,
                                                    Bf16* dx, unsigned tokens, unsigned d,
                                                    unsigned add) {
    grad_input(dy, x, weight, inv_rms, dx, tokens, d, add);
}

extern "C" __global__ void rms_norm_grad_weight_bf16(const Bf16* dy, const Bf16* x,
                                                     const float* inv_rms,
                                                     const unsigned* bounds, unsigned blocks,
                                                     float* dw, unsigned d) {
    grad_weight(dy, x, inv_rms, bounds, blocks, dw, d);
}

extern "C" __global__ void residual_add_bf16(const Bf16* x, Bf16* y, size_t len) {
    add(x, y, len);
}

// Launch: rows by blocks of 256 threads, which have sixteen of them; columns by blocks of 256, of
// which every warp has the same 32; residual_add as swiglu.cu.
