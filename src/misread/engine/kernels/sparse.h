// A dense layer's inputs without their zeros, image by image and input by input.
//
// The forward pass goes through the inputs of each image (Rows), the weights' gradient through the images of each input
// (Columns). Leaving out products with an exact zero changes no sum.
#pragma once
#include <cstdint>

#include "arena.h"
#include "simd.h"
#include "threads.h"

const int INPUT_BLOCK = VL == 16 ? 64 : 128;  // inputs whose weights, for two blocks of units, fit the L1 cache

// The inputs of a block, from `from` up to, not including, `to`.
INLINE Range inputs_of(int64_t block, int64_t inputs) {
    int64_t from = block * INPUT_BLOCK;
    return {from, from + INPUT_BLOCK < inputs ? from + INPUT_BLOCK : inputs};
}

// For each image, its inputs that are not zero, in order.
struct Rows {
    int64_t inputs, blocks;  // blocks of INPUT_BLOCK inputs
    bool mixed;
    int32_t *at;             // (batch, inputs): which inputs; the first starts[blocks] are in use
    float *value;            // (batch, inputs)
    int32_t *starts;         // (batch, blocks + 1): where each block of inputs begins in `at`

    void plan(Arena &arena, int64_t batch, int64_t inputs, bool mixed) {
        this->inputs = inputs, blocks = (inputs + INPUT_BLOCK - 1) / INPUT_BLOCK;
        this->mixed = mixed;
        arena.plan(at, {batch, inputs});
        arena.plan(value, {batch, inputs});
        arena.plan(starts, {batch, blocks + 1});
    }

    // How many of a block's inputs are not zero.
    int64_t count(int64_t b, int64_t block) const {
        const int32_t *start = starts + b * (blocks + 1) + block;
        return start[1] - start[0];
    }

    // With at least this many the forward pass takes all inputs of a block: it is full. An image's own counts decide,
    // so its logits do not depend on the images beside it. docs/kernels.md says where the limits come from.
    int64_t full_from(int64_t block) const {
        Range these = inputs_of(block, inputs);
        return (these.to - these.from) * (mixed ? 24 : 38) / 64;
    }

    // x (batch, stride)
    void list(const float *x, int64_t stride, Range images) const {
        for (int64_t b = images.from; b < images.to; b++) {
            const float *row = x + b * stride;
            int32_t *at_row = at + b * inputs, *starts_row = starts + b * (blocks + 1), n = 0;
            float *value_row = value + b * inputs;
            for (int64_t block = 0; block < blocks; block++) {
                starts_row[block] = n;
                Range these = inputs_of(block, inputs);
                int64_t k = these.from;
                for (; k + VL <= these.to; k += VL) n += append_nonzero(row + k, k, value_row + n, at_row + n);
                for (; k < these.to; k++) {
                    at_row[n] = k;
                    value_row[n] = row[k];
                    n += row[k] != 0;
                }
            }
            starts_row[blocks] = n;
        }
    }
};

// For each input, the images in which it is not zero, in order. A full block has no such lists.
struct Columns {
    int64_t batch;
    uint16_t *image;  // (inputs, batch); the first count[input] are in use
    float *value;     // (inputs, batch)
    int32_t *count;   // (inputs)
    uint8_t *full;    // (blocks): whether so few of a block's values are zero that the gradient takes them all

    void plan(Arena &arena, int64_t batch, const Rows &rows) {
        this->batch = batch;
        arena.plan(image, {rows.inputs, batch});
        arena.plan(value, {rows.inputs, batch});
        arena.plan(count, {rows.inputs});
        arena.plan(full, {rows.blocks});
    }

    // From the rows of n images, for some of the blocks of inputs.
    void list(const Rows &rows, int64_t n, Range blocks) const {
        for (int64_t block = blocks.from; block < blocks.to; block++) {
            Range these = inputs_of(block, rows.inputs);
            int64_t sum = 0;
            for (int64_t b = 0; b < n; b++) sum += rows.count(b, block);
            full[block] = sum * 64 >= n * (these.to - these.from) * (rows.mixed ? 14 : 30);
            if (full[block]) continue;
            for (int64_t k = these.from; k < these.to; k++) count[k] = 0;
            for (int64_t b = 0; b < n; b++) {
                const int32_t *starts = rows.starts + b * (rows.blocks + 1), *at = rows.at + b * rows.inputs;
                const float *values = rows.value + b * rows.inputs;
                for (int64_t i = starts[block]; i < starts[block + 1]; i++) {
                    int64_t to = at[i] * batch + count[at[i]]++;
                    image[to] = b;
                    value[to] = values[i];
                }
            }
        }
    }
};
