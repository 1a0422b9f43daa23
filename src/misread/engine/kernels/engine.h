// An engine: a network's layers, the threads that work on them, and the order in which they do. All barriers are here.
//
// Every thread runs every function with its own number and does its own share. A step's images are shared out, and so
// are each layer's weights; between writing as one kind of owner and reading as the other there is a barrier. A
// thread's results are summed in the order of the threads, so a number of threads always gives the same bits. An engine
// that only predicts has no such barriers: there each thread keeps to its own images.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>

#include "abi.h"
#include "adam.h"
#include "arena.h"
#include "conv.h"
#include "conv_backward.h"
#include "conv_forward.h"
#include "dense.h"
#include "loss.h"
#include "threads.h"

// The arguments of a call, which all threads read.
struct Call {
    bool trains = false;
    const uint8_t *images = nullptr;  // (N, H, W, C)
    const int64_t *labels = nullptr;  // (N)
    const int64_t *rows = nullptr;    // (n)
    int64_t n = 0;                    // images, over all steps
    const double *rates = nullptr;    // (steps): learning rates
    int64_t first_step = 0;
    double *losses = nullptr;    // (steps): each step's mean
    int64_t *correct = nullptr;  // (1): images that were classified rightly as they were met
    float *logits = nullptr;     // (n, classes)
};

struct Engine {
    int64_t batch, threads;
    bool trains;
    Hyper hyper;
    uint32_t dropout_key;
    int64_t image_size;  // bytes
    std::vector<Conv> convs;
    std::vector<Dense> dense;
    Arena arena;
    Team team;
    Call call;
    Tally tallies[MAX_THREADS];

    // `hyper`: null for an engine that only predicts
    Engine(const Spec *specs, int64_t n_layers, int64_t batch, int64_t threads, bool mixed, const Hyper *hyper,
           uint32_t key)
        : batch(batch), threads(threads), trains(hyper), hyper(hyper ? *hyper : Hyper()), dropout_key(key) {
        team.threads = threads;
        image_size = (int64_t)specs[0].in_h * specs[0].in_w * specs[0].in_c;
        int64_t n_convs = 0;
        while (specs[n_convs].kind == CONV) n_convs++;
        convs.resize(n_convs);
        dense.resize(n_layers - n_convs);  // from here on no layer moves: the arena and the convolutions point to them
        for (int64_t i = 0; i < n_layers; i++) {
            if (i < n_convs) {
                convs[i].plan(arena, specs[i], i ? &convs[i - 1] : nullptr, batch, threads, trains, mixed);
                continue;
            }
            Dense &layer = dense[i - n_convs];
            layer.plan(arena, specs[i], batch, threads, trains, mixed);
            if (i) layer.dropout = {specs[i - 1].dropout, (uint32_t)(i - 1)};
        }
    }

    // Take the arguments of a call, on one thread; then every thread has to `enter` the team, and `work`.
    void start(const Call &arguments) {
        call = arguments;
        for (Tally &tally : tallies) tally = {};
        if (!call.trains) prepare_prediction();
        team.open();
    }

    Arena::Result allocate() {
        Arena::Result result = arena.allocate();
        for (const Conv &layer : convs)
            if (result == Arena::DONE) layer.fill_tables();
        return result;
    }

    // One thread's share of the call.
    void work(int thread) {
        FlushTiny flush;
        if (call.trains) train(thread);
        else predict(thread);
    }

  private:
    void train(int thread) {
        for (int64_t done = 0, i = 0; done < call.n; done += batch, i++) {
            int64_t n = call.n - done < batch ? call.n - done : batch, number = call.first_step + i;
            const int64_t *rows = call.rows + done;
            train_step(thread, {call.images, call.labels, rows, 0, n, number, true, {hyper, call.rates[i], number}});
            if (thread) continue;
            double sum = 0;  // the next step's barriers keep the others from their tallies until this is done
            for (int64_t t = 0; t < threads; t++) sum += tallies[t].loss;
            call.losses[i] = sum / n;
        }
        if (thread) return;
        *call.correct = 0;
        for (int64_t t = 0; t < threads; t++) *call.correct += tallies[t].correct;
    }

    // Scales, shifts and backgrounds, which hold for the whole call.
    void prepare_prediction() {
        FlushTiny flush;
        for (const Conv &layer : convs)
            if (layer.norm.on) layer.norm.fix();
        for (const Dense &layer : dense)
            if (layer.norm.on) layer.norm.fix();
        for (const Conv &layer : convs) layer.find_background();
    }

    void predict(int thread) {
        if (!trains) return predict_alone(thread);
        for (int64_t done = 0; done < call.n; done += batch) {
            int64_t n = call.n - done < batch ? call.n - done : batch;
            predict_places(thread, done, n, share(n, thread, threads));
            // the next forward pass has a barrier before it overwrites the logits
        }
    }

    // Each thread has places of its own in the arrays, takes its images through all layers, and waits for no other.
    void predict_alone(int thread) {
        Range places = share(batch, thread, threads);
        int64_t size = places.to - places.from, end = call.n * places.to / batch;
        for (int64_t done = call.n * places.from / batch; done < end; done += size) {
            int64_t n = end - done < size ? end - done : size;
            predict_places(thread, done - places.from, n, {places.from, places.from + n});
        }
    }

    // A step over n images, of which `first` has place 0: the logits of those at this thread's places.
    void predict_places(int thread, int64_t first, int64_t n, Range mine) {
        const Dense &last = dense.back();
        forward(thread, {call.images, nullptr, nullptr, first, n, 0, false, {}}, mine);
        for (int64_t b = mine.from; b < mine.to; b++)
            for (int64_t k = 0; k < last.units; k++)
                call.logits[(first + b) * last.units + k] = last.out[last.output(b, k)];
    }

    void train_step(int thread, const Step &step) {
        Range mine = share(step.n, thread, threads);
        forward(thread, step, mine);
        softmax_loss(dense.back(), step, mine, hyper.label_smoothing, tallies[thread]);
        team.barrier();  // the logits' gradient, by images, before it is read by units
        for (int64_t i = (int64_t)dense.size() - 1; i >= 0; i--) backward_dense(thread, step, i, mine);
        for (int64_t i = (int64_t)convs.size() - 1; i >= 0; i--) {
            const Conv &layer = convs[i];
            if (layer.norm.on) {
                for (int64_t b = mine.from; b < mine.to; b++) layer.add_norm_sums(thread, b);
                team.barrier();  // the sums of all threads, before each adds them up
            }
            for (int64_t b = mine.from; b < mine.to; b++) layer.backward(thread, step.n, b);
        }
        if (convs.empty()) return;
        team.barrier();  // the gradients of all threads, by images, before they are added up by units
        for (const Conv &layer : convs) layer.update(thread, step.adam);
        team.barrier();  // the weights, by units, before the next step reads all; and the sums, before they are cleared
        for (const Conv &layer : convs)
            if (layer.norm.on) layer.norm.clear(thread, layer.norm.vectors());
    }

    void forward(int thread, const Step &step, Range mine) {
        forward_convs(thread, step, mine);
        for (size_t i = 0; i < dense.size(); i++) {
            const Dense &layer = dense[i];
            if (i)
                for (int64_t b = mine.from; b < mine.to; b++) take_dense(layer, dense[i - 1], b, step);
            layer.list_rows(mine);
            meet();  // the rows, by images, before any thread multiplies by those of all images
            layer.forward(thread, step.n, mine, step.number);
            if (step.train) layer.list_columns(thread, step.n);
            meet();  // the outputs, by units, before they are read by images; the columns, for later
            if (!layer.norm.on) continue;
            layer.normalise(thread, step.n, mine, step.train);
            meet();  // the normalised outputs, by units, before they are read by images
        }
    }

    // A barrier where dense layers share their work by units, which they do not if the engine only predicts.
    void meet() {
        if (trains) team.barrier();
    }

    void forward_convs(int thread, const Step &step, Range mine) {
        auto image = [&](int64_t b) { return step.images + step.row(b) * image_size; };
        bool waits = false;
        for (const Conv &layer : convs) waits |= step.train && layer.norm.on;
        if (!waits) {  // an image goes through all convolutions while it is in the cache
            for (int64_t b = mine.from; b < mine.to; b++) {
                if (convs.empty()) take_image(dense[0], image(b), b);
                else convs[0].take_image(image(b), b);
                for (const Conv &layer : convs) layer.forward(thread, image(b), b, step.train);
                if (!convs.empty()) take_conv(thread, b, step);
            }
            return;
        }
        for (const Conv &layer : convs) {
            for (int64_t b = mine.from; b < mine.to; b++) {
                if (!layer.before) layer.take_image(image(b), b);
                layer.forward(thread, image(b), b, true);
                if (!layer.next && !layer.norm.on) take_conv(thread, b, step);
            }
            if (!layer.norm.on) continue;
            int64_t count = step.n * layer.cells;
            team.barrier();  // the sums of all threads, before each adds them up
            layer.norm.measure(thread, count, layer.norm.vectors());
            team.barrier();  // everyone has read the sums and the moving averages, before they change
            layer.norm.clear(thread, layer.norm.vectors());
            if (thread == 0) layer.norm.move_averages(0, count, layer.norm.vectors());
            for (int64_t b = mine.from; b < mine.to; b++) {
                layer.normalise(thread, b);
                if (!layer.next) take_conv(thread, b, step);
            }
        }
    }

    void backward_dense(int thread, const Step &step, int64_t i, Range mine) {
        const Dense &layer = dense[i];
        bool need_gx = i || !convs.empty();
        if (layer.norm.on) {
            layer.backward_norm(thread, step.n, step.adam);
            team.barrier();  // gout, by units, before a thread reads that of all units
        }
        layer.backward(thread, step.n, need_gx, step.number, step.adam);
        team.barrier();  // gx, by units or inputs, before it is read by images; the weights, for the next step
        if (i) pass_to_dense(layer, dense[i - 1], mine);
        else if (!convs.empty()) pass_to_conv(layer, convs.back(), mine);
        if (i) team.barrier();  // the gradient of the layer before, by images, before it is read by units
    }

    // From one layer to the next, image by image

    static void take_image(const Dense &layer, const uint8_t *image, int64_t b) {
        float *x = layer.x + b * layer.stride;
        for (int64_t i = 0; i < layer.inputs; i++) x[i] = image[i] * (1.0f / 255);
    }

    // The last convolution's outputs, without what pads their channels, as the first dense layer's inputs.
    void take_conv(int thread, int64_t b, const Step &step) const {
        const Conv &from = convs.back();
        float *x = dense[0].x + b * dense[0].stride;
        const float *y = from.output(thread, b);
        for (int64_t cell = 0; cell < from.cells; cell++)
            memcpy(x + cell * from.units, y + cell * from.units_p, from.units * sizeof(float));
        drop(dense[0], b, step);
    }

    void take_dense(const Dense &layer, const Dense &from, int64_t b, const Step &step) const {
        float *x = layer.x + b * layer.stride;
        for (int64_t u = 0; u < from.units; u += from.width) {
            int64_t n = from.units - u < from.width ? from.units - u : from.width;
            memcpy(x + u, from.out + from.output(b, u), n * sizeof(float));
        }
        drop(layer, b, step);
    }

    void drop(const Dense &layer, int64_t b, const Step &step) const {
        if (step.train) layer.dropout.apply(layer.x + b * layer.stride, layer.inputs, dropout_key, step.number, b);
    }

    static void pass_to_dense(const Dense &layer, const Dense &before, Range images) {
        pass(layer, images, before.width, [&](int64_t b, int64_t k) { return before.gout + before.output(b, k); });
    }

    static void pass_to_conv(const Dense &layer, const Conv &before, Range images) {
        pass(layer, images, before.units, [&](int64_t b, int64_t k) {
            return before.g + (b * before.cells + k / before.units) * before.units_p + k % before.units;
        });
    }

    // The gradient by a dense layer's inputs, to where at(b, k) says. Inputs lie together in pieces of `width`.
    template <class At> static void pass(const Dense &layer, Range images, int64_t width, At at) {
        const int64_t TILE = 16;  // rows and columns of the transposition both stay in the first-level cache
        for (int64_t k0 = 0; k0 < layer.inputs; k0 += TILE)
            for (int64_t b = images.from; b < images.to; b++) {
                int64_t k1 = k0 + TILE < layer.inputs ? k0 + TILE : layer.inputs;
                float g[TILE];
                layer.gather_gradient(b, k0, k1, g);
                for (int64_t k = k0, n; k < k1; k += n) {
                    n = width - k % width < k1 - k ? width - k % width : k1 - k;
                    memcpy(at(b, k), g + k - k0, n * sizeof(float));
                }
            }
    }
};
