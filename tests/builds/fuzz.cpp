// Random small networks, trained and applied by the kernels and by the plain reference: fuzz FIRST COUNT [RESULTS]
//
// A case is a function of its number alone, so that `fuzz 123 1` repeats what case 123 did. For each case:
//   - predictions equal the reference's within rounding; bit for bit the same in other batches and by other numbers of threads;
//   - every training step, from the kernels' own weights and moments, gives the reference's loss, gradients, updates and
//     moving averages within rounding;
//   - the same training again gives the same bits;
//   - where there are bf16 products, they repeat bit for bit and their loss is near;
//   - a layer with one impossible number is refused with a reason, and a call that lacks a thread can be cancelled.
// RESULTS receives the predictions, losses and weights as float32, for a comparison with another processor.
#include "reference.hpp"
#include <algorithm>
#include <numeric>
#include <string>

struct Random {  // SplitMix64 (Steele et al. 2014): the same numbers with every standard library
    uint64_t state;

    uint64_t next() {
        uint64_t z = state += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    long between(long low, long high) { return low + next() % (uint64_t)(high - low + 1); }  // both ends included
    bool chance(double p) { return uniform(0, 1) < p; }
    double uniform(double low, double high) { return low + (high - low) * (next() >> 11) * 0x1p-53; }
    template <class T> T one_of(std::initializer_list<T> all) { return all.begin()[between(0, all.size() - 1)]; }
};

struct Case {
    std::vector<Spec> specs;
    std::vector<Arrays> weights;
    int batch, threads;
    Hyper hyper;
    uint32_t seed;
    int64_t first_step;
    std::vector<uint8_t> images;
    std::vector<int64_t> labels, rows;
    std::vector<double> rates;  // of the steps
};

static Spec convolution(Random &r, int h, int w, int c) {
    Spec s{};
    s.kind = CONV, s.relu = 1, s.in_h = h, s.in_w = w, s.in_c = c;
    bool same = r.chance(0.5);
    s.kernel_h = r.between(1, same ? 5 : std::min(5, h)), s.kernel_w = r.between(1, same ? 5 : std::min(5, w));
    if (same && w < 4 && r.chance(0.1)) s.kernel_w = r.between(55, 70);  // around the 64 bits of a row of positions
    if (same) s.top = (s.kernel_h - 1) / 2, s.left = (s.kernel_w - 1) / 2;
    s.out_h = same ? h : h - s.kernel_h + 1, s.out_w = same ? w : w - s.kernel_w + 1;
    s.units = r.one_of({1, 3, 4, 8, 10, 16, 17, 33});
    s.pool = s.out_h > 1 && s.out_w > 1 && r.chance(0.6) ? 2 : 1;
    return s;
}

static Spec dense(Random &r, int inputs) {
    Spec s{};
    s.kind = DENSE, s.relu = 1, s.in_h = s.in_w = 1, s.in_c = inputs, s.pool = 1;
    s.units = r.chance(0.15) ? r.between(100, 300) : r.between(1, 40);
    return s;
}

static void finish(Random &r, Spec &s, bool may_drop) {
    if (r.chance(0.3)) s.normalised = 1, s.momentum = r.uniform(0.5, 0.99), s.epsilon = r.one_of({1e-3, 1e-5});
    if (may_drop && r.chance(0.3)) s.dropout = r.one_of({0.1f, 0.5f, 0.9f, std::nextafter(1.0f, 0.0f)});
}

static std::vector<Spec> network(Random &r) {
    std::vector<Spec> specs;
    int h = r.between(1, 14), w = r.between(1, 14), c = r.between(1, 4);
    if (r.chance(0.02)) h = r.between(505, 520), w = r.between(1, 3), c = 1;  // around the 512 rows of positions
    if (r.chance(0.02)) w = r.between(55, 70), h = r.between(1, 3), c = 1;
    int convs = r.between(0, 3), hidden = r.between(0, 2);
    for (int i = 0; i < convs; i++) {
        specs.push_back(convolution(r, h, w, c));
        finish(r, specs.back(), i + 1 == convs);
        h = specs.back().out_h / specs.back().pool, w = specs.back().out_w / specs.back().pool, c = specs.back().units;
    }
    int inputs = h * w * c;
    for (int i = 0; i <= hidden; i++) {
        specs.push_back(dense(r, inputs));
        if (i < hidden) finish(r, specs.back(), true);
        inputs = specs.back().units;
    }
    specs.back().relu = 0;
    specs.back().units = r.chance(0.1) ? r.between(50, 200) : r.between(2, 12);
    return specs;
}

static long work(const std::vector<Spec> &specs) {  // products for one image
    long sum = 0;
    for (const Spec &s : specs)
        sum += s.kind == DENSE ? (long)s.in_c * s.units
                               : (long)s.out_h * s.out_w * s.units * s.kernel_h * s.kernel_w * s.in_c;
    return sum;
}

static std::vector<float> floats(Random &r, long n, double low, double high) {
    std::vector<float> made(n);
    for (float &x : made) x = r.uniform(low, high);
    return made;
}

static Arrays arrays(Random &r, const Spec &s) {
    long inputs = (s.kind == DENSE ? 1L : (long)s.kernel_h * s.kernel_w) * s.in_c;
    double limit = std::sqrt(6.0 / inputs);
    Arrays a{floats(r, inputs * s.units, -limit, limit), floats(r, s.units, -0.3, 0.3), {}, {}, {}};
    if (s.normalised)
        a.gamma = floats(r, s.units, 0.5, 1.5), a.mean = floats(r, s.units, -0.3, 0.3), a.variance = floats(r, s.units, 0.5, 2);
    return a;
}

// Noise with black regions, black pixels, and images that are black throughout.
static std::vector<uint8_t> pictures(Random &r, long n, long size) {
    std::vector<uint8_t> images(n * size);
    for (long b = 0; b < n; b++) {
        double black = r.one_of({0.0, 0.3, 0.9, 1.0});
        long from = r.between(0, size), to = r.between(from, size);
        for (long i = 0; i < size; i++) images[b * size + i] = (i >= from && i < to) || r.chance(black) ? 0 : r.between(1, 255);
    }
    return images;
}

static Case make_case(uint64_t number) {
    Random r{number * 0x2545f4914f6cdd1d + 1};
    Case c;
    c.batch = r.between(1, 20), c.threads = r.between(1, 4);
    long n = r.between(1, 2 * c.batch + 3);
    do c.specs = network(r);
    while (work(c.specs) * n > 3'000'000);
    for (const Spec &s : c.specs) c.weights.push_back(arrays(r, s));
    c.hyper = {(float)r.uniform(0, 0.95), (float)r.uniform(0.9, 0.9999), r.one_of({1e-4f, 1e-7f}), r.one_of({0.0f, 0.1f}),
               r.one_of({0.0f, 0.1f})};
    c.seed = r.next();
    c.first_step = r.one_of({0L, 1L, 1000L, 5'000'000'000L});
    c.images = pictures(r, n, (long)c.specs[0].in_h * c.specs[0].in_w * c.specs[0].in_c);
    for (long i = 0; i < n; i++) c.labels.push_back(r.between(0, c.specs.back().units - 1)), c.rows.push_back(i);
    for (long i = n - 1; i > 0; i--) std::swap(c.rows[i], c.rows[r.between(0, i)]);
    for (long done = 0; done < n; done += c.batch) c.rates.push_back(r.uniform(0.0005, 0.01));
    return c;
}

static std::string failure;  // of the case at hand; the first one

static void fail(const std::string &what, double found, double expected, double tolerance) {
    char text[400];
    snprintf(text, sizeof text, "%s: %.9g instead of %.9g, within %.3g", what.c_str(), found, expected, tolerance);
    if (failure.empty()) failure = text;
}

static void check(const std::string &what, double found, double expected, double tolerance) {
    if (!(std::abs(found - expected) <= tolerance)) fail(what, found, expected, tolerance);
}

static void check(const std::string &what, double found, const Number &expected, double more = 0) {
    check(what, found, expected.value, expected.tolerance() + more);
}

struct State {
    std::vector<Arrays> weights, first, second;

    bool operator==(const State &) const = default;
};

static State state_of(Engine &engine, const std::vector<Arrays> &like) {
    std::vector<Arrays> moments = like;
    for (Arrays &a : moments) a.mean.clear(), a.variance.clear();
    return {engine.read(like), engine.read(moments, FIRST_MOMENTS), engine.read(moments, SECOND_MOMENTS)};
}

// One array's gradient by its first moments, its second moments by that, and its weights by both.
static void check_update(const std::string &what, const Case &c, double rate, double t, const Numbers &gradient,
                         const std::vector<float> *before[3], const std::vector<float> *after[3]) {
    double left1 = 1.0f - c.hyper.beta1, left2 = 1.0f - c.hyper.beta2;
    double step = rate / (1 - std::pow((double)c.hyper.beta1, t)), scale = 1 / std::sqrt(1 - std::pow((double)c.hyper.beta2, t));
    for (size_t i = 0; i < gradient.size(); i++) {
        double w0 = (*before[0])[i], m0 = (*before[1])[i], v0 = (*before[2])[i];
        double w = (*after[0])[i], m = (*after[1])[i], v = (*after[2])[i], g = gradient[i].value;
        std::string here = what + "[" + std::to_string(i) + "]";
        double size = std::abs(m0) + std::abs(m) + std::abs(g);
        check(here + " first moment", m, m0 + (g - m0) * left1, gradient[i].tolerance() * left1 + 4 * ROUNDING * size);
        double error = gradient[i].tolerance();
        check(here + " second moment", v, v0 * (double)c.hyper.beta2 + g * g * left2,
              (2 * std::abs(g) + error) * error * left2 + 4 * ROUNDING * (v0 + v + g * g) + 1e-36);
        double moved = step * m / (std::sqrt(v) * scale + (double)c.hyper.epsilon);
        check(here, w, w0 * (1 - rate * c.hyper.weight_decay) - moved, ROUNDING * (8 * std::abs(moved) + 4 * std::abs(w0)) + 1e-30);
    }
}

static void check_step(const Case &c, const Reference &reference, double rate, int64_t steps, const State &before, const State &after) {
    const std::vector<Arrays> *from[3] = {&before.weights, &before.first, &before.second};
    const std::vector<Arrays> *to[3] = {&after.weights, &after.first, &after.second};
    for (size_t i = 0; i < c.specs.size(); i++) {
        std::string layer = "step " + std::to_string(steps) + ", layer " + std::to_string(i);
        const Gradients &g = reference.gradients[i];
        auto one = [&](const char *name, const Numbers &gradient, std::vector<float> Arrays::*part) {
            const std::vector<float> *b[3], *a[3];
            for (int which = 0; which < 3; which++) b[which] = &((*from[which])[i].*part), a[which] = &((*to[which])[i].*part);
            check_update(layer + name, c, rate, steps + 1, gradient, b, a);
        };
        one(" weight", g.w, &Arrays::w);
        one(" bias", g.b, &Arrays::b);
        one(" gamma", g.gamma, &Arrays::gamma);
        for (size_t u = 0; u < g.mean.size(); u++) {
            check(layer + " moving mean", after.weights[i].mean[u], g.mean[u]);
            check(layer + " moving variance", after.weights[i].variance[u], g.variance[u]);
        }
    }
}

static std::vector<float> check_predictions(const Case &c, Random &r) {
    Engine engine(c.specs, c.batch, c.threads, false, nullptr, 0);
    engine.load(c.weights);
    std::vector<float> logits = engine.predict(c.images);
    Reference reference(c.specs, c.weights);
    std::vector<int64_t> all(c.rows.size());
    std::iota(all.begin(), all.end(), 0);
    Numbers expected = reference.predict(c.images, all);
    // ReLU and maximum are continuous: a close call changes a prediction by rounding alone
    for (size_t i = 0; i < logits.size(); i++) check("logit " + std::to_string(i), logits[i], expected[i]);
    Engine other(c.specs, r.between(1, 25), r.between(1, 5), false, r.chance(0.5) ? &c.hyper : nullptr, 0);
    other.load(c.weights);
    if (other.predict(c.images) != logits) fail("predictions depend on batch or threads", 0, 0, 0);
    if (!engine.predict({}).empty()) fail("predictions of no images", 0, 0, 0);
    return logits;
}

static State check_training(const Case &c, std::vector<double> &losses, long &steps, long &compared) {
    Engine engine(c.specs, c.batch, c.threads, false, &c.hyper, c.seed);
    engine.load(c.weights);
    State before = state_of(engine, c.weights);
    if (before.weights != c.weights) fail("weights changed on the way in or out", 0, 0, 0);
    int64_t correct = 0;
    if (!engine.cancelled(c.images, c.labels, c.rows, c.rates)) fail("a call without all its threads went on", 0, 0, 0);
    for (size_t i = 0; i < c.rates.size(); i++) {
        std::vector<int64_t> rows(c.rows.begin() + i * c.batch, c.rows.begin() + std::min(c.rows.size(), (i + 1) * c.batch));
        Losses loss = engine.train(c.images, c.labels, rows, {c.rates[i]}, c.first_step + i);
        State after = state_of(engine, c.weights);
        Reference reference(c.specs, before.weights);
        Number expected = reference.step(c.images, c.labels, rows, c.hyper.label_smoothing, c.seed, c.first_step + i);
        steps++;
        if (!reference.close_call) {
            compared++;
            check("loss", loss.each[0], expected);
            check("correct", loss.correct, reference.correct, 0);
            check_step(c, reference, c.rates[i], c.first_step + i, before, after);
        }
        losses.push_back(loss.each[0]);
        correct += loss.correct;
        before = std::move(after);
    }
    Engine again(c.specs, c.batch, c.threads, false, &c.hyper, c.seed);
    again.load(c.weights);
    if (again.train(c.images, c.labels, c.rows, c.rates, c.first_step) != Losses{losses, correct} ||
        !(state_of(again, c.weights) == before))
        fail("the same training, all steps in one call, gives other bits", 0, 0, 0);
    return before;
}

static void check_mixed(const Case &c, double loss) {
    // a normalisation over a few images divides by their small differences, and makes rounding large
    bool few_are_normalised = false;
    for (const Spec &s : c.specs) few_are_normalised |= s.kind == DENSE && s.normalised && c.batch < 8;
    std::vector<State> finals;
    for (int i = 0; i < 2; i++) {
        Engine engine(c.specs, c.batch, c.threads, true, &c.hyper, c.seed);
        engine.load(c.weights);
        Losses losses = engine.train(c.images, c.labels, c.rows, c.rates, c.first_step);
        if (!few_are_normalised) check("loss in bf16", losses.each[0], loss, 0.2 + 0.1 * std::abs(loss));
        finals.push_back(state_of(engine, c.weights));
    }
    if (!(finals[0] == finals[1])) fail("the same training in bf16 gives other bits", 0, 0, 0);
    Engine one(c.specs, c.batch, c.threads, true, nullptr, 0), other(c.specs, c.batch % 7 + 1, 3, true, nullptr, 0);
    one.load(c.weights), other.load(c.weights);
    if (one.predict(c.images) != other.predict(c.images)) fail("predictions in bf16 depend on batch or threads", 0, 0, 0);
}

static void check_refusals(Case c, Random &r) {
    int32_t Spec::*fields[] = {&Spec::kind, &Spec::in_h, &Spec::in_w, &Spec::in_c, &Spec::kernel_h, &Spec::kernel_w, &Spec::top,
                               &Spec::left, &Spec::out_h, &Spec::out_w, &Spec::units, &Spec::pool};
    c.specs[r.between(0, c.specs.size() - 1)].*fields[r.between(0, std::size(fields) - 1)] =
        r.one_of({-1, 0, 2, 100'000, INT32_MIN, INT32_MAX});
    std::string reason = Engine::refusal(c.specs, c.batch, c.threads, &c.hyper);
    if (reason == "?") fail("refused without a reason", 0, 0, 0);
}

static std::string describe(const Case &c) {
    std::string text = std::to_string(c.rows.size()) + " images, batch " + std::to_string(c.batch) + ", threads " + std::to_string(c.threads);
    for (const Spec &s : c.specs) {
        char layer[200];
        snprintf(layer, sizeof layer, s.kind == CONV ? "; conv %dx%dx%d -> %d by %dx%d" : "; dense %dx%dx%d -> %d", s.in_h, s.in_w,
                 s.in_c, s.units, s.kernel_h, s.kernel_w);
        text += layer + std::string(s.pool == 2 ? ", pooled" : "") + (s.normalised ? ", normalised" : "");
        if (s.dropout > 0) text += ", dropout " + std::to_string(s.dropout);
    }
    return text;
}

int main(int arguments, char **argument) {
    if (arguments < 3) return fprintf(stderr, "fuzz FIRST COUNT [RESULTS]\n"), 2;
    setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
    uint64_t first = strtoull(argument[1], nullptr, 10), count = strtoull(argument[2], nullptr, 10);
    FILE *results = arguments > 3 ? fopen(argument[3], "wb") : nullptr;
    auto write = [&](const std::vector<float> &all) {
        if (results) fwrite(all.data(), sizeof(float), all.size(), results);
    };
    long steps = 0, compared = 0, failed = 0;
    for (uint64_t number = first; number < first + count; number++) {
        Case c = make_case(number);
        Random r{number};
        failure.clear();
        std::vector<double> losses;
        write(check_predictions(c, r));
        State final = check_training(c, losses, steps, compared);
        if (Engine::has_bf16()) check_mixed(c, losses[0]);
        check_refusals(c, r);
        write({losses.begin(), losses.end()});
        for (const Arrays &a : final.weights)
            for (auto *part : {&a.w, &a.b, &a.gamma, &a.mean, &a.variance}) write(*part);
        if (failure.empty()) continue;
        failed++;
        printf("case %lu: %s\n    %s\n", (unsigned long)number, failure.c_str(), describe(c).c_str());
    }
    if (results) fclose(results);
    printf("%lu cases, %ld failed; %ld of %ld steps compared with the reference, the others were close calls\n",
           (unsigned long)count, failed, compared, steps);
    return failed > 0 || 2 * compared < steps;
}
