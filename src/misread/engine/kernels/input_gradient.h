// The gradient of a dense layer's inputs from that of one block of its units.
//
//   gx[k][b] += sum over units u of w[k][u] * g[u][b]
//
// `w` has `width` units a row; `g` has its units first, as `transpose_gradient` lays it; `gx` and `g` have `stride`
// images a row, whole vectors. `first` is true for the block that starts the sums.
#pragma once
#include <cstdint>

#include "simd.h"

const int INPUT_GROUP = 12;  // inputs whose gradients are in registers at once
const int MAX_VECTORS = 4;   // of a block of units

// For KG inputs and NB vectors of images. MIXED: w and g are pairs of units in bf16.
template <int NB, int KG, bool MIXED>
INLINE void add_input_gradient(const void *w, int64_t width, const void *g, float *gx, int64_t stride, bool first) {
    V sum[KG][NB];
    UNROLL(i, KG)
        UNROLL(j, NB) sum[i][j] = first ? V{} : load(gx + i * stride + j * VL);
    for (int64_t u = 0; u < width; u += MIXED ? 2 : 1) {
        V y[NB];
        UNROLL(j, NB) y[j] = load((const float *)g + (MIXED ? u / 2 : u) * stride + j * VL);
        UNROLL(i, KG) {
            V x = MIXED ? splat_pair((const Half *)w + i * width + u) : splat(((const float *)w)[i * width + u]);
            UNROLL(j, NB) sum[i][j] = MIXED ? pair_product(sum[i][j], x, y[j]) : sum[i][j] + x * y[j];
        }
    }
    UNROLL(i, KG)
        UNROLL(j, NB) store(gx + i * stride + j * VL, sum[i][j]);
}

// For KG inputs and all images.
template <int KG, bool MIXED>
INLINE void add_for_images(const void *w, int64_t width, const float *g, float *gx, int64_t stride, bool first) {
    // Two vectors of images, if their sums stay in registers. With SSE always: copying a weight to all lanes for each
    // vector costs more there.
    const bool TWO = 2 * KG + 2 < REGISTERS || VL == 4;
    int64_t b = 0;
    for (; TWO && b + 2 * VL <= stride; b += 2 * VL)
        add_input_gradient<2, KG, MIXED>(w, width, g + b, gx + b, stride, first);
    for (; b < stride; b += VL) add_input_gradient<1, KG, MIXED>(w, width, g + b, gx + b, stride, first);
}

template <int KG>
INLINE void add_input_gradients(const float *w, int64_t width, const float *g, float *gx, int64_t stride, bool first,
                                bool mixed) {
    if (!mixed) return add_for_images<KG, false>(w, width, g, gx, stride, first);
    Half half[KG * MAX_VECTORS * VL];
    for (int64_t i = 0; i < KG * width; i += VL) store_half(half + i, load(w + i));
    add_for_images<KG, true>(half, width, g, gx, stride, first);
}

// One block's gradient g (n, width), with units first: (width, stride) floats, or (width / 2, stride, 2) bf16 numbers.
// Images from n up to `stride` are zeros.
static void transpose_gradient(const float *g, int64_t width, int64_t n, int64_t stride, float *to, bool mixed) {
    for (int64_t b = 0; b < stride; b++)
        for (int64_t u = 0; u < width; u++) {
            float x = b < n ? g[b * width + u] : 0;
            if (mixed) ((Half *)to)[(u / 2 * stride + b) * 2 + u % 2] = to_half(x);
            else to[u * stride + b] = x;
        }
}
