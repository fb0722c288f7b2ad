// Rows of a table that tokens name, and the gradient of the table, as embedding.rs states them.
//
// Shapes: table [v, d] and out, dout [m, d], of f32 or of bf16; dtable of f32; ids [m]. `order`
// names the tokens sorted by id, those of an id ascending; `bounds` where each id's begin in it,
// and the end.
// Deterministic: a column of a row of the table is one thread's, which adds its tokens in order;
// no atomics.
// Bytes: 8 a number of out; backward 4 a number of dout and 8 of each row named.
#include "elements.cuh"

template <class T>
__device__ void gather(const T* __restrict__ table, const unsigned* __restrict__ ids,
                       T* __restrict__ out, unsigned d) {
    size_t token = blockIdx.x;
    const T* from = table + (size_t)ids[token] * d;
    for (unsigned at = 4 * threadIdx.x; at < d; at += 4 * blockDim.x) {
        float row[4];
        unsigned count = d - at < 4 ? d - at : 4;
        read_some(from + at, count, row);
        write_some(row, count, out + token * d + at);
    }
}

template <class T>
__device__ void backward(const unsigned* __restrict__ ids, const unsigned* __restrict__ order,
                         const unsigned* __restrict__ bounds, const T* __restrict__ dout,
                         float* __restrict__ dtable, unsigned d) {
    unsigned first = bounds[blockIdx.x], end = bounds[blockIdx.x + 1];
    float* to = dtable + (size_t)ids[order[first]] * d;
    for (unsigned at = 4 * threadIdx.x; at < d; at += 4 * blockDim.x) {
        float sum[4], row[4];
        unsigned count = d - at < 4 ? d - at : 4;
        read_some(to + at, count, sum);
        for (unsigned i = first; i < end; i++) {
            read_some(dout + (size_t)order[i] * d + at, count, row);
#pragma unroll
            for (int k = 0; k < 4; k++) sum[k] += row[k];
        }
        write_some(sum, count, to + at);
    }
}

extern "C" __global__ void embedding_gather(const float* table, const unsigned* ids, float* out,
                                            unsigned d) {
    gather(table, ids, out, d);
}

extern "C" __global__ void embedding_backward(const unsigned* ids, const unsigned* order,
                                              const unsigned* bounds, const float* dout,
                                              float* dtable, unsigned d) {
    backward(ids, order, bounds, dout, dtable, d);
}

extern "C" __global__ void embedding_gather_bf16(const Bf16* table, const unsigned* ids,
                                                 Bf16* out, unsigned d) {
    gather(table, ids, out, d);
}

extern "C" __global__ void embedding_backward_bf16(const unsigned* ids, const unsigned* order,
                                                   const unsigned* bounds, const Bf16* dout,
                                                   float* dtable, unsigned d) {
    backward(ids, order, bounds, dout, dtable, d);
}

// Launch: one block of 128 threads a token, or an id that occurs.
