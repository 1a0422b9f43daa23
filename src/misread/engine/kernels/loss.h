// Softmax and cross-entropy.
#pragma once
#include <cmath>
#include <cstdint>

#include "conv.h"
#include "dense.h"
#include "threads.h"

// What one thread counted, on a cache line of its own.
struct alignas(64) Tally {
    double loss = 0;      // the sum over this thread's images of the last step
    int64_t correct = 0;  // images of the call that were classified rightly
};

// Cross-entropy of the last layer's logits, with label smoothing (Szegedy et al. 2016, arXiv 1512.00567), for some of
// the step's images: its sum into the tally, and the gradient of the step's mean into the layer's gout.
static void softmax_loss(const Dense &l, const Step &step, Range images, float smooth, Tally &tally) {
    const int64_t classes = l.units;
    tally.loss = 0;
    for (int64_t b = images.from; b < images.to; b++) {
        const float *y = l.out + b * l.width;
        float *g = l.gout + b * l.width;
        int64_t block = l.batch * l.width, label = step.labels[step.row(b)];
        auto at = [&](int64_t k) { return k / l.width * block + k % l.width; };
        float top = y[0];
        int64_t best = 0;
        double sum = 0, mean = 0;
        for (int64_t k = 1; k < classes; k++)
            if (y[at(k)] > top) top = y[at(k)], best = k;
        for (int64_t k = 0; k < classes; k++) {
            float p = expf(y[at(k)] - top);
            g[at(k)] = p;
            sum += p;
            mean += y[at(k)];
        }
        double log_sum = top + log(sum);
        tally.loss += log_sum - (1 - smooth) * y[at(label)] - smooth * mean / classes;
        tally.correct += best == label;
        for (int64_t k = 0; k < classes; k++) {
            float target = (k == label ? 1 - smooth : 0) + smooth / classes;
            g[at(k)] = (g[at(k)] / (float)sum - target) / step.n;
        }
    }
}
