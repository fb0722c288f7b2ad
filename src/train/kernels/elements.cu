// f32 rounded to bf16, and back: a copy of weights that an optimizer keeps as f32.
//
// Shapes: all [n]. No sums, so nothing depends on an order. Bytes: 6 a number.
#include "elements.cuh"

extern "C" __global__ void narrow_to_bf16(const float* from, Bf16* to, size_t len) {
    Four mine = my_four(len);
    float four[4];
    read_some(from + mine.first, mine.count, four);
    write_some(four, mine.count, to + mine.first);
}

extern "C" __global__ void widen_bf16(const Bf16* from, float* to, size_t len) {
    Four mine = my_four(len);
    float four[4];
    read_some(from + mine.first, mine.count, four);
    write_some(four, mine.count, to + mine.first);
}

// Launch: as swiglu.cu.
