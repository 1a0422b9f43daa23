// The network written plainly, in double, one image, unit and weight after the other, in the kernels' order of operations.
//
// Every number carries the variance of the error that float32 would have made: a running error analysis (Higham 2002,
// "Accuracy and Stability of Numerical Algorithms", section 3.3) with independent errors, so that each result comes with
// its own tolerance. A maximum or ReLU whose operands lie within that tolerance is a close call: float32 may decide
// otherwise, and what follows cannot be compared.
#pragma once
#include "engine.hpp"
#include <cmath>
#include <vector>

const double ROUNDING = std::ldexp(1, -24), SIGMAS = 32;

struct Number {
    double value = 0, variance = 0;  // variance in units of ROUNDING^2

    Number() = default;
    Number(double value, double variance = 0) : value(value), variance(variance) {}
    double tolerance() const { return SIGMAS * ROUNDING * std::sqrt(variance) + 1e-30; }
};

inline Number rounded(double value, double variance) { return {value, variance + value * value}; }
inline Number operator+(Number a, Number b) { return rounded(a.value + b.value, a.variance + b.variance); }
inline Number operator-(Number a, Number b) { return rounded(a.value - b.value, a.variance + b.variance); }
inline Number operator*(Number a, Number b) {
    return rounded(a.value * b.value, a.value * a.value * b.variance + b.value * b.value * a.variance);
}
inline Number operator/(Number a, Number b) {
    double value = a.value / b.value;
    return rounded(value, (a.variance + value * value * b.variance) / (b.value * b.value));
}
inline void operator+=(Number &a, Number b) { a = a + b; }
inline Number root(Number a) { return rounded(std::sqrt(a.value), a.variance / (4 * a.value)); }
inline Number exponential(Number a) {
    double value = std::exp(a.value);
    return rounded(value, value * value * a.variance);
}
inline Number logarithm(Number a) { return rounded(std::log(a.value), a.variance / (a.value * a.value)); }

using Numbers = std::vector<Number>;

struct Gradients {  // of one layer, sized as its Arrays
    Numbers w, b, gamma;
    Numbers mean, variance;  // the moving averages after the step
};

// Chris Wellons' lowbias32.
inline uint32_t lowbias32(uint32_t x) {
    x = (x ^ (x >> 16)) * 0x21f0aaadu;
    x = (x ^ (x >> 15)) * 0x735a2d97u;
    return x ^ (x >> 15);
}

class Reference {
  public:
    Reference(const std::vector<Spec> &specs, const std::vector<Arrays> &weights) : specs(specs), weights(weights) {}

    bool close_call = false;

    // logits (n, classes) by the moving averages. Images are channels-last, one after the other.
    Numbers predict(const std::vector<uint8_t> &images, const std::vector<int64_t> &rows) {
        forward(images, rows, false, 0, 0);
        return values.back();
    }

    // The mean loss of one step. Leaves the gradients, and how many images were classified right.
    Number step(const std::vector<uint8_t> &images, const std::vector<int64_t> &labels, const std::vector<int64_t> &rows,
                float smoothing, uint32_t seed, uint32_t steps) {
        forward(images, rows, true, seed, steps);
        Number loss = softmax(labels, rows, smoothing);
        for (size_t i = specs.size(); i-- > 0;) backward(i);
        return loss;
    }

    std::vector<Gradients> gradients;
    int64_t correct = 0;

  private:
    struct Trace {         // of one layer's forward pass
        Numbers products;  // (n, cells, units): after pooling, before normalisation
        std::vector<long> chosen;  // the position of a window that pooling chose, as a cell of the output before pooling
        Numbers normal, inverse, scale;  // normalised products; (units) 1 / standard deviation and the scale
        std::vector<float> dropped;      // (n, cells * units): 0, or the factor of what dropout leaves
    };

    static long cells(const Spec &s) { return s.kind == DENSE ? 1 : (long)(s.out_h / s.pool) * (s.out_w / s.pool); }
    bool above(Number a, Number b) {
        double apart = a.value - b.value;
        if (apart != 0 && std::abs(apart) <= SIGMAS * ROUNDING * std::sqrt(a.variance + b.variance)) close_call = true;
        return apart > 0;
    }

    void forward(const std::vector<uint8_t> &images, const std::vector<int64_t> &rows, bool train, uint32_t seed, uint32_t steps) {
        n = rows.size();
        long size = (long)specs[0].in_h * specs[0].in_w * specs[0].in_c;
        values.assign(1, Numbers(n * size));
        traces.assign(specs.size(), {});
        gradients.assign(specs.size(), {});
        for (long b = 0; b < n; b++)
            for (long i = 0; i < size; i++) {
                double x = images[rows[b] * size + i] / 255.0;
                values[0][b * size + i] = {x, 2 * x * x};
            }
        for (size_t i = 0; i < specs.size(); i++) {
            const Spec &s = specs[i];
            s.kind == CONV ? convolve(i) : multiply(i);
            Numbers y = traces[i].products;
            if (s.normalised) normalise(i, y, train);
            for (Number &x : y)
                if (s.relu && !above(x, 0)) x = 0;
            if (train && s.dropout > 0) drop(i, y, seed, steps);
            values.push_back(std::move(y));
        }
    }

    void multiply(size_t i) {
        const Spec &s = specs[i];
        traces[i].products.resize(n * s.units);
        for (long b = 0; b < n; b++)
            for (long u = 0; u < s.units; u++) {
                Number sum = s.normalised ? 0 : weights[i].b[u];
                for (long k = 0; k < s.in_c; k++) {
                    Number x = values[i][b * s.in_c + k];
                    if (x.value != 0) sum += x * (double)weights[i].w[u * s.in_c + k];
                }
                traces[i].products[b * s.units + u] = sum;
            }
    }

    // What(input, weight) for each product of one output position before pooling that lies within the image.
    template <class What> static void each_product(const Spec &s, long b, long y, long x, long u, What what) {
        for (long ky = 0; ky < s.kernel_h; ky++)
            for (long kx = 0; kx < s.kernel_w; kx++) {
                long in_y = y + ky - s.top, in_x = x + kx - s.left;
                if (in_y < 0 || in_y >= s.in_h || in_x < 0 || in_x >= s.in_w) continue;
                for (long c = 0; c < s.in_c; c++)
                    what(((b * s.in_h + in_y) * s.in_w + in_x) * s.in_c + c,
                         ((u * s.in_c + c) * s.kernel_h + ky) * s.kernel_w + kx);
            }
    }

    void convolve(size_t i) {
        const Spec &s = specs[i];
        const long width = s.out_w / s.pool, count = cells(s);
        traces[i].products.resize(n * count * s.units);
        traces[i].chosen.resize(n * count * s.units);
        for (long b = 0; b < n; b++)
            for (long cell = 0; cell < count; cell++)
                for (long u = 0; u < s.units; u++) {
                    Number best;
                    long chosen = -1;
                    for (long p = 0; p < s.pool * s.pool; p++) {
                        long y = cell / width * s.pool + p / s.pool, x = cell % width * s.pool + p % s.pool;
                        Number sum;
                        each_product(s, b, y, x, u, [&](long in, long w) {
                            if (values[i][in].value != 0) sum += values[i][in] * (double)weights[i].w[w];
                        });
                        if (chosen < 0 || above(sum, best)) best = sum, chosen = y * s.out_w + x;
                    }
                    traces[i].chosen[(b * count + cell) * s.units + u] = chosen;
                    traces[i].products[(b * count + cell) * s.units + u] =
                        s.normalised ? best : best + (double)weights[i].b[u];
                }
    }

    // Ioffe and Szegedy 2015. One value alone has no variance: the moving averages take its place.
    void normalise(size_t i, Numbers &y, bool train) {
        const Spec &s = specs[i];
        const Arrays &own = weights[i];
        Trace &t = traces[i];
        long count = y.size() / s.units;
        t.normal.resize(y.size());
        for (long u = 0; u < s.units; u++) {
            Number mean = own.mean[u], variance = own.variance[u];
            if (train && count > 1) {
                Number sum, squares;
                for (long j = 0; j < count; j++) sum += y[j * s.units + u];
                for (long j = 0; j < count; j++) squares += y[j * s.units + u] * y[j * s.units + u];
                mean = sum * Number(1.0 / count, 1.0 / count / count);
                variance = squares * Number(1.0 / count, 1.0 / count / count) - mean * mean;
                if (variance.value < 0) variance.value = 0;
            }
            Number above_zero = variance + Number(s.epsilon), inverse = 1.0 / root(above_zero);
            // the square root is less curved than its error here is large: what is compared would be chance
            if (std::sqrt(variance.variance) * ROUNDING * SIGMAS > 0.1 * above_zero.value) close_call = true;
            Number scale = inverse * (double)own.gamma[u], shift = (double)own.b[u] - mean * scale;
            for (long j = 0; j < count; j++) {
                Number &x = y[j * s.units + u];
                t.normal[j * s.units + u] = (x - mean) * inverse;
                x = x * scale + shift;
            }
            t.inverse.push_back(inverse);
            t.scale.push_back(scale);
            bool moves = train && count > 1;
            Number part = moves ? 1 - (double)s.momentum : 0.0;
            Number inverted = 1.0 / (inverse * inverse) - Number(s.epsilon);  // the kernels' way back to the variance
            gradients[i].mean.push_back(own.mean[u] + (mean - (double)own.mean[u]) * part);
            gradients[i].variance.push_back(own.variance[u] + (inverted - (double)own.variance[u]) * part);
        }
    }

    void drop(size_t i, Numbers &y, uint32_t seed, uint32_t steps) {
        const Spec &s = specs[i];
        long size = y.size() / n;
        uint32_t limit = std::min(4294967295.0, s.dropout * 4294967296.0);
        traces[i].dropped.resize(y.size());
        for (long b = 0; b < n; b++) {
            uint32_t key = lowbias32(lowbias32(lowbias32(seed) + steps) + (uint32_t)b * 64 + (uint32_t)i);
            for (long j = 0; j < size; j++) {
                float factor = lowbias32(key + (uint32_t)j) >= limit ? 1 / (1 - s.dropout) : 0;
                traces[i].dropped[b * size + j] = factor;
                y[b * size + j] = factor == 0 ? Number() : y[b * size + j] * (double)factor;
            }
        }
    }

    Number softmax(const std::vector<int64_t> &labels, const std::vector<int64_t> &rows, float smoothing) {
        const long classes = specs.back().units;
        Numbers &logits = values.back();
        Number loss;
        correct = 0;
        gradient.assign(n * classes, {});
        for (long b = 0; b < n; b++) {
            const Number *y = &logits[b * classes];
            long label = labels[rows[b]], best = 0;
            for (long k = 1; k < classes; k++)
                if (above(y[k], y[best])) best = k;
            correct += best == label;
            Number top = y[best], sum, mean;
            for (long k = 0; k < classes; k++) sum += exponential(y[k] - top), mean += y[k];
            loss += top + logarithm(sum) - y[label] * (1 - (double)smoothing) - mean * (double)smoothing / (double)classes;
            for (long k = 0; k < classes; k++) {
                Number target = (k == label ? 1 - (double)smoothing : 0) + Number(smoothing) / (double)classes;
                gradient[b * classes + k] = (exponential(y[k] - top) / sum - target) / (double)n;
            }
        }
        return loss / (double)n;
    }

    // From the gradient by layer i's outputs, before dropout and ReLU are undone, to that by its inputs.
    void backward(size_t i) {
        const Spec &s = specs[i];
        Trace &t = traces[i];
        for (size_t j = 0; j < gradient.size(); j++) {
            if (s.relu && values[i + 1][j].value == 0) gradient[j] = 0;
            else if (!t.dropped.empty()) gradient[j] = gradient[j] * (double)t.dropped[j];
        }
        Gradients &own = gradients[i];
        own.w.resize(weights[i].w.size());
        own.b.resize(s.units);
        for (size_t j = 0; j < gradient.size(); j++) own.b[j % s.units] += gradient[j];
        if (s.normalised) normalise_backward(i);
        Numbers before(values[i].size());
        const long count = cells(s);
        for (size_t j = 0; j < gradient.size(); j++) {
            if (gradient[j].value == 0) continue;
            long u = j % s.units, b = j / s.units / count;
            auto product = [&](long in, long w) {
                if (values[i][in].value != 0) own.w[w] += gradient[j] * values[i][in];
                before[in] += gradient[j] * (double)weights[i].w[w];
            };
            if (s.kind == CONV)
                each_product(s, b, t.chosen[j] / s.out_w, t.chosen[j] % s.out_w, u, product);
            else
                for (long k = 0; k < s.in_c; k++) product(b * s.in_c + k, u * s.in_c + k);
        }
        gradient = std::move(before);
    }

    void normalise_backward(size_t i) {
        const Spec &s = specs[i];
        Trace &t = traces[i];
        long count = gradient.size() / s.units;
        for (long u = 0; u < s.units; u++) {
            Number sum, products;
            for (long j = 0; j < count; j++) {
                sum += gradient[j * s.units + u];
                products += gradient[j * s.units + u] * t.normal[j * s.units + u];
            }
            gradients[i].gamma.push_back(products);
            Number part = count > 1 ? Number(1.0 / count, 1.0 / count / count) : 0;
            sum = sum * part, products = products * part;
            for (long j = 0; j < count; j++) {
                Number &g = gradient[j * s.units + u];
                g = t.scale[u] * (g - sum - t.normal[j * s.units + u] * products);
            }
        }
    }

    std::vector<Spec> specs;
    std::vector<Arrays> weights;
    long n = 0;
    std::vector<Numbers> values;  // [0] the input, [i + 1] what layer i gives on
    std::vector<Trace> traces;
    Numbers gradient;  // of the loss by what the layer at hand gives on
};
