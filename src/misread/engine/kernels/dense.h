// Dense layers.
//
// Units are taken in blocks of `width`, one to four vectors. Weights are stored block by block, so that what one pass
// reads is contiguous. A weight's gradient never reaches memory: it goes from registers into Adam.
#pragma once
#include <cstdint>
#include <cstring>

#include "abi.h"
#include "adam.h"
#include "arena.h"
#include "dropout.h"
#include "input_gradient.h"
#include "norm.h"
#include "simd.h"
#include "sparse.h"
#include "threads.h"

struct Dense {
    int64_t inputs, units, batch, threads;
    bool relu, mixed;
    int64_t batch_p;         // the batch in whole vectors
    int64_t vectors, width;  // of a block of units; width = vectors * VL
    int64_t blocks;
    int64_t parts;    // copies of gx
    Dropout dropout;  // of the inputs

    Params weights;   // (blocks, inputs, width); units beyond the last are zero and stay so
    Params biases;    // (blocks, width); not with a normalisation
    Norm norm;        // of blocks * width units
    float *zeros;     // (blocks, width): where a normalised layer's sums begin
    float *x;         // (batch, inputs), after dropout
    Rows rows;        // of x
    Columns columns;  // of x
    float *out;       // (blocks, batch, width): the outputs; of the last layer the logits
    float *raw;       // (blocks, batch, width): the outputs before a normalisation
    float *gout;      // (blocks, batch, width): the gradient of the loss by `out`
    float *gx;        // (parts, inputs, batch_p): by x; the sum of the parts
    float *scratch;   // (threads, MAX_VECTORS * VL, batch_p): one block of gout with units first

    void plan(Arena &arena, const Spec &spec, int64_t batch, int64_t threads, bool trains, bool mixed) {
        inputs = spec.in_c, units = spec.units, relu = spec.relu;
        this->batch = batch, this->threads = threads, this->mixed = mixed;
        batch_p = round_up(batch, VL);
        vectors = units > 2 * VL * threads ? 4 : units > VL * threads ? 2 : 1;
        width = vectors * VL;
        blocks = (units + width - 1) / width;
        parts = by_blocks() ? threads : 1;
        weights.plan(arena, {blocks, inputs, width}, trains);
        arena.plan(x, {batch, inputs});
        arena.plan(out, {blocks, batch, width});
        rows.plan(arena, batch, inputs);
        if (spec.normalised) {
            norm.plan(arena, spec, blocks * width, 1, trains);
            arena.plan(zeros, {blocks, width});
        } else {
            biases.plan(arena, {blocks, width}, trains);
        }
        if (!trains) return;
        if (spec.normalised) arena.plan(raw, {blocks, batch, width});
        arena.plan(gout, {blocks, batch, width});
        arena.plan(gx, {parts, inputs, batch_p});
        arena.plan(scratch, {threads, MAX_VECTORS * VL, batch_p});
        columns.plan(arena, batch, inputs);
    }

    // Work is shared by blocks of units where that is even; otherwise by images (forward) or inputs (backward).
    bool by_blocks() const { return blocks >= 4 * threads || blocks % threads == 0; }

    // The place of a weight in `weights`.
    int64_t weight(int64_t unit, int64_t input) const { return (unit / width * inputs + input) * width + unit % width; }

    // The place of an output in `out`, `raw` and `gout`.
    int64_t output(int64_t image, int64_t unit) const { return (unit / width * batch + image) * width + unit % width; }

    // x * weights + biases for n images, then ReLU unless a normalisation follows. Needs the rows of all of them.
    void forward(int thread, int64_t n, int64_t step) const {
        bool whole = by_blocks();
        Range mine = whole ? share(blocks, thread, threads) : Range{0, blocks};
        Range images = whole ? Range{0, n} : share(n, thread, threads);
        auto one = vectors == 4   ? &Dense::forward_blocks<4, 1>
                   : vectors == 2 ? &Dense::forward_blocks<2, 1>
                                  : &Dense::forward_blocks<1, 1>;
        auto two = vectors == 4   ? &Dense::forward_blocks<4, 2>
                   : vectors == 2 ? &Dense::forward_blocks<2, 2>
                                  : &Dense::forward_blocks<1, 2>;
        int64_t pairs = (mine.to - mine.from) / 2;
        for (int64_t i = 0; i < pairs; i++) (this->*two)(mine.from + 2 * turned(step, {0, pairs}, i), images);
        if ((mine.to - mine.from) % 2) (this->*one)(mine.to - 1, images);
    }

    // Normalise this thread's units over n images, then ReLU.
    void normalise(int thread, int64_t n, bool train) const {
        Range mine = share(blocks, thread, threads), own = {mine.from * vectors, mine.to * vectors};
        if (train) {
            for (int64_t u = own.from * VL; u < own.to * VL; u += VL)
                norm.add_squares(0, u, out + output(0, u), n, width);
            norm.measure(0, n, own);
            norm.move_averages(0, n, own);
            norm.clear(0, own);
            memcpy(raw + mine.from * batch * width, out + mine.from * batch * width,
                   (mine.to - mine.from) * batch * width * sizeof(float));
        }
        for (int64_t u = own.from * VL; u < own.to * VL; u += VL)
            for (int64_t b = 0; b < n; b++) {
                float *y = out + output(0, u) + b * width;
                store(y, norm.apply(0, u, load(y)));
            }
    }

    // Turn gout into the gradient of the raw outputs, for this thread's units, and move their gamma and beta.
    void backward_norm(int thread, int64_t n, const Adam &adam) const {
        Range mine = share(blocks, thread, threads), own = {mine.from * vectors, mine.to * vectors};
        for (int64_t u = own.from * VL; u < own.to * VL; u += VL) {
            norm.add_products(0, u, gout + output(0, u), raw + output(0, u), n, width);
            norm.backward(0, n, u, gout + output(0, u), raw + output(0, u), n, width);
        }
        norm.update(own, adam);
        norm.clear(0, own);
    }

    // Move the weights and biases, and before that find gx where it is needed. Needs the columns and all of gout.
    void backward(int thread, int64_t n, bool need_gx, int64_t step, const Adam &adam) const {
        bool whole = by_blocks();
        Range mine = whole ? share(blocks, thread, threads) : Range{0, blocks};
        Range inputs_mine = whole ? Range{0, inputs} : share(inputs, thread, threads);
        auto run = vectors == 4   ? &Dense::backward_block<4>
                   : vectors == 2 ? &Dense::backward_block<2>
                                  : &Dense::backward_block<1>;
        for (int64_t i = mine.from; i < mine.to; i++)
            (this->*run)(thread, n, turned(step, mine, i), inputs_mine, i == mine.from, need_gx, adam);
    }

    // One row of x from its gradient's parts, transposed: to[k] for the inputs from k0 to k1 of image b. Inputs that
    // are zero, through ReLU or dropout, pass nothing back.
    void gather_gradient(int64_t b, int64_t k0, int64_t k1, float *to) const {
        float scale = dropout.scale();
        const float *x_row = x + b * inputs;
        for (int64_t k = k0; k < k1; k++) to[k - k0] = gx[k * batch_p + b];
        for (int64_t part = 1; part < parts; part++)
            for (int64_t k = k0; k < k1; k++) to[k - k0] += gx[(part * inputs + k) * batch_p + b];
        for (int64_t k = k0; k < k1; k++) to[k - k0] *= x_row[k] != 0 ? scale : 0;
    }

  private:
    // Every other step goes through the blocks backwards: those touched last are still in the cache.
    static int64_t turned(int64_t step, Range blocks, int64_t i) {
        return step % 2 ? blocks.to - 1 - (i - blocks.from) : i;
    }

    // NB blocks at once, from `block` on: more sums in registers for each input that is looked up.
    template <int NV, int NB> void forward_blocks(int64_t block, Range images) const {
        const int W = NV * VL;
        const float *first = norm.on ? zeros : biases.w;
        const int64_t next_w = inputs * W, next_out = batch * W;
        const float *w = weights.w + block * next_w;
        float *to = out + block * next_out;
        const int64_t lines = INPUT_BLOCK * W / 16, each = lines / (images.to - images.from + 1) + 1;  // of 64 bytes
        for (int64_t part = 0; part < rows.blocks; part++)
            for (int64_t b = images.from; b < images.to; b++) {
                // the processor does not foresee which weights are read: ask for those of the next part
                for (int64_t i = (b - images.from) * each, n = 0; n < each && i < lines && part + 1 < rows.blocks;
                     i++, n++)
                    UNROLL(j, NB) __builtin_prefetch(w + j * next_w + (part + 1) * INPUT_BLOCK * W + i * 16);
                const int32_t *starts = rows.starts + b * (rows.blocks + 1), *at = rows.at + b * inputs;
                const float *value = rows.value + b * inputs;
                V sum[NB][NV];
                UNROLL(i, NB)
                    UNROLL(j, NV)
                        sum[i][j] = load(part ? to + i * next_out + b * W + j * VL : first + (block + i) * W + j * VL);
                for (int64_t k = starts[part]; k < starts[part + 1]; k++) {
                    const float *row = w + (int64_t)at[k] * W;
                    V x = splat(value[k]);
                    UNROLL(i, NB)
                        UNROLL(j, NV) sum[i][j] += x * load(row + i * next_w + j * VL);
                }
                bool rectify = relu && !norm.on && part + 1 == rows.blocks;
                UNROLL(i, NB)
                    UNROLL(j, NV) {
                        V y = sum[i][j];
                        if (rectify) y = rectified(y);
                        store(to + i * next_out + b * W + j * VL, y);
                    }
            }
    }

    // For one block of units and some of the inputs.
    template <int NV>
    void backward_block(int thread, int64_t n, int64_t block, Range mine, bool first, bool need_gx,
                        const Adam &adam) const {
        const int W = NV * VL;
        const int64_t base = block * inputs * W;
        const float *g = gout + block * batch * W;
        float *units_first = scratch + thread * MAX_VECTORS * VL * batch_p;
        float *gx_mine = gx + (parts > 1 ? thread : 0) * inputs * batch_p;
        if (need_gx) transpose_gradient(g, W, n, batch_p, units_first, mixed);
        for (int64_t k0 = mine.from; k0 < mine.to; k0 += INPUT_GROUP) {
            int64_t k1 = k0 + INPUT_GROUP < mine.to ? k0 + INPUT_GROUP : mine.to;
            const float *w = weights.w + base;
            if (need_gx && k1 - k0 == INPUT_GROUP)
                add_input_gradients<INPUT_GROUP>(w + k0 * W, W, units_first, gx_mine + k0 * batch_p, batch_p, first,
                                                 mixed);
            else if (need_gx)
                for (int64_t k = k0; k < k1; k++)
                    add_input_gradients<1>(w + k * W, W, units_first, gx_mine + k * batch_p, batch_p, first, mixed);
            for (int64_t k = k0; k < k1; k++) move_weights<NV>(base + k * W, k, g, adam);  // now that they are used
        }
        // The biases belong to the thread with the first inputs. With fewer inputs than threads, empty ranges start at 0 too.
        if (mine.from == 0 && mine.to > 0 && !norm.on)
            for (int64_t j = 0; j < NV; j++) {
                V sum = {};
                for (int64_t b = 0; b < n; b++) sum += load(g + b * W + j * VL);
                adam.move(biases, block * W + j * VL, sum);
            }
    }

    // The weights between input k and one block of units, which begin at `from`; g (batch, width) is the block's
    // gradient.
    template <int NV>
    inline __attribute__((always_inline)) void move_weights(int64_t from, int64_t k, const float *g,
                                                            const Adam &adam) const {
        const int W = NV * VL, AHEAD = 16;  // inputs between those weights that move and those that are asked for
        V sum[NV];
        UNROLL(j, NV) sum[j] = V{};
        for (int j = 0; j < W; j += 16) {  // needed after the next group's input gradients
            __builtin_prefetch(weights.w + from + AHEAD * W + j, 1);
            __builtin_prefetch(weights.m + from + AHEAD * W + j, 1);
            __builtin_prefetch(weights.v + from + AHEAD * W + j, 1);
        }
        const uint16_t *image = columns.image + k * batch;
        const float *value = columns.value + k * batch;
        for (int64_t i = 0; i < columns.count[k]; i++) {
            const float *row = g + (int64_t)image[i] * W;
            V x = splat(value[i]);
            UNROLL(j, NV) sum[j] += x * load(row + j * VL);
        }
        UNROLL(j, NV) adam.move(weights, from + j * VL, sum[j]);
    }
};
