// Products of 16 × 16 × 16 on tensor cores, run on the host: lane l of a warp has the elements
// 8 · l to 8 · l + 7 of each fragment, by row, which no kernel may lean on. Lanes wait for each
// other after they read and before they write, so that neither takes the place of a barrier. Sums
// are in f32, the inner index ascending; a card has an order of its own, so what is tested is near,
// not equal.
#pragma once
#include "cuda_bf16.h"

namespace nvcuda {
namespace wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };

template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
    static_assert(M == 16 && N == 16 && K == 16, "the one shape that is used");
    static constexpr int num_elements = 8;
    T x[8];
};

inline unsigned first_of_lane() { return shim::current->number % 32 * 8; }

template <class Use, class T, class Layout>
void fill_fragment(fragment<Use, 16, 16, 16, T, Layout>& to, T value) {
    for (T& x : to.x) x = value;
}

template <class T> void check_place(const T* at, unsigned stride) {
    bool is_whole = stride * sizeof(T) % 16 == 0 && reinterpret_cast<size_t>(at) % 32 == 0;
    if (!is_whole) shim::refuse("a fragment that does not begin at a multiple of 32 bytes");
}

template <class Use, class T, class Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout>& to, const T* from, unsigned stride,
                      int line = __builtin_LINE()) {
    check_place(from, stride);
    for (unsigned i = 0; i < 8; i++) {
        unsigned at = first_of_lane() + i, row = at / 16, column = at % 16;
        bool by_row = std::is_same<Layout, row_major>::value;
        to.x[i] = from[by_row ? row * stride + column : column * stride + row];
    }
    shim::wait(shim::AT_WARP, ~0u, line);
}

template <class T>
void store_matrix_sync(T* to, const fragment<accumulator, 16, 16, 16, T>& from, unsigned stride,
                       layout_t layout, int line = __builtin_LINE()) {
    check_place(to, stride);
    shim::wait(shim::AT_WARP, ~0u, line);
    for (unsigned i = 0; i < 8; i++) {
        unsigned at = first_of_lane() + i, row = at / 16, column = at % 16;
        to[layout == mem_row_major ? row * stride + column : column * stride + row] = from.x[i];
    }
}

inline float value_of(__nv_bfloat16 x) { return __uint_as_float(unsigned(x.x) << 16); }

// The operands of each warp, whole.
static float operands[shim::THREADS / 32][2][256];

template <class A, class B, class C, class D>
void mma_sync(D& to, const A& a, const B& b, const C& c, int line = __builtin_LINE()) {
    auto& mine = operands[shim::current->number / 32];
    for (unsigned i = 0; i < 8; i++) {
        mine[0][first_of_lane() + i] = value_of(a.x[i]);
        mine[1][first_of_lane() + i] = value_of(b.x[i]);
    }
    shim::wait(shim::AT_WARP, ~0u, line);
    for (unsigned i = 0; i < 8; i++) {
        unsigned row = (first_of_lane() + i) / 16, column = (first_of_lane() + i) % 16;
        float sum = c.x[i];
        for (unsigned k = 0; k < 16; k++) sum += mine[0][row * 16 + k] * mine[1][k * 16 + column];
        to.x[i] = sum;
    }
    shim::wait(shim::AT_WARP, ~0u, line);
}

}  // namespace wmma
}  // namespace nvcuda
