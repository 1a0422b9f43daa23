// Adam: Kingma and Ba 2015 (arXiv 1412.6980), with the weight decay of Loshchilov and Hutter 2019 (arXiv 1711.05101).
#pragma once
#include <cmath>

#include "abi.h"
#include "arena.h"
#include "simd.h"

// Weights with their two moments, all of one shape. An engine that only predicts has no moments.
struct Params {
    float *w, *m, *v;

    void plan(Arena &arena, std::initializer_list<int64_t> shape, bool trains) {
        m = v = nullptr;
        arena.plan(w, shape);
        if (!trains) return;
        arena.plan(m, shape);
        arena.plan(v, shape);
    }

    float *part(int which) const { return which == WEIGHTS ? w : which == FIRST_MOMENTS ? m : v; }
};

// One step of Adam, in the form of section 2 of the paper: `step` and `root_scale` hold the bias corrections.
struct Adam {
    float beta1, beta2, epsilon;
    float step, root_scale, keep;

    Adam() = default;
    Adam(const Hyper &h, double learning_rate, int64_t steps_before)
        : beta1(h.beta1), beta2(h.beta2), epsilon(h.epsilon) {
        double t = steps_before + 1;
        step = (float)(learning_rate / (1 - std::pow((double)h.beta1, t)));
        root_scale = (float)(1 / std::sqrt(1 - std::pow((double)h.beta2, t)));
        keep = (float)(1 - learning_rate * h.weight_decay);
    }

    // Move the VL weights from `at` on, whose gradient is g.
    inline __attribute__((always_inline)) void move(const Params &p, int64_t at, V g) const {
        V m = load(p.m + at), v = load(p.v + at);
        m += (g - m) * (1 - beta1);
        v = v * beta2 + g * g * (1 - beta2);
        store(p.m + at, m);
        store(p.v + at, v);
        store(p.w + at, load(p.w + at) * keep - step * m * reciprocal(square_root(v) * root_scale + epsilon));
    }
};
