// Convolutions, each with its max-pooling, normalisation and ReLU: what they hold, and how it is laid out.
//
// Images are channels-last; the channels of hidden images are padded to whole vectors, and every image is stored with
// the zeros of its padding around it. A cell is one position of the pooled output; its window is the pool x pool
// positions of the unpooled output that it is the maximum of. A patch is what one position sees: kernel_h rows of the
// input.
#pragma once
#include <cstdint>
#include <cstring>

#include "abi.h"
#include "adam.h"
#include "arena.h"
#include "norm.h"
#include "simd.h"
#include "threads.h"

// One training or prediction step, as every thread sees it.
struct Step {
    const uint8_t *images;  // (N, H, W, C)
    const int64_t *labels;  // (N); only in training
    const int64_t *rows;    // (n): which images; null for those from `first` on
    int64_t first;          // of place 0 in the arrays
    int64_t n;              // images in this step
    int64_t number;         // training steps before this one
    bool train;
    Adam adam;

    int64_t row(int64_t b) const { return rows ? rows[b] : first + b; }
};

// Where one image's pooled outputs go, and what happens to them on the way.
struct Output {
    float *to;
    Half *half;                  // the same outputs in bf16; or null
    const int64_t *at;           // (cells): where each cell's units begin in `to` and `half`
    uint8_t *chosen;             // (cells, units_p)
    const float *scale, *shift;  // (units_p)
    bool relu;
};

struct Conv {
    int64_t channels, units, batch, threads;
    int64_t in_h, in_w, kernel_h, kernel_w, top, left, out_h, out_w, pool;
    bool trains, mixed;
    const Conv *before = nullptr, *next = nullptr;  // the convolutions beside it
    int64_t channels_p, units_p;                    // as stored: the first layer's channels are not padded
    int64_t row_length, patch;                      // floats of a patch's row, in whole vectors, and of all its rows
    int64_t elements;                               // of a patch without what fills up its rows; even, for pairs
    int64_t row_stride, in_size;                    // floats of a row of the stored input, and of one image
    int64_t pooled_h, pooled_w, cells;
    int64_t places;  // images whose `chosen` and `active` are kept

    Params weights;          // (units_p, patch); what fills up the rows of a patch is zero and stays so
    Params biases;           // (units_p); not with a normalisation
    Norm norm;               // of units_p units
    float *forward_weights;  // for each group of 4, 2 or 1 vectors of units (elements, width): the same weights, as the
                             // forward pass reads them; not if mixed
    Half *forward_half;      // the same in bf16: (elements / 2, width, 2); only if mixed
    float *in;               // (batch, in_size): the stored input
    Half *in_half;           // (batch, in_size); only if mixed
    float *raw;              // (batch, cells, units_p): the pooled outputs before a normalisation
    float *flat;             // (threads, cells, units_p): one image's outputs, where a dense layer follows
    uint8_t *chosen;         // (places, cells, units_p): which position of its window pooling chose
    int32_t *active;         // (places, cells): the cells that were computed, see active.h
    int64_t *n_active;       // (places)
    float *background;       // (cells, units_p): a prediction's outputs for an image of zeros
    float *g;                // (batch, cells, units_p): the gradient by the pooled, rectified outputs
    float *gw;               // (threads, units_p, patch): each thread's share of the weights' gradient
    float *gb;               // (threads, units_p); not with a normalisation
    float *gin;              // (threads, in_size + VL): the gradient by one image's stored input
    int32_t *patches;        // (threads, cells): where the patches of one unit begin that have a gradient
    float *patch_g;          // (threads, cells): and that gradient

    // Tables, filled by `fill_tables`
    float *ones, *zeros;  // (units_p)
    int32_t *every_cell;  // (cells): 0, 1, 2, ...
    int32_t *corners;     // (cells): where each cell's window begins in the stored input
    int64_t *out_at;      // (cells): where each cell goes in the next layer's input
    int64_t *raw_at;      // (cells): and in `raw`
    int64_t *offsets;     // (patch / VL): where a patch's vectors are in the stored input, from its corner

    // `before`: the convolution whose outputs are the input; null for the first
    void plan(Arena &arena, const Spec &spec, Conv *before, int64_t batch, int64_t threads, bool trains, bool mixed) {
        channels = spec.in_c, units = spec.units, in_h = spec.in_h, in_w = spec.in_w, pool = spec.pool;
        kernel_h = spec.kernel_h, kernel_w = spec.kernel_w, top = spec.top, left = spec.left;
        out_h = spec.out_h, out_w = spec.out_w;
        this->batch = batch, this->threads = threads, this->trains = trains, this->mixed = mixed;
        this->before = before;
        if (before) before->next = this;
        channels_p = before ? before->units_p : channels;
        units_p = round_up(units, VL);
        row_length = round_up(kernel_w * channels_p, VL);
        patch = kernel_h * row_length;
        elements = kernel_h * round_up(kernel_w * channels_p, 2);
        row_stride = (out_w + kernel_w) * channels_p;
        in_size = round_up((out_h + kernel_h) * row_stride, VL);
        pooled_h = out_h / pool, pooled_w = out_w / pool, cells = pooled_h * pooled_w;
        places = trains && batch > threads ? batch : threads;
        weights.plan(arena, {units_p, patch}, trains);
        if (spec.normalised) norm.plan(arena, spec, units_p, trains ? threads : 1, trains);
        else biases.plan(arena, {units_p}, trains);
        arena.plan(in, {batch, in_size});
        in_half = nullptr, forward_half = nullptr, forward_weights = nullptr;
        if (mixed) {
            arena.plan(in_half, {batch, in_size});
            arena.plan(forward_half, {units_p, elements});
        } else {
            arena.plan(forward_weights, {units_p, elements});
        }
        arena.plan(flat, {threads, cells, units_p});
        arena.plan(chosen, {places, cells, units_p});
        arena.plan(active, {places, cells});
        arena.plan(n_active, {places});
        arena.plan(background, {cells, units_p});
        plan_tables(arena);
        if (trains) plan_training(arena, spec.normalised);
    }

    void fill_tables() const {
        for (int64_t u = 0; u < units_p; u++) ones[u] = 1;
        for (int64_t cell = 0; cell < cells; cell++) {
            int64_t y = cell / pooled_w, x = cell % pooled_w;
            every_cell[cell] = cell;
            corners[cell] = y * pool * row_stride + x * pool * channels_p;
            raw_at[cell] = cell * units_p;
            out_at[cell] =
                !next ? cell * units_p : (y + next->top) * next->row_stride + (x + next->left) * next->channels_p;
        }
        if (!trains) return;
        for (int64_t i = 0; i < patch / VL; i++) offsets[i] = i * VL / row_length * row_stride + i * VL % row_length;
    }

    // The place of a weight in `weights`.
    int64_t weight(int64_t unit, int64_t channel, int64_t y, int64_t x) const {
        return unit * patch + y * row_length + x * channels_p + channel;
    }

    // Where the next layer reads image b's outputs; a dense layer, after the last convolution, reads them from `flat`.
    float *output(int thread, int64_t b) const {
        return next ? next->in + b * next->in_size : flat + thread * cells * units_p;
    }
    Half *output_half(int64_t b) const { return next && mixed ? next->in_half + b * next->in_size : nullptr; }

    // Vectors of units are taken four, two or one at a time: as many as the sums of a window leave registers for.
    int64_t group_of(int64_t vector) const {
        int64_t left = units_p / VL - vector;
        return left >= 4 && REGISTERS == 32 ? 4 : left >= 2 ? 2 : 1;
    }

    // Lay the weights of these units out for the forward pass. Done after every change of them.
    void lay_out(Range these) const {
        int64_t run = kernel_w * channels_p, run_even = round_up(run, 2);
        for (int64_t vector = 0, group; vector < units_p / VL; vector += group) {
            group = group_of(vector);
            int64_t width = group * VL, first = vector * VL;
            int64_t from = these.from > first ? these.from : first;
            int64_t to = these.to < first + width ? these.to : first + width;
            for (int64_t u = from; u < to; u++)
                for (int64_t y = 0; y < kernel_h; y++)
                    for (int64_t i = 0; i < run; i++) {
                        float w = weights.w[u * patch + y * row_length + i];
                        int64_t base = first * elements, pair = (y * run_even + i) / 2;
                        if (mixed) forward_half[base + (pair * width + u - first) * 2 + i % 2] = to_half(w);
                        else forward_weights[base + (y * run + i) * width + u - first] = w;
                    }
        }
    }

    // conv_forward.h
    void take_image(const uint8_t *image, int64_t b) const;
    void forward(int thread, const uint8_t *image, int64_t b, bool train) const;
    void normalise(int thread, int64_t b) const;
    void find_background() const;

    // conv_backward.h
    void add_norm_sums(int thread, int64_t b) const;
    void backward(int thread, int64_t n, int64_t b) const;
    void update(int thread, const Adam &adam) const;

  private:
    void plan_tables(Arena &arena) {
        arena.plan(ones, {units_p});
        arena.plan(zeros, {units_p});
        arena.plan(every_cell, {cells});
        arena.plan(corners, {cells});
        arena.plan(out_at, {cells});
        arena.plan(raw_at, {cells});
    }

    void plan_training(Arena &arena, bool normalised) {
        if (normalised) arena.plan(raw, {batch, cells, units_p});
        else arena.plan(gb, {threads, units_p});
        arena.plan(offsets, {patch / VL});
        arena.plan(g, {batch, cells, units_p});
        arena.plan(gw, {threads, units_p, patch});
        arena.plan(gin, {threads, in_size + VL});
        arena.plan(patches, {threads, cells});
        arena.plan(patch_g, {threads, cells});
    }

    Output output_of(int thread, int64_t b, bool train) const;
    void run(int64_t b, const int32_t *windows, int64_t n, const Output &out) const;
    void fill_shift(const Output &out) const;
    void fill_background(const Output &out, const int32_t *active, int64_t n) const;
    void add_weight_gradients(int thread, int64_t b) const;
    void pass_back(int thread, int64_t b) const;
};
