// Dropout: what a layer's outputs lose on their way into a dense layer.
#pragma once
#include <cstdint>

#include "simd.h"

// Wellons 2018, "Prospecting for hash functions", with the better constants found later (lowbias32)
INLINE uint32_t hash(uint32_t x) {
    x ^= x >> 16;
    x *= 0x21f0aaadu;
    x ^= x >> 15;
    x *= 0x735a2d97u;
    return x ^ x >> 15;
}

struct Dropout {
    float rate = 0;      // in [0, 1)
    uint32_t layer = 0;  // whose outputs these are

    float scale() const { return 1 / (1 - rate); }

    // Drop some of the n values at x. Which ones is a function of the key, the step, the image's place in the batch,
    // the layer and the value's place, so it is the same with any number of threads and after a resume.
    void apply(float *x, int64_t n, uint32_t key, int64_t step, int64_t image) const {
        if (rate == 0) return;
        uint32_t own = hash(hash(hash(key) + (uint32_t)step) + (uint32_t)image * 64 + layer);
        uint32_t limit = (uint32_t)(rate * 4294967296.0);  // below 2^32, because the rate is below 1
        float by = scale();
        for (int64_t i = 0; i < n; i++) x[i] = hash(own + (uint32_t)i) >= limit ? x[i] * by : 0;
    }
};
