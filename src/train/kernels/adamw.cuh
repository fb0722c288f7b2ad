// What a step of AdamW does to each number, as adamw.rs states it.
#pragma once

struct Constants {
    float keep, rate, root, one_less_1, one_less_2, beta2, eps, scale;
};

__device__ __forceinline__ void move_one(const Constants& by, float& p, float& m, float& v,
                                         float g) {
    g = g * by.scale;
    m = __fmaf_rn(by.one_less_1, g - m, m);
    v = __fmaf_rn(by.one_less_2 * g, g, by.beta2 * v);
    float denominator = __fsqrt_rn(v) / by.root + by.eps;
    p = __fmaf_rn(by.rate, m / denominator, p * by.keep);
}
