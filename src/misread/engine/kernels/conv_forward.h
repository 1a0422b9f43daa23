// The forward pass of a convolution. Products, pooling, scale and shift, and ReLU are one pass, and only the result is
// written.
#pragma once
#include <cstdint>
#include <cstring>

#include "active.h"
#include "conv.h"

// NW windows of NV vectors of units: convolution at each position of a window, the maximum, scale and shift, ReLU.
template <int NV, int NW, int POOL, bool MIXED>
INLINE void conv_windows(const Conv &l, int64_t b, const int32_t *windows, int64_t vector, const Output &out) {
    const int POSITIONS = POOL * POOL;
    V sum[NW][POSITIONS][NV];
    UNROLL(n, NW)
        UNROLL(p, POSITIONS)
            UNROLL(j, NV) sum[n][p][j] = V{};
    const float *in = l.in + b * l.in_size;
    const Half *in_half = MIXED ? l.in_half + b * l.in_size : nullptr;
    const float *w = MIXED ? (const float *)l.forward_half : l.forward_weights;
    w += vector * VL * (MIXED ? l.elements / 2 : l.elements);
    int64_t base[NW], run = MIXED ? round_up(l.kernel_w * l.channels_p, 2) : l.kernel_w * l.channels_p;
    UNROLL(n, NW) base[n] = l.corners[windows[n]];
    for (int64_t ky = 0; ky < l.kernel_h; ky++) {
        for (int64_t i = 0; i < run; i += MIXED ? 2 : 1) {
            V weight[NV];
            UNROLL(j, NV) weight[j] = load(w + j * VL);
            w += NV * VL;
            UNROLL(n, NW)
                UNROLL(p, POSITIONS) {
                    int64_t at = base[n] + (p / POOL) * l.row_stride + (p % POOL) * l.channels_p + i;
                    V x = MIXED ? splat_pair(in_half + at) : splat(in[at]);
                    UNROLL(j, NV)
                        sum[n][p][j] = MIXED ? pair_product(sum[n][p][j], x, weight[j]) : sum[n][p][j] + x * weight[j];
                }
        }
        UNROLL(n, NW) base[n] += l.row_stride;
    }
    UNROLL(n, NW)
        UNROLL(j, NV) {
            V best = sum[n][0][j];
            VI which = {};
            UNROLL(p, POSITIONS - 1) {
                V other = sum[n][p + 1][j];
                VI better = other > best;  // of equals the first, as in PyTorch
                best = better ? other : best;
                which = better ? VI{} + (p + 1) : which;
            }
            best = best * load(out.scale + (vector + j) * VL) + load(out.shift + (vector + j) * VL);
            if (out.relu) best = rectified(best);
            int64_t at = out.at[windows[n]] + (vector + j) * VL;
            store(out.to + at, best);
            if (out.half) store_half(out.half + at, best);
            *(VB *)(out.chosen + windows[n] * l.units_p + (vector + j) * VL) = to_bytes(which);
        }
}

template <int NV, int NW, int POOL, bool MIXED>
static void conv_group(const Conv &l, int64_t b, const int32_t *windows, int64_t n, int64_t vector, const Output &out) {
    int64_t i = 0;
    for (; i + NW <= n; i += NW) conv_windows<NV, NW, POOL, MIXED>(l, b, windows + i, vector, out);
    for (; i < n; i++) conv_windows<NV, 1, POOL, MIXED>(l, b, windows + i, vector, out);
}

template <bool MIXED>
static void conv_run(const Conv &l, int64_t b, const int32_t *windows, int64_t n, const Output &out) {
    for (int64_t vector = 0, group; vector < l.units_p / VL; vector += group) {
        group = l.group_of(vector);
        // as many windows as keep the sums in registers
        constexpr bool MANY = REGISTERS == 32;
        constexpr int TWO_POOLED = MANY ? 3 : 1, TWO = MANY ? 12 : 6, ONE_POOLED = MANY ? 6 : 3, ONE = MANY ? 16 : 12;
        auto run = group == 4   ? (l.pool == 2 ? conv_group<4, 1, 2, MIXED> : conv_group<4, 6, 1, MIXED>)
                   : group == 2 ? (l.pool == 2 ? conv_group<2, TWO_POOLED, 2, MIXED> : conv_group<2, TWO, 1, MIXED>)
                                : (l.pool == 2 ? conv_group<1, ONE_POOLED, 2, MIXED> : conv_group<1, ONE, 1, MIXED>);
        run(l, b, windows, n, vector, out);
    }
}

// These n cells of image b.
inline void Conv::run(int64_t b, const int32_t *windows, int64_t n, const Output &out) const {
    (HAS_BF16 && mixed ? conv_run<HAS_BF16 != 0> : conv_run<false>)(*this, b, windows, n, out);
}

// An image (in_h, in_w, channels) of bytes as the first layer's stored input b, between 0 and 1.
inline void Conv::take_image(const uint8_t *image, int64_t b) const {
    int64_t row = in_w * channels;
    float *to = in + b * in_size;
    for (int64_t y = 0; y < in_h; y++)
        for (int64_t i = 0; i < row; i++)
            to[(y + top) * row_stride + left * channels + i] = image[y * row + i] * (1.0f / 255);
    if (mixed)
        for (int64_t i = 0; i < in_size; i += VL) store_half(in_half + b * in_size + i, load(to + i));
}

// To where the next layer reads them; in training those that are still to be normalised go to `raw`.
inline Output Conv::output_of(int thread, int64_t b, bool train) const {
    uint8_t *chosen_b = chosen + (train ? b : thread) * cells * units_p;
    if (train && norm.on) return {raw + b * cells * units_p, nullptr, raw_at, chosen_b, ones, zeros, false};
    const float *scale = norm.on ? norm.scale : ones, *shift = norm.on ? norm.shift : biases.w;
    return {output(thread, b), output_half(b), out_at, chosen_b, scale, shift, true};
}

// All cells as those that see nothing but zeros: the shift alone.
inline void Conv::fill_shift(const Output &out) const {
    memset(out.chosen, 0, cells * units_p);
    for (int64_t u = 0; u < units_p; u += VL) {
        V y = load(out.shift + u);
        if (out.relu) y = rectified(y);
        for (int64_t cell = 0; cell < cells; cell++) store(out.to + out.at[cell] + u, y);
        if (out.half)
            for (int64_t cell = 0; cell < cells; cell++) store_half(out.half + out.at[cell] + u, y);
    }
}

// All cells but the n active ones, from `background`.
inline void Conv::fill_background(const Output &out, const int32_t *active, int64_t n) const {
    for (int64_t cell = 0, i = 0; cell < cells; cell++) {
        if (i < n && active[i] == cell) {
            i++;
            continue;
        }
        for (int64_t u = 0; u < units_p; u += VL) {
            V y = load(background + cell * units_p + u);
            store(out.to + out.at[cell] + u, y);
            if (out.half) store_half(out.half + out.at[cell] + u, y);
        }
    }
}

// Image b of the step, from `in`. `image` is the image of bytes, which the first layer looks for black in. In training
// a normalised layer's outputs stay in `raw`, and their sums are added up.
inline void Conv::forward(int thread, const uint8_t *image, int64_t b, bool train) const {
    Output out = output_of(thread, b, train);
    int64_t place = train ? b : thread;
    int32_t *active_b = active + place * cells;
    int64_t n = n_active[place] = list_active(*this, thread, image, train, active_b);
    if (n < cells && train) fill_shift(out);
    if (n < cells && !train) fill_background(out, active_b, n);
    run(b, active_b, n, out);
    if (train && norm.on)
        for (int64_t u = 0; u < units_p; u += VL) norm.add_squares(thread, u, out.to + u, cells, units_p);
}

// Image b from `raw` to where the next layer reads it.
inline void Conv::normalise(int thread, int64_t b) const {
    float *to = output(thread, b);
    Half *half = output_half(b);
    for (int64_t u = 0; u < units_p; u += VL)
        for (int64_t cell = 0; cell < cells; cell++) {
            V y = norm.apply(thread, u, load(raw + (b * cells + cell) * units_p + u));
            store(to + out_at[cell] + u, y);
            if (half) store_half(half + out_at[cell] + u, y);
        }
}

// What a prediction gives for an image of zeros, which passes through as image 0. Layers in order, on one thread.
inline void Conv::find_background() const {
    if (!before) memset(in, 0, in_size * sizeof(float));
    if (!before && mixed) memset(in_half, 0, in_size * sizeof(Half));
    Output out = output_of(0, 0, false);
    run(0, every_cell, cells, out);
    for (int64_t cell = 0; cell < cells; cell++)
        memcpy(background + cell * units_p, out.to + out.at[cell], units_p * sizeof(float));
}
