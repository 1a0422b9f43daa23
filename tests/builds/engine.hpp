// The kernels' C functions, behind a class: the only file of these tests that knows them.
#pragma once
#include "abi.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

struct Arrays {              // of one layer: weights, or one of Adam's moments
    std::vector<float> w;    // dense (units, inputs), convolution (units, channels, kernel_h, kernel_w)
    std::vector<float> b;    // (units); of a normalised layer its beta
    std::vector<float> gamma, mean, variance;  // (units) of a normalised layer, else empty; moments have no mean and variance

    bool operator==(const Arrays &) const = default;
};

extern "C" {  // those that give an int32_t give 0, or 1 with the reason in engine_error
int32_t engine_has_bf16();
const char *engine_error();
int32_t engine_new(const Spec *, int64_t layers, int64_t batch, int64_t threads, int32_t mixed, const Hyper *, uint32_t key, void **);
void engine_free(void *);
int32_t engine_copy(void *, int64_t layer, int32_t which, float *w, float *b, int32_t to_engine);
int32_t engine_copy_norm(void *, int64_t layer, int32_t which, float *gamma, float *beta, float *mean, float *variance, int32_t);
int32_t engine_start_training(void *, const uint8_t *images, int64_t n_images, const int64_t *labels, const int64_t *rows, int64_t n,
                              const double *rates, int64_t n_rates, int64_t first_step, double *losses, int64_t *correct);
int32_t engine_start_prediction(void *, const uint8_t *images, int64_t n, float *logits);
int32_t engine_work(void *, int32_t thread);
void engine_cancel(void *);
}

struct Losses {
    std::vector<double> each;  // (steps)
    int64_t correct;

    bool operator==(const Losses &) const = default;
};

class Engine {
  public:
    // `hyper` is null for an engine that only predicts.
    Engine(const std::vector<Spec> &specs, int64_t batch, int threads, bool mixed, const Hyper *hyper, uint32_t key)
        : specs(specs), threads(threads) {
        done(engine_new(specs.data(), specs.size(), batch, threads, mixed, hyper, key, &engine));
    }
    ~Engine() { engine_free(engine); }
    Engine(const Engine &) = delete;

    static bool has_bf16() { return engine_has_bf16(); }

    // Why there is no such engine: empty where there is one, "?" where no reason is given.
    static std::string refusal(const std::vector<Spec> &specs, int64_t batch, int64_t threads, const Hyper *hyper) {
        void *engine;
        int32_t status = engine_new(specs.data(), specs.size(), batch, threads, 0, hyper, 0, &engine);
        if (status == 0) engine_free(engine);
        return status == 0 ? "" : *engine_error() ? engine_error() : "?";
    }

    void load(const std::vector<Arrays> &layers, int which = WEIGHTS) {
        for (size_t i = 0; i < layers.size(); i++) copy(i, which, const_cast<Arrays &>(layers[i]), true);
    }

    // `like` gives the sizes.
    std::vector<Arrays> read(std::vector<Arrays> like, int which = WEIGHTS) {
        for (size_t i = 0; i < like.size(); i++) copy(i, which, like[i], false);
        return like;
    }

    Losses train(const std::vector<uint8_t> &images, const std::vector<int64_t> &labels, const std::vector<int64_t> &rows,
                 const std::vector<double> &rates, int64_t first_step) {
        Losses losses{std::vector<double>(rates.size()), 0};
        start(images, labels, rows, rates, first_step, losses);
        work();
        return losses;
    }

    // images (n, H, W, C)
    std::vector<float> predict(const std::vector<uint8_t> &images) {
        int64_t n = images.size() / ((int64_t)specs[0].in_h * specs[0].in_w * specs[0].in_c);
        std::vector<float> logits(n * specs.back().units);
        done(engine_start_prediction(engine, images.data(), n, logits.data()));
        work();
        return logits;
    }

    // Whether a training whose last thread could not be started ends on all the others. Without others there is nothing to see.
    bool cancelled(const std::vector<uint8_t> &images, const std::vector<int64_t> &labels, const std::vector<int64_t> &rows,
                   const std::vector<double> &rates) {
        Losses losses{std::vector<double>(rates.size()), 0};
        start(images, labels, rows, rates, 0, losses);
        std::vector<std::thread> others;
        std::vector<int32_t> status(threads, 1);
        for (int i = 0; i + 1 < threads; i++) others.emplace_back([&, i] { status[i] = engine_work(engine, i); });
        engine_cancel(engine);
        for (auto &thread : others) thread.join();
        return std::count(status.begin(), status.end(), 1) == threads;
    }

  private:
    void start(const std::vector<uint8_t> &images, const std::vector<int64_t> &labels, const std::vector<int64_t> &rows,
               const std::vector<double> &rates, int64_t first_step, Losses &losses) {
        done(engine_start_training(engine, images.data(), labels.size(), labels.data(), rows.data(), rows.size(), rates.data(),
                                   rates.size(), first_step, losses.each.data(), &losses.correct));
    }

    static void done(int32_t status) {
        if (status == 0) return;
        fprintf(stderr, "the engine refused: %s\n", engine_error());
        exit(1);
    }

    void copy(int layer, int which, Arrays &a, bool to_engine) {
        bool norm = specs[layer].normalised;
        done(engine_copy(engine, layer, which, a.w.data(), norm ? nullptr : a.b.data(), to_engine));
        if (norm) done(engine_copy_norm(engine, layer, which, a.gamma.data(), a.b.data(), a.mean.data(), a.variance.data(), to_engine));
    }

    void work() {
        std::vector<std::thread> others;
        for (int i = 1; i < threads; i++) others.emplace_back([this, i] { done(engine_work(engine, i)); });
        done(engine_work(engine, 0));
        for (auto &thread : others) thread.join();
    }

    std::vector<Spec> specs;
    int threads;
    void *engine = nullptr;
};
