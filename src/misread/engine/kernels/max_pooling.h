// Max-pooling of 2x2 with strides of 2, and its gradient, by themselves. Images are channels-last.
#pragma once
#include <cstdint>
#include <cstring>

#include "abi.h"
#include "simd.h"
#include "threads.h"

struct MaxPooling {
    Images shape;
    int64_t out_h = shape.height / 2, out_w = shape.width / 2, row = shape.width * shape.channels;

    // x -> y (batch, out_h, out_w, channels), and of each which of its window's four numbers it is, row by row: the first
    // of several, and the last NaN, as in PyTorch. `chosen` can be null.
    void forward(const float *x, float *y, uint8_t *chosen, Parallel *parallel) const {
        for_rows(parallel, [=, this](int64_t, int64_t in, int64_t out) {
            for_windows(in, out, [=, this](int64_t in, int64_t out, int64_t n) {
                V best = load_up_to(x + in, n);
                VI which = {};
                UNROLL(i, 3) {
                    V other = load_up_to(x + in + place(i + 1), n);
                    VI better = (other > best) | (other != other);
                    best = better ? other : best;
                    which = better ? VI{} + (i + 1) : which;
                }
                store_up_to(y + out, best, n);
                if (!chosen) return;
                store_up_to(chosen + out, to_bytes(which), n);
            });
        });
    }

    // The gradient by x from that by y, with the zeros: rows and columns outside the windows too.
    void backward(const float *gy, const uint8_t *chosen, float *gx, Parallel *parallel) const {
        for_rows(parallel, [=, this](int64_t y, int64_t in, int64_t out) {
            for_windows(in, out, [=, this](int64_t in, int64_t out, int64_t n) {
                VI which = from_bytes(load_up_to(chosen + out, n));
                V g = load_up_to(gy + out, n);
                UNROLL(i, 4) store_up_to(gx + in + place(i), which == i ? g : V{}, n);
            });
            if (shape.width % 2)
                for (int64_t i = 1; i <= 2; i++) memset(gx + in + i * row - shape.channels, 0, shape.channels * sizeof(float));
            if (shape.height % 2 && y == out_h - 1) memset(gx + in + 2 * row, 0, row * sizeof(float));
        });
    }

  private:
    // Where the i-th number of a window is, after its first.
    int64_t place(int64_t i) const { return i / 2 * row + i % 2 * shape.channels; }

    // work(y, where its windows begin in x, where it begins in y) for each row of each image of y
    template <class Work> void for_rows(Parallel *parallel, Work work) const {
        for_parts(parallel, shape.parts, [=, this](int64_t part) {
            Range mine = share(shape.batch * out_h, part, shape.parts);
            for (int64_t i = mine.from; i < mine.to; i++)
                work(i % out_h, (i / out_h * shape.height + i % out_h * 2) * row, i * out_w * shape.channels);
        });
    }

    // work(in, out, n) for n channels, at most VL, of each window of a row
    template <class Work> INLINE_METHOD void for_windows(int64_t in, int64_t out, Work work) const {
        for (int64_t x = 0; x < out_w; x++, in += 2 * shape.channels, out += shape.channels)
            for_vectors(shape.channels, [=](int64_t c, int64_t n) { work(in + c, out + c, n); });
    }
};
