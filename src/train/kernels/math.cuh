// The functions of math.rs, operation by operation; the bounds and the errors are stated there.
// Compiled without contraction (-fmad=false): what is one rounding is written as one.
#pragma once

// e^x as 2^n · e^r with |r| ≤ ln 2 / 2 and the Taylor polynomial of degree 7.
__device__ __forceinline__ float exact_exp(float x) {
    float clamped = x > 88.37f ? 88.37f : x;
    float shifted = __fmaf_rn(clamped, 1.44269504088896340736f, 12582912.0f);
    float n = shifted - 12582912.0f;
    float r = __fmaf_rn(n, -0.6933594f, clamped);
    r = __fmaf_rn(n, 2.1219444e-4f, r);
    float p = 1.0f / 5040.0f;
    p = __fmaf_rn(r, p, 1.0f / 720.0f);
    p = __fmaf_rn(r, p, 1.0f / 120.0f);
    p = __fmaf_rn(r, p, 1.0f / 24.0f);
    p = __fmaf_rn(r, p, 1.0f / 6.0f);
    p = __fmaf_rn(r, p, 1.0f / 2.0f);
    p = __fmaf_rn(r, p, 1.0f);
    p = __fmaf_rn(r, p, 1.0f);
    float scale = __uint_as_float((__float_as_uint(shifted) << 23) + 0x3F800000u);
    return x < -87.33f ? 0.0f : p * scale;
}

// 1 / (1 + e^-x).
__device__ __forceinline__ float exact_sigmoid(float x) { return 1.0f / (1.0f + exact_exp(-x)); }

// The natural logarithm, in f64 and rounded once: e · ln 2 + 2 artanh(f / (2 + f)).
__device__ inline float exact_ln(float of) {
    // A NaN stays one, as does infinity.
    float normal = of < 1.17549435e-38f ? 1.17549435e-38f : of;
    if (!(normal < __uint_as_float(0x7F800000u))) return normal;
    unsigned long long bits = (unsigned long long)__double_as_longlong((double)normal);
    unsigned long long fraction = bits & 0x000FFFFFFFFFFFFFull;
    unsigned long long above = fraction >= 0x0006A09E667F3BCDull ? 1 : 0;
    double e = (double)((bits >> 52) + above) - 1023.0;
    double f = __longlong_as_double((long long)(fraction | ((1023 - above) << 52))) - 1.0;
    double s = f / (2.0 + f);
    double z = s * s;
    double p = 0.0;
#pragma unroll
    for (int k = 11; k >= 1; k--) p = __fma_rn(z, p, 1.0 / (double)(2 * k + 1));
    double artanh = __fma_rn(s * z, p, s);
    const double high = 0.6931471803691238, low = 1.9082149292705877e-10;
    return (float)__fma_rn(e, high, __fma_rn(e, low, 2.0 * artanh));
}
