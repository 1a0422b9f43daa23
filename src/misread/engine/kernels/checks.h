// What the kernels rely on, checked at the boundary. Each check says what is wrong in `error_text`.
#pragma once
#include <cfloat>
#include <cstdarg>
#include <cstdint>
#include <cstdio>

#include "abi.h"

static thread_local char error_text[400];

// Always false, for `return refuse(...)`.
__attribute__((format(printf, 1, 2))) static bool refuse(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error_text, sizeof error_text, format, arguments);
    va_end(arguments);
    return false;
}

static bool between(const char *name, int64_t value, int64_t low, int64_t high) {
    if (value >= low && value <= high) return true;
    return refuse("%s must be from %lld to %lld, not %lld", name, (long long)low, (long long)high, (long long)value);
}

static bool check_hyper(const Hyper &h) {
    if (!(h.beta1 >= 0 && h.beta1 < 1 && h.beta2 >= 0 && h.beta2 < 1))
        return refuse("beta_1 and beta_2 must be at least 0 and, in float32, below 1");
    if (!(h.epsilon >= FLT_MIN)) return refuse("epsilon must be at least %g", (double)FLT_MIN);
    if (!(h.weight_decay >= 0)) return refuse("weight_decay must be at least 0");
    if (!(h.label_smoothing >= 0 && h.label_smoothing <= 1)) return refuse("label_smoothing must be from 0 to 1");
    return true;
}

// `before`: the layer whose outputs this one takes; null for the first
static bool check_convolution(const Spec &s, const Spec *before) {
    if (before && before->dropout != 0) return refuse("dropout before a convolution");
    bool same = !before || (s.in_h == before->out_h / before->pool && s.in_w == before->out_w / before->pool &&
                            s.in_c == before->units);
    if (!same) return refuse("a convolution's input differs from the output before it");
    if (!s.relu) return refuse("a convolution without ReLU");
    if (s.pool != 1 && s.pool != 2) return refuse("pooling by %d", s.pool);
    if (s.kernel_h < 1 || s.kernel_w < 1 || s.out_h < s.pool || s.out_w < s.pool)
        return refuse("a convolution without any output");
    // of the padding, at most as much as keeps the image's size
    int64_t rows = (int64_t)s.out_h - s.in_h + s.kernel_h - 1, columns = (int64_t)s.out_w - s.in_w + s.kernel_w - 1;
    if (s.out_h > s.in_h || s.out_w > s.in_w || s.top < 0 || s.top > rows || s.left < 0 || s.left > columns)
        return refuse("a convolution's padding does not fit its input and output");
    double stored = ((double)s.out_h + s.kernel_h) * ((double)s.out_w + s.kernel_w) * ((double)s.in_c + 64);
    double outputs = (double)s.out_h * s.out_w * ((double)s.units + 64);
    if (stored > INT32_MAX - 64 || outputs > INT32_MAX)
        return refuse("an image with its padding has more values in one layer than 32 bits can count");
    return true;
}

static bool check_dense(const Spec &s, const Spec *before) {
    if (s.in_h != 1 || s.in_w != 1 || s.pool != 1) return refuse("a dense layer's in_h, in_w and pool must be 1");
    int64_t given = before ? before->units : s.in_c;
    if (before && before->kind == CONV)
        given *= (int64_t)(before->out_h / before->pool) * (before->out_w / before->pool);
    if (given != s.in_c) return refuse("a dense layer takes %d inputs, but gets %lld", s.in_c, (long long)given);
    return true;
}

static bool check_layers(const Spec *specs, int64_t n_layers) {
    if (!between("the number of layers", n_layers, 1, MAX_LAYERS)) return false;
    for (int64_t i = 0; i < n_layers; i++) {
        const Spec &s = specs[i], *before = i ? &specs[i - 1] : nullptr;
        bool last = i + 1 == n_layers;
        if (s.kind != CONV && s.kind != DENSE) return refuse("a layer of unknown kind %d", s.kind);
        if (s.kind == CONV && before && before->kind == DENSE) return refuse("a convolution after a dense layer");
        if (s.in_h < 1 || s.in_w < 1 || s.in_c < 1 || s.units < 1) return refuse("a layer without inputs or outputs");
        if (!(s.kind == CONV ? check_convolution(s, before) : check_dense(s, before))) return false;
        if (!(s.dropout >= 0 && s.dropout < 1)) return refuse("dropout must be at least 0 and, in float32, below 1");
        if (s.normalised && !s.relu) return refuse("a normalisation without ReLU");
        if (s.normalised && !(s.epsilon >= FLT_MIN && s.momentum >= 0 && s.momentum <= 1))
            return refuse("a normalisation's epsilon must be at least %g, and its momentum from 0 to 1",
                          (double)FLT_MIN);
        if (last ? s.kind != DENSE || s.relu || s.dropout != 0 : !s.relu)
            return refuse("all layers have ReLU but the last, which is dense and has no dropout");
    }
    return true;
}

static bool check_shape(const Convolution &c) {
    const int64_t most = INT32_MAX;
    return between("the number of images", c.batch, 1, most) && between("height", c.height, 1, most) &&
           between("width", c.width, 1, most) && between("channels", c.channels, 1, most) &&
           between("filters", c.filters, 1, most) && between("parts", c.parts, 1, MAX_THREADS) &&
           between("turned", c.turned, 0, 1);
}

// least: of an image's height and width
static bool check_images(const Images &i, int64_t least) {
    const int64_t most = INT32_MAX;
    return between("the number of images", i.batch, 1, most) && between("height", i.height, least, most) &&
           between("width", i.width, least, most) && between("channels", i.channels, 1, most) &&
           between("parts", i.parts, 1, MAX_THREADS);
}

// rows (n): each within the images, and its label within the classes.
static bool check_rows(const int64_t *rows, int64_t n, int64_t n_images, const int64_t *labels, int64_t classes) {
    for (int64_t i = 0; i < n; i++) {
        int64_t row = rows[i];
        if (row < 0 || row >= n_images)
            return refuse("rows[%lld] is %lld, but there are %lld images", (long long)i, (long long)row,
                          (long long)n_images);
        if (labels[row] < 0 || labels[row] >= classes)
            return refuse("labels[%lld] is %lld, but the network has %lld classes", (long long)row,
                          (long long)labels[row], (long long)classes);
    }
    return true;
}
