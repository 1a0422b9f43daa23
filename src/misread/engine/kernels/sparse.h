// A dense layer's inputs without their zeros, image by image and input by input.
//
// The forward pass goes through the inputs of each image (Rows), the weights' gradient through the images of each input
// (Columns). Leaving out products with an exact zero changes no sum.
#pragma once
#include <cstdint>

#include "arena.h"
#include "simd.h"
#include "threads.h"

const int INPUT_BLOCK = 64;  // inputs whose weights, for one block of units, fit the first-level cache

// For each image, its inputs that are not zero, in order.
struct Rows {
    int64_t inputs, blocks;  // blocks of INPUT_BLOCK inputs
    int32_t *at;             // (batch, inputs): which inputs; the first starts[blocks] are in use
    float *value;            // (batch, inputs)
    int32_t *starts;         // (batch, blocks + 1): where each block of inputs begins in `at`

    void plan(Arena &arena, int64_t batch, int64_t inputs) {
        this->inputs = inputs, blocks = (inputs + INPUT_BLOCK - 1) / INPUT_BLOCK;
        arena.plan(at, {batch, inputs});
        arena.plan(value, {batch, inputs});
        arena.plan(starts, {batch, blocks + 1});
    }

    // x (batch, inputs)
    void list(const float *x, Range images) const {
        for (int64_t b = images.from; b < images.to; b++) {
            const float *row = x + b * inputs;
            int32_t *at_row = at + b * inputs, *starts_row = starts + b * (blocks + 1), n = 0;
            float *value_row = value + b * inputs;
            for (int64_t block = 0; block < blocks; block++) {
                starts_row[block] = n;
                int64_t k = block * INPUT_BLOCK, to = k + INPUT_BLOCK < inputs ? k + INPUT_BLOCK : inputs;
                for (; k + VL <= to; k += VL) n += append_nonzero(row + k, k, value_row + n, at_row + n);
                for (; k < to; k++) {
                    at_row[n] = k;
                    value_row[n] = row[k];
                    n += row[k] != 0;
                }
            }
            starts_row[blocks] = n;
        }
    }
};

// For each input, the images in which it is not zero, in order.
struct Columns {
    int64_t batch;
    uint16_t *image;  // (inputs, batch); the first count[input] are in use
    float *value;     // (inputs, batch)
    int32_t *count;   // (inputs)

    void plan(Arena &arena, int64_t batch, int64_t inputs) {
        this->batch = batch;
        arena.plan(image, {inputs, batch});
        arena.plan(value, {inputs, batch});
        arena.plan(count, {inputs});
    }

    // From the rows of n images, for some of the blocks of inputs.
    void list(const Rows &rows, int64_t n, Range blocks) const {
        int64_t first = blocks.from * INPUT_BLOCK, end = blocks.to * INPUT_BLOCK;
        for (int64_t k = first; k < end && k < rows.inputs; k++) count[k] = 0;
        for (int64_t b = 0; b < n; b++) {
            const int32_t *starts = rows.starts + b * (rows.blocks + 1), *at = rows.at + b * rows.inputs;
            const float *values = rows.value + b * rows.inputs;
            for (int64_t i = starts[blocks.from]; i < starts[blocks.to]; i++) {
                int64_t to = at[i] * batch + count[at[i]]++;
                image[to] = b;
                value[to] = values[i];
            }
        }
    }
};
