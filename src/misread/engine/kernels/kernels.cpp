// Training and prediction of a chain of layers: convolutions (each with its max-pooling), then dense layers.
// docs/kernels.md says where to find what.
//
// What makes it fast, most important first:
//   - products with an exact zero are left out: black pixels, activations that ReLU or dropout set to zero, and,
//   backwards,
//     the positions that max-pooling did not choose. The sums that remain are the same sums;
//   - a dense layer's weight gradient never reaches memory: each row of it goes from registers into Adam;
//   - a convolution, its bias, ReLU and pooling are one pass, and only the pooled result is written;
//   - the threads stay inside a call of many steps and meet at barriers.
//
// This file is the boundary: the functions that library.py calls. Each checks its arguments; those that return an int
// return 0, or 1 and leave the reason to `engine_error`.
#include <new>

#include "abi.h"
#include "checks.h"
#include "engine.h"
#include "gelu.h"
#include "max_pooling.h"
#include "winograd.h"

// Copies one number between the engine and the caller.
static void exchange(float *ours, float *theirs, int to_engine) {
    if (to_engine) *ours = *theirs;
    else *theirs = *ours;
}

static bool check_part(const Engine *e, int64_t layer, int64_t which) {
    if (!between("layer", layer, 0, (int64_t)(e->convs.size() + e->dense.size()) - 1)) return false;
    if (!between("which", which, WEIGHTS, SECOND_MOMENTS)) return false;
    return which == WEIGHTS || e->trains || refuse("an engine that only predicts has no moments");
}

extern "C" {

int32_t engine_abi() { return ABI; }
int64_t engine_spec_size() { return sizeof(Spec); }
int64_t engine_hyper_size() { return sizeof(Hyper); }
int64_t convolution_size() { return sizeof(Convolution); }
int64_t images_size() { return sizeof(Images); }
int32_t engine_has_bf16() { return HAS_BF16; }

// The index of the best of library.py's builds that this processor can run.
int32_t engine_first_build() {
#if defined(__x86_64__) || defined(__i386__)
    bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (v4) return __builtin_cpu_supports("avx512bf16") ? 0 : 1;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 2;
#endif
    return 3;
}

// Why this thread's last call returned 1.
const char *engine_error() { return error_text; }

// Makes an engine with weights of zero. `hyper` is null for one that only predicts. `mixed`: products in bf16, where
// this build has them.
int32_t engine_new(const Spec *specs, int64_t n_layers, int64_t batch, int64_t threads, int32_t mixed,
                   const Hyper *hyper, uint32_t dropout_key, Engine **engine) {
    *engine = nullptr;
    if (!between("the batch size", batch, 1, MAX_BATCH) || !between("the number of threads", threads, 1, MAX_THREADS))
        return 1;
    if (!check_layers(specs, n_layers) || (hyper && !check_hyper(*hyper))) return 1;
    Engine *e = nullptr;
    try {
        e = new Engine(specs, n_layers, batch, threads, mixed && HAS_BF16, hyper, dropout_key);
    } catch (const std::bad_alloc &) {
        return !refuse("there is no memory left for an engine");
    }
    const double GB = 1e9;
    switch (e->allocate()) {
        case Arena::DONE: *engine = e; return 0;
        case Arena::OVERFLOWS: refuse("the sizes of this network's arrays overflow 64 bits"); break;
        case Arena::TOO_LARGE:
            refuse("this network, in batches of %lld images, needs %.1f GB of memory, and this machine has %.1f GB",
                   (long long)batch, e->arena.bytes() / GB, Arena::memory() / GB);
            break;
        case Arena::REFUSED:
            refuse("there is not enough free memory: %.1f GB are needed", e->arena.bytes() / GB);
            break;
    }
    delete e;
    return 1;
}

void engine_free(Engine *e) { delete e; }

// Copies weights or moments (see Which) between PyTorch's layout and the engine's: w is (units, inputs) or (units,
// channels, height, width); b (units) is null for a layer with a normalisation.
int32_t engine_copy(Engine *e, int64_t layer, int32_t which, float *w, float *b, int32_t to_engine) {
    if (!check_part(e, layer, which)) return 1;
    int64_t n_convs = e->convs.size();
    auto biases = [&](const Params &own, const Norm &norm, int64_t units) {
        if (norm.on != !b) return refuse("a layer has either a bias or a normalisation");
        for (int64_t u = 0; b && u < units; u++) exchange(own.part(which) + u, b + u, to_engine);
        return true;
    };
    if (layer >= n_convs) {
        const Dense &l = e->dense[layer - n_convs];
        if (!biases(l.biases, l.norm, l.units)) return 1;
        for (int64_t u = 0; u < l.units; u++)
            for (int64_t k = 0; k < l.inputs; k++) exchange(l.weights.part(which) + l.weight(u, k), w++, to_engine);
        return 0;
    }
    const Conv &l = e->convs[layer];
    if (!biases(l.biases, l.norm, l.units)) return 1;
    for (int64_t u = 0; u < l.units; u++)
        for (int64_t c = 0; c < l.channels; c++)
            for (int64_t y = 0; y < l.kernel_h; y++)
                for (int64_t x = 0; x < l.kernel_w; x++)
                    exchange(l.weights.part(which) + l.weight(u, c, y, x), w++, to_engine);
    if (to_engine && which == WEIGHTS) l.lay_out({0, l.units});
    return 0;
}

// The same for a layer's normalisation, all (units): gamma and beta or their moments; and, with the weights, the moving
// averages.
int32_t engine_copy_norm(Engine *e, int64_t layer, int32_t which, float *gamma, float *beta, float *mean,
                         float *variance, int32_t to_engine) {
    if (!check_part(e, layer, which)) return 1;
    int64_t n_convs = e->convs.size(),
            units = layer < n_convs ? e->convs[layer].units : e->dense[layer - n_convs].units;
    const Norm &norm = layer < n_convs ? e->convs[layer].norm : e->dense[layer - n_convs].norm;
    if (!norm.on) return !refuse("layer %lld has no normalisation", (long long)layer);
    for (int64_t u = 0; u < units; u++) {
        exchange(norm.gammas.part(which) + u, gamma + u, to_engine);
        exchange(norm.betas.part(which) + u, beta + u, to_engine);
        if (which != WEIGHTS) continue;
        exchange(norm.moving_mean + u, mean + u, to_engine);
        exchange(norm.moving_variance + u, variance + u, to_engine);
    }
    return 0;
}

// A call has three parts. `engine_start_...` takes its arguments, which must stay where they are. Then every thread,
// from 0 to threads - 1, calls `engine_work`, all at the same time. Where one of them cannot, `engine_cancel` sends the
// others home.

// Train on images[rows[0]], images[rows[1]], ..., a batch a step. There are as many rates as steps.
//
// images (n_images, H, W, C), labels (n_images), rows (n), rates (n_rates). first_step: how many steps were taken
// before, on which Adam's bias correction and dropout depend. losses (n_rates): the mean over each step's images.
// correct (1): the images that were classified rightly as they were met.
int32_t engine_start_training(Engine *e, const uint8_t *images, int64_t n_images, const int64_t *labels,
                              const int64_t *rows, int64_t n, const double *rates, int64_t n_rates, int64_t first_step,
                              double *losses, int64_t *correct) {
    if (!e->trains) return !refuse("this engine was made to predict only");
    if (n < 0 || n_images < 0 || first_step < 0) return !refuse("negative counts of images or steps");
    int64_t steps = n / e->batch + (n % e->batch != 0);
    if (n_rates != steps)
        return !refuse("%lld images in batches of %lld are %lld steps, but there are %lld learning rates", (long long)n,
                       (long long)e->batch, (long long)steps, (long long)n_rates);
    if (first_step > INT64_MAX - 1 - steps) return !refuse("more steps than 64 bits can count");
    if (!check_rows(rows, n, n_images, labels, e->dense.back().units)) return 1;
    Call call;
    call.trains = true;
    call.images = images, call.labels = labels, call.rows = rows, call.n = n;
    call.rates = rates, call.first_step = first_step, call.losses = losses, call.correct = correct;
    e->start(call);
    return 0;
}

// images (n, H, W, C) -> logits (n, classes)
int32_t engine_start_prediction(Engine *e, const uint8_t *images, int64_t n, float *logits) {
    if (n < 0) return !refuse("a negative number of images");
    Call call;
    call.images = images, call.n = n, call.logits = logits;
    e->start(call);
    return 0;
}

int32_t engine_work(Engine *e, int32_t thread) {
    if (!between("thread", thread, 0, e->threads - 1)) return 1;
    if (!e->team.enter()) return !refuse("no call was started, or it was cancelled");
    e->work(thread);
    return 0;
}

void engine_cancel(Engine *e) { e->team.cancel(); }

// Convolutions by themselves, for networks that PyTorch trains. Arrays are contiguous: x (batch, height, width,
// channels), y (batch, height, width, filters), w (filters, channels, 3, 3). Each call needs `scratch` of as many floats
// as `convolution_scratch` says, whose contents do not matter. parallel: GOMP_parallel, or null for one thread.

int32_t convolution_scratch(const Convolution *shape, int64_t *floats) {
    if (!check_shape(*shape)) return 1;
    with_best_tiles(*shape, nullptr, [=](const auto &winograd) { *floats = winograd.floats(); });
    return 0;
}

int32_t convolution_run(const Convolution *shape, const float *x, const float *w, float *y, float *scratch,
                        Parallel *parallel) {
    if (!check_shape(*shape)) return 1;
    with_best_tiles(*shape, scratch, [=](const auto &winograd) { winograd.convolve(x, w, y, parallel); });
    return 0;
}

// The gradient by w, from that by y.
int32_t convolution_gradient(const Convolution *shape, const float *x, const float *gy, float *gw, float *scratch,
                             Parallel *parallel) {
    if (!check_shape(*shape)) return 1;
    with_best_tiles(*shape, scratch, [=](const auto &winograd) { winograd.gradient(x, gy, gw, parallel); });
    return 0;
}

// Other layers of such networks, of images (batch, height, width, channels) that are contiguous. The gradients are by x,
// from that by y, gy.

int32_t gelu_run(const Images *shape, const float *x, float *y, Parallel *parallel) {
    if (!check_images(*shape, 1)) return 1;
    for_numbers(*shape, parallel, [](V x) { return gelu(x); }, y, x);
    return 0;
}

int32_t gelu_gradient(const Images *shape, const float *x, const float *gy, float *gx, Parallel *parallel) {
    if (!check_images(*shape, 1)) return 1;
    for_numbers(*shape, parallel, [](V x, V g) { return gelu_gradient(x, g); }, gx, x, gy);
    return 0;
}

// chosen (batch, height / 2, width / 2, channels): see MaxPooling; null if no gradient is wanted.
int32_t max_pooling_run(const Images *shape, const float *x, float *y, uint8_t *chosen, Parallel *parallel) {
    if (!check_images(*shape, 2)) return 1;
    MaxPooling{*shape}.forward(x, y, chosen, parallel);
    return 0;
}

int32_t max_pooling_gradient(const Images *shape, const float *gy, const uint8_t *chosen, float *gx,
                             Parallel *parallel) {
    if (!check_images(*shape, 2)) return 1;
    MaxPooling{*shape}.backward(gy, chosen, gx, parallel);
    return 0;
}
}
