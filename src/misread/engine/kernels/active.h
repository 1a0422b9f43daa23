// Which cells of a convolution have to be computed.
//
// In the first layer, those whose window sees a pixel that is not zero. In the later layers of a prediction, those
// whose window sees a computed cell. All others are what an image of zeros gives. A training, whose weights change with
// every step, knows that of the first layer alone: it is the shift.
#pragma once
#include <cstdint>
#include <cstring>

#include "conv.h"

// A bit for each position of a convolution's padded input, by rows.
struct Positions {
    static const int ROWS = 512;
    uint64_t rows[ROWS] = {};

    static bool fit(const Conv &l) {
        return l.in_w + l.kernel_w <= 64 && l.kernel_w + l.pool <= 64 && l.in_h + l.kernel_h <= ROWS;
    }
};

static Positions pixels_set(const Conv &l, const uint8_t *image) {
    Positions set;
    int64_t row = l.in_w * l.channels;
    for (int64_t y = 0; y < l.in_h; y++)
        for (int64_t x = 0; x < l.in_w; x++)
            for (int64_t c = 0; c < l.channels; c++)
                set.rows[y + l.top] |= (uint64_t)(image[y * row + x * l.channels + c] != 0) << (x + l.left);
    return set;
}

// From the n cells that were computed in the layer before.
static Positions cells_set(const Conv &l, const int32_t *cells, int64_t n) {
    Positions set;
    for (int64_t i = 0; i < n; i++)
        set.rows[cells[i] / l.before->pooled_w + l.top] |= 1ull << (cells[i] % l.before->pooled_w + l.left);
    return set;
}

// The cells whose window sees one of the positions. Returns how many.
static int64_t cells_seeing(const Conv &l, const Positions &set, int32_t *cells) {
    int64_t n = 0;
    uint64_t window = (1ull << (l.kernel_w + l.pool - 1)) - 1;
    for (int64_t y = 0; y < l.pooled_h; y++) {
        uint64_t any = 0;
        for (int64_t i = 0; i < l.kernel_h + l.pool - 1; i++) any |= set.rows[y * l.pool + i];
        for (int64_t x = 0; x < l.pooled_w; x++) {
            cells[n] = y * l.pooled_w + x;
            n += (any >> (x * l.pool) & window) != 0;
        }
    }
    return n;
}

// List the cells to compute, in order. Returns how many.
static int64_t list_active(const Conv &l, int thread, const uint8_t *image, bool train, int32_t *cells) {
    if (!Positions::fit(l) || (l.before && train)) {
        memcpy(cells, l.every_cell, l.cells * sizeof(int32_t));
        return l.cells;
    }
    if (!l.before) return cells_seeing(l, pixels_set(l, image), cells);
    return cells_seeing(l, cells_set(l, l.before->active + thread * l.before->cells, l.before->n_active[thread]),
                        cells);
}
