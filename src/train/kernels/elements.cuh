// Numbers as they lie in memory, widened to f32 where they are used: four neighbours are read or
// written at once where they are aligned.
#pragma once

// Sixteen bits of an f32, rounded to nearest, ties to even.
struct Bf16 {
    unsigned short bits;
};

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(Bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }

__device__ __forceinline__ void narrow(float x, float* to) { *to = x; }
__device__ __forceinline__ void narrow(float x, Bf16* to) {
    unsigned bits = __float_as_uint(x);
    bool is_nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
    unsigned rounded = bits + 0x7FFFu + (bits >> 16 & 1);
    to->bits = (unsigned short)(is_nan ? bits >> 16 | 0x40u : rounded >> 16);
}

// What a first partial sum is added to so that it keeps its bits, the sign of a zero included.
constexpr float NOTHING = -0.0f;

// Whether four numbers from here on are one load.
template <class T> __device__ __forceinline__ bool is_aligned(const T* at) {
    return (size_t)at % (4 * sizeof(T)) == 0;
}

__device__ __forceinline__ void read_quad(const float* from, float* to) {
    float4 quad = *reinterpret_cast<const float4*>(from);
    to[0] = quad.x, to[1] = quad.y, to[2] = quad.z, to[3] = quad.w;
}
__device__ __forceinline__ void read_quad(const Bf16* from, float* to) {
    uint2 quad = *reinterpret_cast<const uint2*>(from);
    to[0] = __uint_as_float(quad.x << 16), to[1] = __uint_as_float(quad.x & 0xFFFF0000u);
    to[2] = __uint_as_float(quad.y << 16), to[3] = __uint_as_float(quad.y & 0xFFFF0000u);
}

__device__ __forceinline__ void write_quad(const float* from, float* to) {
    *reinterpret_cast<float4*>(to) = float4{from[0], from[1], from[2], from[3]};
}
__device__ __forceinline__ void write_quad(const float* from, Bf16* to) {
    Bf16 half[4];
#pragma unroll
    for (int at = 0; at < 4; at++) narrow(from[at], &half[at]);
    uint2 quad = {half[0].bits | (unsigned)half[1].bits << 16,
                  half[2].bits | (unsigned)half[3].bits << 16};
    *reinterpret_cast<uint2*>(to) = quad;
}

// The first `count` of four numbers; zeros instead of the others.
template <class T>
__device__ __forceinline__ void read_some(const T* from, unsigned count, float* to) {
    if (count == 4 && is_aligned(from)) return read_quad(from, to);
#pragma unroll
    for (unsigned at = 0; at < 4; at++) to[at] = at < count ? widen(from[at]) : 0.0f;
}

template <class T>
__device__ __forceinline__ void write_some(const float* from, unsigned count, T* to) {
    if (count == 4 && is_aligned(to)) return write_quad(from, to);
#pragma unroll
    for (unsigned at = 0; at < 4; at++)
        if (at < count) narrow(from[at], &to[at]);
}

// The four numbers of this thread of a kernel over `len` of them: where they begin and how many
// there are.
struct Four {
    size_t first;
    unsigned count;
};

__device__ __forceinline__ Four my_four(size_t len) {
    size_t first = 4 * ((size_t)blockIdx.x * blockDim.x + threadIdx.x);
    size_t left = first < len ? len - first : 0;
    return {first, left < 4 ? (unsigned)left : 4};
}
