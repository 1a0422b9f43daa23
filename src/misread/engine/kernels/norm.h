// Batch normalisation: Ioffe and Szegedy 2015 (arXiv 1502.03167). The moving variance is that of the biased batch
// variance, as in Keras.
//
// It stands between a layer's products and its ReLU. Its shift, beta, takes the place of the layer's bias.
//
// Two layers use it, in two ways. In a convolution each thread has some of the images, so each sums for itself, and
// after a barrier each adds up the sums of all: `copies` is the number of threads. In a dense layer each unit belongs
// to one thread, which sees all images: there is one copy, and every thread touches only its own units of it.
#pragma once
#include <cstdint>
#include <cstring>

#include "adam.h"
#include "arena.h"
#include "simd.h"
#include "threads.h"

struct Norm {
    bool on = false;  // the layer is normalised; otherwise nothing here is used
    int64_t units;    // whole vectors
    int64_t copies;
    float momentum, epsilon;
    Params gammas, betas;                  // (units)
    float *moving_mean, *moving_variance;  // (units)
    float *sums;                           // (copies, 2, units); zero except between a sum and its use
    float *mean, *inverse;                 // (copies, units): of the batch; inverse is 1 / its standard deviation
    float *scale, *shift;                  // (copies, units): normalised = raw * scale + shift

    void plan(Arena &arena, const Spec &spec, int64_t units, int64_t copies, bool trains) {
        on = true, this->units = units, this->copies = copies;
        momentum = spec.momentum, epsilon = spec.epsilon;
        gammas.plan(arena, {units}, trains);
        betas.plan(arena, {units}, trains);
        arena.plan(moving_mean, {units});
        arena.plan(moving_variance, {units});
        arena.plan(scale, {copies, units});
        arena.plan(shift, {copies, units});
        if (!trains) return;
        arena.plan(sums, {copies, 2, units});
        arena.plan(mean, {copies, units});
        arena.plan(inverse, {copies, units});
    }

    // Add up a vector of units at y, over `rows` rows of `stride` floats: y and y * y.
    void add_squares(int64_t copy, int64_t u, const float *y, int64_t rows, int64_t stride) const {
        V s = {}, q = {};
        for (int64_t i = 0; i < rows; i++) {
            V x = load(y + i * stride);
            s += x;
            q += x * x;
        }
        add(copy, u, s, q);
    }

    // The same for the gradient g of the normalised outputs, with y the raw ones: g and g * normalised.
    void add_products(int64_t copy, int64_t u, const float *g, const float *y, int64_t rows, int64_t stride) const {
        V s = {}, q = {}, mean_u = load(mean + copy * units + u), inverse_u = load(inverse + copy * units + u);
        for (int64_t i = 0; i < rows; i++) {
            V x = load(g + i * stride);
            s += x;
            q += x * (load(y + i * stride) - mean_u) * inverse_u;
        }
        add(copy, u, s, q);
    }

    // From the sums over `count` values of each unit: mean, inverse, scale and shift, into this copy.
    void measure(int64_t copy, int64_t count, Range vectors) const {
        int64_t mine = copy * units;
        for (int64_t u = vectors.from * VL; u < vectors.to * VL; u += VL) {
            V sum, squares, m = load(moving_mean + u), variance = load(moving_variance + u);
            total(u, sum, squares);
            if (count > 1) {  // one value alone has no variance: the moving averages stand in
                m = sum * (1.0f / count);
                variance = squares * (1.0f / count) - m * m;
                variance = variance > 0 ? variance : V{};
            }
            V inverse_u = 1 / square_root(variance + epsilon), scale_u = inverse_u * load(gammas.w + u);
            store(mean + mine + u, m);
            store(inverse + mine + u, inverse_u);
            store(scale + mine + u, scale_u);
            store(shift + mine + u, load(betas.w + u) - m * scale_u);
        }
    }

    // Move the moving averages towards what `measure` found.
    void move_averages(int64_t copy, int64_t count, Range vectors) const {
        if (count <= 1) return;
        int64_t mine = copy * units;
        for (int64_t u = vectors.from * VL; u < vectors.to * VL; u += VL) {
            V inverse_u = load(inverse + mine + u), variance = 1 / (inverse_u * inverse_u) - epsilon;
            V m = load(moving_mean + u), v = load(moving_variance + u);
            store(moving_mean + u, m + (load(mean + mine + u) - m) * (1 - momentum));
            store(moving_variance + u, v + (variance - v) * (1 - momentum));
        }
    }

    // For a prediction: scale and shift from the moving averages, into the first copy, which all threads read.
    void fix() const {
        for (int64_t u = 0; u < units; u += VL) {
            V scale_u = load(gammas.w + u) / square_root(load(moving_variance + u) + epsilon);
            store(scale + u, scale_u);
            store(shift + u, load(betas.w + u) - load(moving_mean + u) * scale_u);
        }
    }

    // Normalise a vector of units at y, then ReLU.
    inline __attribute__((always_inline)) V apply(int64_t copy, int64_t u, V y) const {
        return rectified(y * load(scale + copy * units + u) + load(shift + copy * units + u));
    }

    // In place, the gradient of the raw outputs from that of the normalised ones. The sums are those of `add_products`,
    // over `count` values of each unit.
    void backward(int64_t copy, int64_t count, int64_t u, float *g, const float *y, int64_t rows,
                  int64_t stride) const {
        int64_t mine = copy * units;
        V sum, products, m = load(mean + mine + u), inverse_u = load(inverse + mine + u);
        total(u, sum, products);
        V scale_u = load(scale + mine + u);
        sum *= count > 1 ? 1.0f / count : 0;
        products *= count > 1 ? 1.0f / count : 0;
        for (int64_t i = 0; i < rows; i++) {
            V x = (load(y + i * stride) - m) * inverse_u;
            store(g + i * stride, scale_u * (load(g + i * stride) - sum - x * products));
        }
    }

    // Move gamma and beta, whose gradients are the sums of `add_products`.
    void update(Range vectors, const Adam &adam) const {
        for (int64_t u = vectors.from * VL; u < vectors.to * VL; u += VL) {
            V sum, products;
            total(u, sum, products);
            adam.move(betas, u, sum);
            adam.move(gammas, u, products);
        }
    }

    void clear(int64_t copy, Range vectors) const {
        int64_t bytes = (vectors.to - vectors.from) * VL * (int64_t)sizeof(float);
        memset(sums + 2 * copy * units + vectors.from * VL, 0, bytes);
        memset(sums + (2 * copy + 1) * units + vectors.from * VL, 0, bytes);
    }

    Range vectors() const { return {0, units / VL}; }

  private:
    void add(int64_t copy, int64_t u, V s, V q) const {
        float *first = sums + 2 * copy * units + u, *second = first + units;
        store(first, load(first) + s);
        store(second, load(second) + q);
    }

    // Over all copies.
    void total(int64_t u, V &first, V &second) const {
        first = second = V{};
        for (int64_t copy = 0; copy < copies; copy++) {
            first += load(sums + 2 * copy * units + u);
            second += load(sums + (2 * copy + 1) * units + u);
        }
    }
};
