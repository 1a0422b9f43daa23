// The transforms of Winograd's algorithm, see winograd.h: of a line of numbers, for tiles of 2, 3 and 4, and of a square.
#pragma once
#include "simd.h"

// The transforms of a line of numbers; a square's columns are transformed, then its rows. The points are those of a
// polynomial: 0, 1, -1, then 2, then -2, and infinity.
template <int TILE> struct Lines;

template <> struct Lines<2> {
    static INLINE_METHOD void to_points(const V (&x)[4], V (&t)[4]) {
        t[0] = x[0] - x[2];
        t[1] = x[2] + x[1];
        t[2] = x[2] - x[1];
        t[3] = x[3] - x[1];
    }
    static INLINE_METHOD void from_points(const V (&t)[4], V (&y)[2]) {
        y[0] = t[0] + (t[1] + t[2]);
        y[1] = t[1] - t[2] + t[3];
    }
    static INLINE_METHOD void weights_to_points(const V (&w)[3], V (&t)[4]) {
        V even = (w[0] + w[2]) * 0.5f, odd = w[1] * 0.5f;
        t[0] = w[0];
        t[1] = even + odd;
        t[2] = even - odd;
        t[3] = w[2];
    }
    static INLINE_METHOD void adjoint_from_points(const V (&g)[2], V (&t)[4]) {
        t[0] = g[0];
        t[1] = g[0] + g[1];
        t[2] = g[0] - g[1];
        t[3] = g[1];
    }
    static INLINE_METHOD void adjoint_weights_to_points(const V (&t)[4], V (&w)[3]) {
        V even = (t[1] + t[2]) * 0.5f;
        w[0] = t[0] + even;
        w[1] = (t[1] - t[2]) * 0.5f;
        w[2] = even + t[3];
    }
};

template <> struct Lines<3> {
    static INLINE_METHOD void to_points(const V (&x)[5], V (&t)[5]) {
        V odd = x[3] - x[1];
        t[0] = odd + 2 * (x[0] - x[2]);
        t[1] = odd - (x[1] + x[2]);
        t[2] = odd + 3 * (x[1] - x[2]);
        t[3] = odd;
        t[4] = (x[4] - x[2]) - 2 * odd;
    }
    static INLINE_METHOD void from_points(const V (&t)[5], V (&y)[3]) {
        V even = t[1] + t[2], odd = t[1] - t[2];
        y[0] = t[0] + even + t[3];
        y[1] = odd + 2 * t[3];
        y[2] = even + 4 * t[3] + t[4];
    }
    static INLINE_METHOD void weights_to_points(const V (&w)[3], V (&t)[5]) {
        V even = w[0] + w[2];
        t[0] = w[0] * 0.5f;
        t[1] = (even + w[1]) * -0.5f;
        t[2] = (even - w[1]) * (-1 / 6.f);
        t[3] = (w[0] + 2 * w[1] + 4 * w[2]) * (1 / 6.f);
        t[4] = w[2];
    }
    static INLINE_METHOD void adjoint_from_points(const V (&g)[3], V (&t)[5]) {
        V even = g[0] + g[2];
        t[0] = g[0];
        t[1] = even + g[1];
        t[2] = even - g[1];
        t[3] = g[0] + 2 * g[1] + 4 * g[2];
        t[4] = g[2];
    }
    static INLINE_METHOD void adjoint_weights_to_points(const V (&t)[5], V (&w)[3]) {
        V half = t[1] * -0.5f, minus = t[2] * (-1 / 6.f), plus = t[3] * (1 / 6.f);
        w[0] = t[0] * 0.5f + half + minus + plus;
        w[1] = half - minus + 2 * plus;
        w[2] = half + minus + 4 * plus + t[4];
    }
};

template <> struct Lines<4> {
    static INLINE_METHOD void to_points(const V (&x)[6], V (&t)[6]) {
        V even = x[4] - 4 * x[2], odd = x[3] - 4 * x[1], even_2 = x[4] - x[2], odd_2 = 2 * (x[3] - x[1]);
        t[0] = 4 * (x[0] - x[2]) + even_2;
        t[1] = even + odd;
        t[2] = even - odd;
        t[3] = even_2 + odd_2;
        t[4] = even_2 - odd_2;
        t[5] = 4 * (x[1] - x[3]) + (x[5] - x[3]);
    }
    static INLINE_METHOD void from_points(const V (&t)[6], V (&y)[4]) {
        V even = t[1] + t[2], odd = t[1] - t[2], even_2 = t[3] + t[4], odd_2 = t[3] - t[4];
        y[0] = t[0] + even + even_2;
        y[1] = odd + 2 * odd_2;
        y[2] = even + 4 * even_2;
        y[3] = odd + 8 * odd_2 + t[5];
    }
    static INLINE_METHOD void weights_to_points(const V (&w)[3], V (&t)[6]) {
        V even = (w[0] + w[2]) * (-1 / 6.f), odd = w[1] * (-1 / 6.f);
        V even_2 = (w[0] + 4 * w[2]) * (1 / 24.f), odd_2 = w[1] * (1 / 12.f);
        t[0] = w[0] * 0.25f;
        t[1] = even + odd;
        t[2] = even - odd;
        t[3] = even_2 + odd_2;
        t[4] = even_2 - odd_2;
        t[5] = w[2];
    }
    static INLINE_METHOD void adjoint_from_points(const V (&g)[4], V (&t)[6]) {
        V even = g[0] + g[2], odd = g[1] + g[3], even_2 = g[0] + 4 * g[2], odd_2 = 2 * (g[1] + 4 * g[3]);
        t[0] = g[0];
        t[1] = even + odd;
        t[2] = even - odd;
        t[3] = even_2 + odd_2;
        t[4] = even_2 - odd_2;
        t[5] = g[3];
    }
    static INLINE_METHOD void adjoint_weights_to_points(const V (&t)[6], V (&w)[3]) {
        V even = (t[1] + t[2]) * (-1 / 6.f), even_2 = t[3] + t[4];
        w[0] = t[0] * 0.25f + even + even_2 * (1 / 24.f);
        w[1] = (t[1] - t[2]) * (-1 / 6.f) + (t[3] - t[4]) * (1 / 12.f);
        w[2] = even + even_2 * (1 / 6.f) + t[5];
    }
};

const int64_t RUN = 4;  // squares that are transformed together

// Transform n squares, at most RUN, of which each begins STEP columns after the one before. A column that two of them
// share is transformed once. get(i, column) -> V, put(square, i, j, V). Lines are taken one by one: unrolled, they would
// take turns with the few registers, and twice the time.
template <auto LINE, int IN, int OUT, int STEP, class Get, class Put>
INLINE void transform_run(int64_t n, Get get, Put put) {
    alignas(4 * VL) V half[OUT][(RUN - 1) * STEP + IN];
    _Pragma("GCC unroll 1") for (int64_t column = 0; column < (n - 1) * STEP + IN; column++) {
        V from[IN], to[OUT];
        UNROLL(i, IN) from[i] = get(i, column);
        LINE(from, to);
        UNROLL(i, OUT) half[i][column] = to[i];
    }
    for (int64_t square = 0; square < n; square++)
        _Pragma("GCC unroll 1") for (int i = 0; i < OUT; i++) {
            V from[IN], to[OUT];
            UNROLL(j, IN) from[j] = half[i][square * STEP + j];
            LINE(from, to);
            UNROLL(j, OUT) put(square, i, j, to[j]);
        }
}

// The same for one square. get(i, j) -> V, put(i, j, V)
template <auto LINE, int IN, int OUT, class Get, class Put> INLINE void transform(Get get, Put put) {
    transform_run<LINE, IN, OUT, IN>(1, get, [=](int64_t, int i, int j, V x) { put(i, j, x); });
}
