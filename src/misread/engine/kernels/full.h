// Products with a dense layer's inputs where few of these are zero, so that leaving them out does not pay.
//
// Several images, or several inputs, share each row of weights or gradients that is loaded, and their sums stay in
// registers. A sum has the same order as in the sparse passes, so in float32 it has the same bits. In mixed precision
// the factors are bf16 numbers: pairs of inputs in the forward pass, pairs of images in the weights' gradient.
#pragma once
#include <cstdint>

#include "simd.h"

const int FULL_ROWS = REGISTERS == 32 ? 6 : 3;  // rows of sums, of up to four vectors, that stay in registers

// sums[i] += the sum over k of x[i][k * step] * row k of y (n, NV * VL). T: float, or Pair
template <int NV, int N, class T>
INLINE void add_products(V (&sums)[N][NV], const T *const (&x)[N], int64_t step, const T *y, int64_t n) {
    for (int64_t k = 0; k < n; k++) {
        V row[NV];
        UNROLL(j, NV) row[j] = load(y + (k * NV + j) * VL);
        UNROLL(i, N)
            UNROLL(j, NV) sums[i][j] = add_product(sums[i][j], x[i][k * step], row[j]);
    }
}

// The same with step 1, a cache line of each row at a time. Meanwhile the line `ahead` after it is asked for: the one
// that the next images need.
template <int NV, int N, class T>
INLINE void add_lines(V (&sums)[N][NV], const T *const (&x)[N], int64_t ahead, const T *y, int64_t n) {
    const int LINE = 64 / sizeof(T);
    for (int64_t k = 0; k < n; k += LINE) {
        const T *line[N];
        UNROLL(i, N) line[i] = x[i] + k;
        UNROLL(i, N) __builtin_prefetch(line[i] + ahead);
        add_products(sums, line, 1, y + k * NV * VL, n - k < LINE ? n - k : LINE);
    }
}

// Rows 2i and 2i + 1 of n rows as row i of `pairs`, for `width` columns, whole vectors. Rows are `stride` apart. An odd
// last row is paired with zeros.
INLINE void join_rows(const float *rows, int64_t n, int64_t stride, int64_t width, Pair *pairs) {
    for (int64_t i = 0; i < n; i += 2)
        for (int64_t j = 0; j < width; j += VL) {
            const float *row = rows + i * stride + j;
            store(pairs + i / 2 * stride + j, join_pairs(load(row), i + 1 < n ? load(row + stride) : V{}));
        }
}
