// A made-up cuBLASLt beside the made-up driver: products of column-major matrices as they are told,
// each sum in ascending order in f32. It refuses what it is not asked for here, and wants every
// description given back.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID = 7, UNSUPPORTED = 15, F32 = 0, BF16 = 14, COMPUTE_F32 = 68 };
enum { DESCRIPTIONS = 1 << 16 };

typedef struct { int type; uint64_t rows, columns; int64_t stride; } Layout;
typedef struct { int turned[2]; } Product;
typedef struct { uint64_t workspace; unsigned splits, alignment[4]; } Wishes;
// An algorithm as the library hands it out: what it was chosen for.
typedef struct { uint64_t data[8]; } Algorithm;
typedef struct { Algorithm of; size_t workspace; int state; float waves; int more[4]; } Found;

int cuStreamSynchronize(void* stream);
static long left, handles;

static int made(void** out, size_t bytes) {
    __atomic_add_fetch(&left, 1, __ATOMIC_SEQ_CST);
    return *out = calloc(1, bytes), OK;
}
static int gone(void* thing) {
    __atomic_sub_fetch(&left, 1, __ATOMIC_SEQ_CST);
    return free(thing), OK;
}

int cublasLtCreate(void** out) {
    __atomic_add_fetch(&handles, 1, __ATOMIC_SEQ_CST);
    return made(out, 1);
}
int cublasLtDestroy(void* handle) {
    gone(handle);
    if (__atomic_sub_fetch(&handles, 1, __ATOMIC_SEQ_CST) || left == 0) return OK;
    fprintf(stderr, "made-up cuBLASLt: %ld descriptions are left\n", left);
    abort();
}

int cublasLtMatrixLayoutCreate(Layout** out, int type, uint64_t rows, uint64_t columns,
                               int64_t stride) {
    if (type != F32 && type != BF16) return UNSUPPORTED;
    if (rows == 0 || columns == 0 || (uint64_t)stride < rows) return INVALID;
    made((void**)out, sizeof **out);
    **out = (Layout){type, rows, columns, stride};
    return OK;
}
int cublasLtMatrixLayoutDestroy(Layout* layout) { return gone(layout); }

int cublasLtMatmulDescCreate(Product** out, int compute, int scale) {
    if (compute != COMPUTE_F32 || scale != F32) return UNSUPPORTED;
    return made((void**)out, sizeof **out);
}
int cublasLtMatmulDescSetAttribute(Product* product, int which, const int* value, size_t bytes) {
    // Whether the first factor is transposed, and the second.
    if ((which != 3 && which != 4) || bytes != 4 || *value < 0 || *value > 1) return INVALID;
    return product->turned[which - 3] = *value, OK;
}
int cublasLtMatmulDescDestroy(Product* product) { return gone(product); }

int cublasLtMatmulPreferenceCreate(Wishes** out) {
    made((void**)out, sizeof **out);
    (*out)->splits = 7;
    return OK;
}
int cublasLtMatmulPreferenceSetAttribute(Wishes* wishes, int which, const void* value,
                                         size_t bytes) {
    unsigned number;
    memcpy(&number, value, sizeof number);
    if (which == 1 && bytes == 8) memcpy(&wishes->workspace, value, bytes);
    else if (which == 3 && bytes == 4) wishes->splits = number;
    else if (which >= 5 && which <= 8 && bytes == 4) wishes->alignment[which - 5] = number;
    else return INVALID;
    return OK;
}
int cublasLtMatmulPreferenceDestroy(Wishes* wishes) { return gone(wishes); }

int cublasLtMatmulAlgoGetHeuristic(void* handle, const Product* product, const Layout* a,
                                   const Layout* b, const Layout* c, const Layout* d,
                                   const Wishes* wishes, int asked, Found* out, int* found) {
    (void)handle, (void)product, (void)c;
    // Sums that are split have an order that nothing guarantees.
    if (asked != 1 || wishes->splits != 0 || !wishes->workspace) return UNSUPPORTED;
    memset(out, 0, sizeof *out);
    uint64_t chosen[] = {a->rows, a->columns, b->rows, b->columns, d->rows, d->columns,
                         wishes->alignment[0] | (uint64_t)wishes->alignment[1] << 32,
                         wishes->alignment[2] | (uint64_t)wishes->alignment[3] << 32};
    memcpy(out->of.data, chosen, sizeof chosen);
    return *found = 1, OK;
}

static float number(const Layout* layout, const void* at, uint64_t row, uint64_t column) {
    uint64_t place = row + column * (uint64_t)layout->stride;
    float value;
    if (layout->type == F32) return ((const float*)at)[place];
    uint32_t bits = (uint32_t)((const uint16_t*)at)[place] << 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static void put(const Layout* layout, void* at, uint64_t row, uint64_t column, float value) {
    uint64_t place = row + column * (uint64_t)layout->stride;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (layout->type == F32) ((float*)at)[place] = value;
    else ((uint16_t*)at)[place] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

int cublasLtMatmul(void* handle, const Product* product, const float* alpha, const void* a,
                   const Layout* of_a, const void* b, const Layout* of_b, const float* beta,
                   const void* c, const Layout* of_c, void* d, const Layout* of_d,
                   const Algorithm* algorithm, void* workspace, size_t bytes, void* stream) {
    (void)handle;
    const int* turned = product->turned;
    uint64_t rows = turned[0] ? of_a->columns : of_a->rows;
    uint64_t inner = turned[0] ? of_a->rows : of_a->columns;
    uint64_t columns = turned[1] ? of_b->rows : of_b->columns;
    uint64_t other = turned[1] ? of_b->columns : of_b->rows;
    if (inner != other || of_d->rows != rows || of_d->columns != columns) return INVALID;
    uint64_t chosen[] = {of_a->rows, of_a->columns, of_b->rows, of_b->columns, rows, columns};
    if (memcmp(algorithm->data, chosen, sizeof chosen)) return INVALID;
    const void* places[] = {a, b, c, d};
    for (int at = 0; at < 4; at++) {
        unsigned alignment = (unsigned)(algorithm->data[6 + at / 2] >> 32 * (at % 2));
        if (!alignment || (uintptr_t)places[at] % alignment) return INVALID;
    }
    if (c != d || memcmp(of_c, of_d, sizeof *of_c) || !workspace || !bytes) return UNSUPPORTED;
    cuStreamSynchronize(stream);
    for (uint64_t row = 0; row < rows; row++)
        for (uint64_t column = 0; column < columns; column++) {
            float sum = 0;
            for (uint64_t at = 0; at < inner; at++)
                sum += (turned[0] ? number(of_a, a, at, row) : number(of_a, a, row, at)) *
                       (turned[1] ? number(of_b, b, column, at) : number(of_b, b, at, column));
            float before = *beta ? *beta * number(of_c, c, row, column) : 0;
            put(of_d, d, row, column, *alpha * sum + before);
        }
    return OK;
}
