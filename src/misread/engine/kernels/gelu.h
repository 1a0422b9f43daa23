// GELU, x times the probability that a normal number is below x (Hendrycks and Gimpel 2016, arXiv 1606.08415), and its
// gradient, by themselves.
#pragma once
#include <cstdint>

#include "abi.h"
#include "simd.h"
#include "threads.h"

// The normal distribution at x: the probability of a number further out on the same side, and the density.
struct Normal {
    V tail, density;
};

// Both with errors near that of a float. The tail is the density times a polynomial in 1 / (1 + 0.275 |x|), without its
// constant; both polynomials were fitted to the least largest error.
INLINE Normal normal(V x) {
    V power = x * x * -0.5f;
    power = power > -88 ? power : splat(-88.0f);  // from here on the scale below is exactly 0
    // e^power = 2^n e^rest: adding 1.5 * 2^23 rounds to an integer, which the lowest bits then hold
    V rounded = power * 1.44269504f + 12582912, n = rounded - 12582912, rest = power - n * 0.693147181f;
    V scale = (V)(((VI)rounded + 127) << 23);
    V density = 0.00055201031f * rest + 0.0033410683f;
    density = density * rest + 0.016623217f;
    density = density * rest + 0.066489397f;
    density = density * rest + 0.19947111f;
    density = density * rest + 0.39894229f;
    density = (density * rest + 0.39894228f) * scale;
    V t = reciprocal(1 + 0.275f * (V)((VI)x & INT32_MAX));
    V tail = -0.28617046f * t + 1.1258880f;
    tail = tail * t - 0.81813410f;
    tail = tail * t + 0.82773669f;
    tail = tail * t + 0.10928093f;
    tail = (tail * t + 0.29471311f) * t;
    return {tail * density, density};
}

INLINE V gelu(V x) {
    V tail = normal(x).tail;
    return x * (x < 0 ? tail : 1 - tail);
}

// times the gradient g of the outputs
INLINE V gelu_gradient(V x, V g) {
    auto [tail, density] = normal(x);
    return g * ((x < 0 ? tail : 1 - tail) + x * density);
}

// y[i] = f(from[i], ...) for all numbers of the images. A result has the same bits at any place.
template <class F, class... From>
void for_numbers(const Images &shape, Parallel *parallel, F f, float *y, const From *...from) {
    const int64_t n = shape.batch * shape.height * shape.width * shape.channels;
    for_parts(parallel, shape.parts, [=](int64_t part) {
        Range mine = share(n, part, shape.parts);
        for_vectors(mine.to - mine.from, [=](int64_t i, int64_t these) {
            i += mine.from;
            store_up_to(y + i, f(load_up_to(from + i, these)...), these);
        });
    });
}
