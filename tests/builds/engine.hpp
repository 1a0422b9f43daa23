// The kernels' C functions, behind a class: the only file of these tests that knows them.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

enum { CONV = 0, DENSE = 1 };
enum { WEIGHTS = 0, FIRST_MOMENTS = 1, SECOND_MOMENTS = 2 };

struct Spec {  // of one layer, as in kernels/
    int32_t kind, relu, in_h, in_w, in_c, kernel_h, kernel_w, top, left, out_h, out_w, units, pool, normalised;
    float momentum, epsilon, dropout;
};

struct Hyper {
    float beta1, beta2, epsilon, weight_decay, label_smoothing;
};

struct Arrays {              // of one layer: weights, or one of Adam's moments
    std::vector<float> w;    // dense (units, inputs), convolution (units, channels, kernel_h, kernel_w)
    std::vector<float> b;    // (units); of a normalised layer its beta
    std::vector<float> gamma, mean, variance;  // (units) of a normalised layer, else empty; moments have no mean and variance

    bool operator==(const Arrays &) const = default;
};

extern "C" {
int engine_has_bf16();
void *engine_new(const Spec *, int layers, int batch, int threads, int trains, int mixed, Hyper, uint32_t seed);
void engine_free(void *);
void engine_copy(void *, int layer, int which, float *w, float *b, int to_engine);
void engine_copy_norm(void *, int layer, int which, float *gamma, float *beta, float *mean, float *variance, int to_engine);
void engine_seek(void *, int64_t steps);
void engine_train(void *, int thread, const uint8_t *, const int64_t *, const int64_t *, int64_t, const double *, double *, int64_t *);
void engine_predict(void *, int thread, const uint8_t *, const int64_t *, int64_t, float *);
}

struct Losses {
    std::vector<double> each;  // (steps)
    int64_t correct;

    bool operator==(const Losses &) const = default;
};

class Engine {
  public:
    Engine(const std::vector<Spec> &specs, int batch, int threads, bool trains, bool mixed, Hyper hyper, uint32_t seed)
        : specs(specs), batch(batch), threads(threads),
          engine(engine_new(specs.data(), specs.size(), batch, threads, trains, mixed, hyper, seed)) {}
    ~Engine() { engine_free(engine); }
    Engine(const Engine &) = delete;

    static bool has_bf16() { return engine_has_bf16(); }

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
        engine_seek(engine, first_step);
        on_threads([&](int thread) {
            engine_train(engine, thread, images.data(), labels.data(), rows.data(), rows.size(), rates.data(),
                         losses.each.data(), &losses.correct);
        });
        return losses;
    }

    std::vector<float> predict(const std::vector<uint8_t> &images, const std::vector<int64_t> &rows) {
        std::vector<float> logits(rows.size() * specs.back().units);
        on_threads([&](int thread) { engine_predict(engine, thread, images.data(), rows.data(), rows.size(), logits.data()); });
        return logits;
    }

  private:
    void copy(int layer, int which, Arrays &a, bool to_engine) {
        bool norm = specs[layer].normalised;
        engine_copy(engine, layer, which, a.w.data(), norm ? nullptr : a.b.data(), to_engine);
        if (norm)
            engine_copy_norm(engine, layer, which, a.gamma.data(), a.b.data(), which == WEIGHTS ? a.mean.data() : nullptr,
                             which == WEIGHTS ? a.variance.data() : nullptr, to_engine);
    }

    template <class Work> void on_threads(Work work) {
        std::vector<std::thread> others;
        for (int i = 1; i < threads; i++) others.emplace_back(work, i);
        work(0);
        for (auto &thread : others) thread.join();
    }

    std::vector<Spec> specs;
    int batch, threads;
    void *engine;
};
