// The cross-entropy of rows of logits, and their gradient in their place, or, in the class bf16,
// beside them; formulas and orders are those of cross_entropy.rs.
//
// Shapes: logits [m, v] of f32; ids, nll and entropy [m]; gradient [m, v], of f32 or of bf16. The
// products before and after are gemm.cu's, or a library's.
// Deterministic: a block of threads has one row; a maximum is exact in any order, exponentials are
// element by element, and sums over the row are those of the tree of 16 lanes.
// Bytes: 24 a logit, most of them from the cache; some 30 operations.
#include "elements.cuh"
#include "math.cuh"
#include "reduce.cuh"

constexpr unsigned IGNORE = 0xFFFFFFFFu;

__device__ __forceinline__ float sum_of(const float* row, unsigned v, unsigned lane) {
    return lane_sum(lane, v, [&](float sum, size_t at) { return sum + row[at]; });
}

// sum of exp(x - m) * (x - m).
__device__ __forceinline__ float sum_of_exp_times(const float* row, unsigned v, float m,
                                                  unsigned lane) {
    return lane_sum(lane, v, [&](float sum, size_t at) {
        float by = row[at] - m;
        return __fmaf_rn(exact_exp(by), by, sum);
    });
}

// `gradient` is null where none is wanted.
template <class T>
__device__ void score_row(float* logits, const unsigned* ids, float* nll, float* entropy,
                          unsigned v, float temperature, float weight, T* gradient) {
    __shared__ float room[32];
    __shared__ float sums[2];
    unsigned token = blockIdx.x, me = threadIdx.x, target = ids[token];
    float* row = logits + (size_t)token * v;
    T* to = gradient + (size_t)token * v;
    if (target == IGNORE) {
        for (unsigned at = me; gradient && at < v; at += blockDim.x) narrow(0.0f, &to[at]);
        if (me == 0) nll[token] = 0.0f;
        if (me == 0 && entropy) entropy[token] = 0.0f;
        return;
    }
    float largest = -__uint_as_float(0x7F800000u);
    for (unsigned at = me; at < v; at += blockDim.x) {
        float x = row[at];
        if (temperature != 1.0f) row[at] = x = __fdiv_rn(x, temperature);
        largest = x > largest ? x : largest;
    }
    float m = block_max(largest, room);
    float logit = row[target];
    if (entropy) {
        if (me < 32) {
            float s = sum_of_exp_times(row, v, m, me % LANES);
            if (me == 0) sums[1] = s;
        }
    }
    __syncthreads();
    for (unsigned at = me; at < v; at += blockDim.x) row[at] = exact_exp(row[at] - m);
    __syncthreads();
    if (me < 32) {
        float z = sum_of(row, v, me % LANES);
        if (me == 0) sums[0] = z;
    }
    __syncthreads();
    float z = sums[0];
    if (me == 0) {
        float ln_z = exact_ln(z);
        nll[token] = (m + ln_z) - logit;
        if (entropy) entropy[token] = ln_z - __fdiv_rn(sums[1], z);
    }
    if (!gradient) return;
    float inverse = __fdiv_rn(1.0f, z), scale = __fdiv_rn(weight, temperature);
    for (unsigned at = me; at < v; at += blockDim.x) {
        float probability = row[at] * inverse;
        narrow(at == target ? (probability - 1.0f) * scale : probability * scale, &to[at]);
    }
}

extern "C" __global__ void cross_entropy_score(float* logits, const unsigned* ids, float* nll,
                                               float* entropy, unsigned v, float temperature,
                                               float weight, float* gradient) {
    score_row(logits, ids, nll, entropy, v, temperature, weight, gradient);
}

extern "C" __global__ void cross_entropy_score_bf16(float* logits, const unsigned* ids, float* nll,
                                                    float* entropy, unsigned v,
                                                    float temperature, float weight,
                                                    Bf16* gradient) {
    score_row(logits, ids, nll, entropy, v, temperature, weight, gradient);
}

// Launch: a block of 256 threads for each row.
