// The backward pass of a convolution, and its update.
//
// Pooling passes a gradient to one position of each window alone, and ReLU to only some cells. What is left is a short
// list of patches for each unit.
#pragma once
#include <cstdint>
#include <cstring>

#include "conv.h"

// For N vectors of one unit's patch: add to its gradient gw, and to the gradient by the input where `gin` is not null.
// The unit has n patches with a gradient: they begin at at[i], and the gradient is g[i].
template <int N>
static void conv_patch(const int64_t *offset, const float *w, float *gw, const float *in, float *gin, const int32_t *at,
                       const float *g, int64_t n) {
    V sum[N], weight[N];
    UNROLL(j, N) sum[j] = load(gw + j * VL);
    if (!gin) {
        for (int64_t i = 0; i < n; i++) {
            V x = splat(g[i]);
            UNROLL(j, N) sum[j] += x * load(in + at[i] + offset[j]);
        }
    } else {
        UNROLL(j, N) weight[j] = load(w + j * VL);
        for (int64_t i = 0; i < n; i++) {
            V x = splat(g[i]);
            UNROLL(j, N) {
                float *to = gin + at[i] + offset[j];
                sum[j] += x * load(in + at[i] + offset[j]);
                store(to, load(to) + x * weight[j]);
            }
        }
    }
    UNROLL(j, N) store(gw + j * VL, sum[j]);
}

const int MAX_CHUNK = 12;  // vectors of a patch whose sums and weights both stay in registers
static constexpr decltype(&conv_patch<1>) conv_chunks[MAX_CHUNK + 1] = {
    nullptr,       conv_patch<1>, conv_patch<2>, conv_patch<3>,  conv_patch<4>,  conv_patch<5>, conv_patch<6>,
    conv_patch<7>, conv_patch<8>, conv_patch<9>, conv_patch<10>, conv_patch<11>, conv_patch<12>};

// For a normalised layer, before `backward`: what image b adds to the gradients of gamma and beta.
inline void Conv::add_norm_sums(int thread, int64_t b) const {
    int64_t size = cells * units_p;
    for (int64_t u = 0; u < units_p; u += VL)
        norm.add_products(thread, u, g + b * size + u, raw + b * size + u, cells, units_p);
}

// Image b of n: its share of the gradients, and the gradient of the layer before.
inline void Conv::backward(int thread, int64_t n, int64_t b) const {
    int64_t size = cells * units_p;
    for (int64_t u = 0; norm.on && u < units_p; u += VL)
        norm.backward(thread, n * cells, u, g + b * size + u, raw + b * size + u, cells, units_p);
    for (int64_t u = 0; !norm.on && u < units_p; u += VL) {
        V sum = load(gb + thread * units_p + u);
        for (int64_t cell = 0; cell < cells; cell++) sum += load(g + b * size + cell * units_p + u);
        store(gb + thread * units_p + u, sum);
    }
    add_weight_gradients(thread, b);
    if (before) pass_back(thread, b);
}

inline void Conv::add_weight_gradients(int thread, int64_t b) const {
    const float *g_b = g + b * cells * units_p, *in_b = in + b * in_size;
    const uint8_t *chosen_b = chosen + b * cells * units_p;
    float *gin_mine = before ? gin + thread * (in_size + VL) : nullptr;
    int32_t *at = patches + thread * cells;
    float *values = patch_g + thread * cells;
    if (gin_mine) memset(gin_mine, 0, in_size * sizeof(float));
    int32_t position[4];  // in a window, from its corner
    for (int64_t p = 0; p < 4; p++) position[p] = p / pool * row_stride + p % pool * channels_p;
    const int32_t *cells_b = active + b * cells;
    const int64_t n_cells = n_active[b], vectors = patch / VL, parts = (vectors + MAX_CHUNK - 1) / MAX_CHUNK;
    for (int64_t u = 0; u < units; u++) {
        int64_t n = 0;
        for (int64_t i = 0; i < n_cells; i++) {
            int64_t at_cell = cells_b[i] * units_p + u;
            float x = g_b[at_cell];
            at[n] = corners[cells_b[i]] + position[chosen_b[at_cell]];
            values[n] = x;
            n += x != 0;
        }
        float *gw_u = gw + (thread * units_p + u) * patch;
        const float *w = weights.w + u * patch;
        for (int64_t part = 0; part < parts; part++) {
            int64_t i = vectors * part / parts, size = vectors * (part + 1) / parts - i;
            conv_chunks[size](offsets + i, w + i * VL, gw_u + i * VL, in_b, gin_mine, at, values, n);
        }
    }
}

// The gradient by the stored input becomes that of the outputs of the convolution before. Outputs that ReLU set to zero
// pass nothing back.
inline void Conv::pass_back(int thread, int64_t b) const {
    const float *gin_mine = gin + thread * (in_size + VL), *in_b = in + b * in_size;
    float *to = before->g + b * before->cells * before->units_p;
    for (int64_t cell = 0; cell < before->cells; cell++)
        for (int64_t u = 0; u < before->units_p; u += VL) {
            int64_t at = before->out_at[cell] + u;
            store(to + cell * before->units_p + u, load(in_b + at) != 0 ? load(gin_mine + at) : V{});
        }
}

// Move this thread's share of the weights, from the gradients of all threads, and clear those.
inline void Conv::update(int thread, const Adam &adam) const {
    Range mine = share(units, thread, threads);
    for (int64_t u = mine.from; u < mine.to; u++)
        for (int64_t i = 0; i < patch; i += VL) {
            V sum = {};
            for (int64_t t = 0; t < threads; t++) {
                float *part = gw + (t * units_p + u) * patch + i;
                sum += load(part);
                store(part, V{});
            }
            // what gathered where a patch's row is filled up belongs to its neighbours in the image
            int64_t own = kernel_w * channels_p - i % row_length;
            for (int64_t j = own > 0 ? own : 0; j < VL; j++) sum[j] = 0;
            adam.move(weights, u * patch + i, sum);
        }
    lay_out(mine);
    if (norm.on) return norm.update(share(units_p / VL, thread, threads), adam);
    if (thread) return;
    for (int64_t u = 0; u < units_p; u += VL) {
        V sum = {};
        for (int64_t t = 0; t < threads; t++) {
            sum += load(gb + t * units_p + u);
            store(gb + t * units_p + u, V{});
        }
        adam.move(biases, u, sum);
    }
}
