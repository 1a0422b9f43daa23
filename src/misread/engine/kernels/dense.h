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
#include "full.h"
#include "input_gradient.h"
#include "norm.h"
#include "simd.h"
#include "sparse.h"
#include "threads.h"

struct Dense {
    int64_t inputs, units, batch, threads;
    bool relu, trains, mixed;
    int64_t batch_p;         // the batch in whole vectors
    int64_t pairs;           // of the batch's images
    int64_t stride;          // between the rows of x: an odd number of cache lines, so that a column fits the cache
    int64_t vectors, width;  // of a block of units; width = vectors * VL
    int64_t blocks;
    int64_t parts;    // copies of gx
    Dropout dropout;  // of the inputs

    Params weights;   // (blocks, inputs, width); units beyond the last are zero and stay so
    Params biases;    // (blocks, width); not with a normalisation
    Norm norm;        // of blocks * width units
    float *zeros;     // (blocks, width): where a normalised layer's sums begin
    float *x;         // (batch, stride), after dropout; what fills up a row is zero
    Rows rows;        // of x
    Columns columns;  // of x
    Pair *x_pairs;    // (batch, stride / 2): x in pairs of inputs, where its blocks are full; only if mixed
    Pair *x_joined;   // (pairs, stride): x in pairs of images, the same; only if mixed
    float *out;       // (blocks, batch, width): the outputs; of the last layer the logits
    float *raw;       // (blocks, batch, width): the outputs before a normalisation
    float *gout;      // (blocks, batch, width): the gradient of the loss by `out`
    float *gx;        // (parts, inputs, batch_p): by x; the sum of the parts
    float *scratch;   // (threads, MAX_VECTORS * VL, batch_p): one block of gout with units first
    Pair *g_joined;   // (threads, pairs, MAX_VECTORS * VL): one block of gout in pairs of images; only if mixed

    void plan(Arena &arena, const Spec &spec, int64_t batch, int64_t threads, bool trains, bool mixed) {
        inputs = spec.in_c, units = spec.units, relu = spec.relu;
        this->batch = batch, this->threads = threads, this->trains = trains, this->mixed = mixed;
        batch_p = round_up(batch, VL), pairs = (batch + 1) / 2;
        stride = (round_up(inputs, 16) / 16 | 1) * 16;
        int64_t sharers = trains ? threads : 1;  // of the units
        vectors = units > 2 * VL * sharers ? 4 : units > VL * sharers ? 2 : 1;
        width = vectors * VL;
        blocks = (units + width - 1) / width;
        parts = by_blocks() ? threads : 1;
        weights.plan(arena, {blocks, inputs, width}, trains);
        arena.plan(x, {batch, stride});
        arena.plan(out, {blocks, batch, width});
        rows.plan(arena, batch, inputs, mixed);
        x_pairs = x_joined = g_joined = nullptr;
        if (mixed) arena.plan(x_pairs, {batch, stride / 2});
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
        columns.plan(arena, batch, rows);
        if (!mixed) return;
        arena.plan(x_joined, {pairs, stride});
        arena.plan(g_joined, {threads, pairs, MAX_VECTORS * VL});
    }

    // A training's work is shared by blocks of units where that is even; otherwise by images (forward) or inputs
    // (backward). Without a training it is shared by images, so that no thread waits for another.
    bool by_blocks() const { return trains && (blocks >= 4 * threads || blocks % threads == 0); }

    // The place of a weight in `weights`.
    int64_t weight(int64_t unit, int64_t input) const { return (unit / width * inputs + input) * width + unit % width; }

    // The place of an output in `out`, `raw` and `gout`.
    int64_t output(int64_t image, int64_t unit) const { return (unit / width * batch + image) * width + unit % width; }

    // Look for zeros in x, image by image.
    void list_rows(Range images) const {
        rows.list(x, stride, images);
        for (int64_t b = images.from; mixed && b < images.to; b++)
            for (int64_t block = 0; block < rows.blocks; block++) {
                if (rows.count(b, block) < rows.full_from(block)) continue;
                Range these = inputs_of(block, inputs);
                for (int64_t k = these.from; k < these.to; k += VL)
                    store_half((Half *)(x_pairs + b * stride / 2) + k, load(x + b * stride + k));
            }
    }

    // And then for this thread's inputs, over n images.
    void list_columns(int thread, int64_t n) const {
        Range mine = share(rows.blocks, thread, threads);
        columns.list(rows, n, mine);
        for (int64_t block = mine.from; mixed && block < mine.to; block++) {
            if (!columns.full[block]) continue;
            Range these = inputs_of(block, inputs);
            join_rows(x + these.from, n, stride, round_up(these.to - these.from, VL), x_joined + these.from);
        }
    }

    // x * weights + biases for n images, then ReLU unless a normalisation follows. Needs the rows of all of them. Where
    // work is shared by images, this thread has those `at`.
    void forward(int thread, int64_t n, Range at, int64_t step) const {
        bool whole = by_blocks();
        Range mine = whole ? share(blocks, thread, threads) : Range{0, blocks};
        Range images = whole ? Range{0, n} : at;
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

    // Normalise n images, then ReLU: this thread's units, or without a training its images `at`.
    void normalise(int thread, int64_t n, Range at, bool train) const {
        Range mine = trains ? share(blocks, thread, threads) : Range{0, blocks};
        Range images = trains ? Range{0, n} : at, own = {mine.from * vectors, mine.to * vectors};
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
            for (int64_t b = images.from; b < images.to; b++) {
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
        Range inputs_mine = whole ? Range{0, rows.blocks} : share(rows.blocks, thread, threads);
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
        const float *x_row = x + b * stride;
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

    // Where a pass over one part of the inputs finds the sums of some blocks of units, and leaves them.
    struct Sums {
        const float *from;               // the biases for the first part, then `to`
        int64_t from_block, from_image;  // floats to the next one
        float *to;
        int64_t to_block, to_image;
        bool rectify;

        template <int NV> INLINE_METHOD void load_to(V (&sums)[NV], int64_t block, int64_t b) const {
            UNROLL(j, NV) sums[j] = load(from + block * from_block + b * from_image + j * VL);
        }
        template <int NV> INLINE_METHOD void store_from(const V (&sums)[NV], int64_t block, int64_t b) const {
            UNROLL(j, NV) store(to + block * to_block + b * to_image + j * VL, rectify ? rectified(sums[j]) : sums[j]);
        }
    };

    Sums sums_of(int64_t block, int64_t part) const {
        float *to = out + block * batch * width;
        bool rectify = relu && !norm.on && part + 1 == rows.blocks;
        if (part) return {to, batch * width, width, to, batch * width, width, rectify};
        return {(norm.on ? zeros : biases.w) + block * width, width, 0, to, batch * width, width, rectify};
    }

    // NB blocks at once, from `block` on: more sums in registers for each input that is looked up.
    template <int NV, int NB> void forward_blocks(int64_t block, Range images) const {
        const int W = NV * VL;
        const int64_t next_w = inputs * W;
        const float *w = weights.w + block * next_w;
        const int64_t lines = INPUT_BLOCK * W / 16, each = lines / (images.to - images.from + 1) + 1;  // of 64 bytes
        for (int64_t part = 0; part < rows.blocks; part++) {
            const Sums place = sums_of(block, part);
            const int64_t full_from = rows.full_from(part);
            Pair joined[NB * INPUT_BLOCK / 2 * W];  // (NB, INPUT_BLOCK / 2, W): the weights in bf16; only if mixed
            bool is_joined = !mixed;
            int64_t full[FULL_ROWS], n_full = 0;  // images whose inputs are full here, until there are enough of them
            for (int64_t b = images.from; b < images.to; b++) {
                // the processor does not foresee which weights are read: ask for those of the next part
                for (int64_t i = (b - images.from) * each, n = 0; n < each && i < lines && part + 1 < rows.blocks;
                     i++, n++)
                    UNROLL(j, NB) __builtin_prefetch(w + j * next_w + (part + 1) * INPUT_BLOCK * W + i * 16);
                const int32_t *starts = rows.starts + b * (rows.blocks + 1) + part, *at = rows.at + b * inputs;
                if (starts[1] - starts[0] >= full_from) {
                    if (HAS_BF16 && !is_joined) join_weights<NV, NB>(block, part, joined);
                    is_joined = true;
                    full[n_full++] = b;
                    if (n_full == FULL_ROWS) forward_full<NV, NB, FULL_ROWS>(place, block, part, full, n_full, joined);
                    n_full %= FULL_ROWS;
                    continue;
                }
                const float *value = rows.value + b * inputs;
                alignas(4 * VL) V sums[NB][NV];
                UNROLL(i, NB) place.load_to(sums[i], i, b);
                for (int64_t k = starts[0]; k < starts[1]; k++) {
                    const float *row = w + (int64_t)at[k] * W;
                    V x = splat(value[k]);
                    UNROLL(i, NB)
                        UNROLL(j, NV) sums[i][j] += x * load(row + i * next_w + j * VL);
                }
                UNROLL(i, NB) place.store_from(sums[i], i, b);
            }
            forward_full<NV, NB, FULL_ROWS - 1>(place, block, part, full, n_full, joined);
        }
    }

    // For n images, at most N, all inputs of a part. `joined`: the weights in pairs of inputs, if mixed.
    template <int NV, int NB, int N>
    void forward_full(const Sums &place, int64_t block, int64_t part, const int64_t *images, int64_t n,
                      const Pair *joined) const {
        if (n < N) {
            if constexpr (N > 1) forward_full<NV, NB, N - 1>(place, block, part, images, n, joined);
            return;
        }
        const int W = NV * VL;
        Range these = inputs_of(part, inputs);
        for (int64_t i = 0; i < NB; i++) {
            alignas(4 * VL) V sums[N][NV];
            UNROLL(r, N) place.load_to(sums[r], i, images[r]);
            if (HAS_BF16 && mixed) {
                const Pair *row[N];
                UNROLL(r, N) row[r] = x_pairs + (images[r] * stride + these.from) / 2;
                add_lines(sums, row, N * stride / 2, joined + i * INPUT_BLOCK / 2 * W, (these.to - these.from + 1) / 2);
            } else {
                const float *row[N], *w = weights.w + ((block + i) * inputs + these.from) * W;
                UNROLL(r, N) row[r] = x + images[r] * stride + these.from;
                add_lines(sums, row, N * stride, w, these.to - these.from);
            }
            UNROLL(r, N) place.store_from(sums[r], i, images[r]);
        }
    }

    template <int NV, int NB> void join_weights(int64_t block, int64_t part, Pair *joined) const {
        const int W = NV * VL;
        Range these = inputs_of(part, inputs);
        for (int64_t i = 0; i < NB; i++)
            join_rows(weights.w + ((block + i) * inputs + these.from) * W, these.to - these.from, W, W,
                      joined + i * INPUT_BLOCK / 2 * W);
    }

    // For one block of units and some blocks of inputs.
    template <int NV>
    void backward_block(int thread, int64_t n, int64_t block, Range mine, bool first, bool need_gx,
                        const Adam &adam) const {
        const int W = NV * VL;
        const float *g = gout + block * batch * W;
        if (need_gx) transpose_gradient(g, W, n, batch_p, units_first(thread), mixed);
        if (HAS_BF16 && mixed) join_rows(g, n, W, W, gradient_pairs(thread));
        for (int64_t part = mine.from; part < mine.to; part++) {
            Range these = inputs_of(part, inputs);
            int64_t k = these.from;
            for (; k + INPUT_GROUP <= these.to; k += INPUT_GROUP)
                backward_inputs<NV, INPUT_GROUP>(thread, n, block, part, k, first, need_gx, adam);
            for (; k + 4 <= these.to; k += 4) backward_inputs<NV, 4>(thread, n, block, part, k, first, need_gx, adam);
            for (; k < these.to; k++) backward_inputs<NV, 1>(thread, n, block, part, k, first, need_gx, adam);
        }
        // Biases belong to the thread with the first inputs. With fewer parts than threads, empty ranges start at 0.
        if (mine.from == 0 && mine.to > 0 && !norm.on)
            for (int64_t j = 0; j < NV; j++) {
                V sum = {};
                for (int64_t b = 0; b < n; b++) sum += load(g + b * W + j * VL);
                adam.move(biases, block * W + j * VL, sum);
            }
    }

    float *units_first(int thread) const { return scratch + thread * MAX_VECTORS * VL * batch_p; }
    Pair *gradient_pairs(int thread) const { return g_joined + thread * MAX_VECTORS * VL * pairs; }

    // For one block of units and K inputs from k on.
    template <int NV, int K>
    void backward_inputs(int thread, int64_t n, int64_t block, int64_t part, int64_t k, bool first, bool need_gx,
                         const Adam &adam) const {
        const int W = NV * VL;
        const int64_t from = (block * inputs + k) * W;
        float *gx_mine = gx + ((parts > 1 ? thread : 0) * inputs + k) * batch_p;
        if (need_gx) add_input_gradients<K>(weights.w + from, W, units_first(thread), gx_mine, batch_p, first, mixed);
        const int N = K % FULL_ROWS == 0 ? FULL_ROWS : K <= FULL_ROWS ? K : 2;
        static_assert(K % N == 0);
        if (columns.full[part])
            for (int64_t i = 0; i < K; i += N) move_full<NV, N>(thread, n, block, k + i, adam);
        else
            for (int64_t i = 0; i < K; i++) move_sparse<NV>(from + i * W, k + i, gout + block * batch * W, adam);
    }

    // The weights between N inputs, from k on, and one block of units: from all values.
    template <int NV, int N>
    INLINE_METHOD void move_full(int thread, int64_t n, int64_t block, int64_t k, const Adam &adam) const {
        const int W = NV * VL;
        const int64_t from = (block * inputs + k) * W;
        alignas(4 * VL) V sums[N][NV];  // Clang takes an array behind a reference to be aligned as whole vectors
        UNROLL(i, N)
            UNROLL(j, NV) sums[i][j] = V{};
        auto add = [&](const auto *columns, const auto *g, int64_t images) {
            for (int part = 0; part < N; part++) {
                Range these = share(images, part, N);
                decltype(columns) column[N];
                UNROLL(i, N) column[i] = columns + these.from * stride + k + i;
                add_products(sums, column, stride, g + these.from * W, these.to - these.from);
                ask_for<W>(from + part * W);  // in parts: many at once would wait for one another
            }
        };
        if (HAS_BF16 && mixed) add(x_joined, gradient_pairs(thread), (n + 1) / 2);
        else add(x, gout + block * batch * W, n);
        UNROLL(i, N)
            UNROLL(j, NV) adam.move(weights, from + i * W + j * VL, sums[i][j]);
    }

    // The weights between input k and one block of units, which begin at `from`; g (batch, width) is the block's
    // gradient. Zeros are left out.
    template <int NV> INLINE_METHOD void move_sparse(int64_t from, int64_t k, const float *g, const Adam &adam) const {
        const int W = NV * VL;
        V sums[NV];
        UNROLL(j, NV) sums[j] = V{};
        ask_for<W>(from);
        const uint16_t *image = columns.image + k * batch;
        const float *value = columns.value + k * batch;
        for (int64_t i = 0; i < columns.count[k]; i++) {
            const float *row = g + (int64_t)image[i] * W;
            V x = splat(value[i]);
            UNROLL(j, NV) sums[j] += x * load(row + j * VL);
        }
        UNROLL(j, NV) adam.move(weights, from + j * VL, sums[j]);
    }

    // Prefetch N weights and their moments, 16 inputs after those at `from`: needed after the next input gradients.
    template <int N> INLINE_METHOD void ask_for(int64_t from) const {
        from += 16 * width;
        for (int j = 0; j < N; j += 16) {
            __builtin_prefetch(weights.w + from + j, 1);
            __builtin_prefetch(weights.m + from + j, 1);
            __builtin_prefetch(weights.v + from + j, 1);
        }
    }
};
