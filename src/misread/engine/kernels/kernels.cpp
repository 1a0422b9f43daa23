// Training and prediction of a chain of layers: convolutions (each with its max-pooling), then dense layers.
//
// What makes it fast, in the order of what it brings:
//   - products with an exact zero are left out: black pixels, activations below zero or dropped, and, backwards, the
//     positions that max-pooling did not choose. The sums that remain are the same sums;
//   - a dense layer's weight gradient never reaches memory: each row of it goes from registers into Adam;
//   - a convolution, its bias, ReLU and pooling are one pass, and only the pooled result is written;
//   - the threads stay inside a step and meet at barriers.
//
// Every function takes the thread that calls it and does that thread's share; all threads call them alike.
// Images are channels-last. Vectors have VL floats; channels of hidden images are padded to whole vectors.
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#if defined(__SSE__)
#include <immintrin.h>
#endif
#if defined(__AVX512F__)
#define VL 16
#elif defined(__AVX__)
#define VL 8
#else
#define VL 4
#endif
#if defined(__AVX512BF16__)
#define HAS_BF16 1
#else
#define HAS_BF16 0
#endif
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 64")

typedef float V __attribute__((vector_size(4 * VL), aligned(4), may_alias));
typedef int32_t VI __attribute__((vector_size(4 * VL), aligned(4), may_alias));
typedef uint8_t VB __attribute__((vector_size(VL), aligned(1), may_alias));

INLINE V load(const float *p) { return *(const V *)p; }
INLINE void store(float *p, V x) { *(V *)p = x; }
INLINE V splat(float x) { return x - V{}; }

INLINE V root(V x) {
#if VL == 16
    return (V)_mm512_sqrt_ps((__m512)x);
#elif VL == 8
    return (V)_mm256_sqrt_ps((__m256)x);
#else
    V y;
    UNROLL for (int i = 0; i < VL; i++) y[i] = __builtin_sqrtf(x[i]);
    return y;
#endif
}

#if HAS_BF16
typedef uint16_t Half;
INLINE V pair_product(V sum, V x, V y) { return (V)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)y); }
INLINE void store_half(Half *p, V x) { _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh((__m512)x)); }
INLINE V splat_pair(const Half *p) {
    int32_t pair;
    memcpy(&pair, p, 4);
    return (V)_mm512_set1_epi32(pair);
}
#else
typedef uint16_t Half;
INLINE V pair_product(V sum, V, V) { return sum; }
INLINE void store_half(Half *, V) {}
INLINE V splat_pair(const Half *) { return V{}; }
#endif

// 1 / x to float32's last place or the one before: an estimate and one step of Newton's, which leave the divider to `root`
INLINE V reciprocal(V x) {
#if VL == 16
    V y = (V)_mm512_rcp14_ps((__m512)x);
    return y * (2 - x * y);
#else
    return 1 / x;
#endif
}

// ReLU. What is not a number stays so, as in torch: else a training that diverged would look healthy.
INLINE V rectified(V x) { return x < 0 ? V{} : x; }

INLINE long round_up(long n, long to) { return (n + to - 1) / to * to; }

enum Kind { CONV = 0, DENSE = 1 };
const int INPUT_BLOCK = 64;  // inputs of a dense layer whose weights for one block of units fit the first-level cache
const int INPUT_GROUP = 12;  // inputs whose gradients are held in registers at once
const int AHEAD = 16;        // inputs between the one whose weights move and the one whose weights are asked for
const int MAX_THREADS = 64;

// What Python says of a layer. A dense layer has in_h = in_w = 1 and in_c inputs.
struct Spec {
    int32_t kind, relu;
    int32_t in_h, in_w, in_c;
    int32_t kernel_h, kernel_w, top, left;
    int32_t out_h, out_w, units;  // before pooling
    int32_t pool;                 // 1 or 2: windows of pool x pool
    int32_t normalised;           // batch normalisation between pooling and ReLU; its shift is the bias
    float momentum, epsilon;      // of the normalisation
    float dropout;                // of the outputs
};

struct Hyper {
    float beta1, beta2, epsilon, weight_decay, label_smoothing;
};

struct Params {  // weights with Adam's two moments; a prediction has no moments
    float *w, *m, *v;
};

struct Layer : Spec {
    Params weights, biases, gammas;
    float *moving_mean, *moving_variance;
    float *raw;                // outputs before normalisation, laid out like `g` or `out`
    float *statistics;         // [thread]: two sums for each unit
    float *mean, *inverse;     // [thread]: of the batch; inverse is 1 / its standard deviation
    float *scale, *shift;      // [thread]: what normalisation comes to
    // dense: weights are [block][input][width], activations [block][image][width], with width = vectors * VL
    int vectors, width, blocks, input_blocks, parts;
    float *x;           // [image][input]: what goes in, after dropout
    float *out, *gout;  // pre-softmax or rectified outputs, and the gradient of the loss by them
    float *gx;          // [part][input][image]: the gradient by x; parts are to be summed
    float *scratch;     // [thread]: the gradient of one block, units first
    int32_t *at, *starts;  // [image]: the inputs that are not zero, and where each INPUT_BLOCK of them starts
    float *at_value;
    uint16_t *images;      // [input]: the images in which it is not zero
    float *image_value;
    int32_t *image_count;
    // conv: weights are [unit][patch], a patch being kernel_h rows of row_length floats
    long c, units_p, row_length, patch, row_stride, in_size, pooled_h, pooled_w, cells, elements;
    float *forward;      // [unit block][element][width]: the same weights as the forward pass reads them
    Half *forward_half;  // in bf16, in pairs of elements
    float *in;           // [image][in_size]: zero-padded input
    Half *in_half;
    float *g;            // [image][cell][unit]: the gradient by the pooled, rectified output
    uint8_t *chosen;     // [image][cell][unit]: the position in the window that pooling chose
    float *gw, *gb;      // [thread]: gradients
    float *gin;          // [thread]: the gradient by one image's input
    float *flat;         // [thread]: one image's output, where a dense layer follows
    int64_t *out_at;     // where each cell goes in the output
    int64_t *raw_at;     // and in `raw`
    float *ones, *zeros;
    int32_t *every_cell, *corners;  // the cells in order, and where each one's window begins in the input
    long *offsets;  // of a patch's vectors in the input
    int32_t *active, *n_active;  // [image]: the cells that `active_cells` names
    float *background;           // [cell][unit]: a prediction's outputs for an image of zeros
    int32_t *patches;            // [thread]
    float *patch_g;              // [thread]
};

struct Engine {
    int n_layers, n_convs, batch, batch_p, threads, trains, mixed;
    Layer *layers;
    Hyper hyper;
    uint32_t seed;
    int64_t steps;
    std::atomic<int> arrived, turn;
    double loss[MAX_THREADS];  // sum over a step's images, by thread
    int64_t correct[MAX_THREADS];
    void **blocks;
    int n_blocks;
};

struct Rates {  // of one step, as in Kingma and Ba 2015, section 2
    float step, root_scale, keep;
};

struct Range {
    long from, to;
};
INLINE Range share(long n, int thread, int threads) { return {n * thread / threads, n * (thread + 1) / threads}; }

static void barrier(Engine *e) {
    int turn = e->turn.load(std::memory_order_relaxed);
    if (e->arrived.fetch_add(1, std::memory_order_acq_rel) == e->threads - 1) {
        e->arrived.store(0, std::memory_order_relaxed);
        e->turn.store(turn + 1, std::memory_order_release);
        e->turn.notify_all();
        return;
    }
    // A short wait is spun through. A longer one is slept through: other trainings may want the core, and the thread
    // that is waited for most of all.
    for (int spins = 0; e->turn.load(std::memory_order_acquire) == turn; spins++) {
        if (spins > 400) e->turn.wait(turn, std::memory_order_acquire);
#if defined(__SSE__)
        else _mm_pause();
#endif
    }
}

// Wellons 2018, "Prospecting for hash functions", with the constants found later (lowbias32)
INLINE uint32_t hash(uint32_t x) {
    x ^= x >> 16;
    x *= 0x21f0aaadu;
    x ^= x >> 15;
    x *= 0x735a2d97u;
    return x ^ x >> 15;
}

INLINE void adam(Params p, long at, V g, const Hyper &h, const Rates &r) {
    V m = load(p.m + at), v = load(p.v + at);
    m += (g - m) * (1 - h.beta1);
    v = v * h.beta2 + g * g * (1 - h.beta2);
    store(p.m + at, m);
    store(p.v + at, v);
    store(p.w + at, load(p.w + at) * r.keep - r.step * m * reciprocal(root(v) * r.root_scale + h.epsilon));
}

// ------------------------------------------------------------------------------------------------- dense layers

// Work on a dense layer is shared out by blocks of units where that is even, else by images or inputs.
INLINE bool by_blocks(const Layer &l, int threads) { return l.blocks >= 4 * threads || l.blocks % threads == 0; }

// For each image the inputs that are not zero.
static void list_inputs(const Layer &l, Range images) {
    for (long b = images.from; b < images.to; b++) {
        const float *x = l.x + b * l.in_c;
        int32_t *at = l.at + b * (l.in_c + VL), *starts = l.starts + b * (l.input_blocks + 1);
        float *value = l.at_value + b * (l.in_c + VL);
        int n = 0;
        for (int block = 0; block < l.input_blocks; block++) {
            starts[block] = n;
            int k = block * INPUT_BLOCK, to = k + INPUT_BLOCK < l.in_c ? k + INPUT_BLOCK : l.in_c;
#if VL == 16
            const __m512i steps = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
            for (; k + VL <= to; k += VL) {
                __m512 y = _mm512_loadu_ps(x + k);
                __mmask16 on = _mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_NEQ_UQ);
                _mm512_storeu_ps(value + n, _mm512_maskz_compress_ps(on, y));
                _mm512_storeu_si512(at + n, _mm512_maskz_compress_epi32(on, _mm512_add_epi32(_mm512_set1_epi32(k), steps)));
                n += __builtin_popcount(on);
            }
#endif
            for (; k < to; k++) {
                at[n] = k;
                value[n] = x[k];
                n += x[k] != 0;
            }
        }
        starts[l.input_blocks] = n;
    }
}

// For each input in `blocks` of INPUT_BLOCK the images in which it is not zero.
static void list_images(const Layer &l, int stride, int n, Range blocks) {
    long from = blocks.from * INPUT_BLOCK, to = blocks.to * INPUT_BLOCK < l.in_c ? blocks.to * INPUT_BLOCK : l.in_c;
    for (long k = from; k < to; k++) l.image_count[k] = 0;
    for (int b = 0; b < n; b++) {
        const int32_t *starts = l.starts + b * (l.input_blocks + 1), *at = l.at + b * (l.in_c + VL);
        const float *value = l.at_value + b * (l.in_c + VL);
        for (int i = starts[blocks.from]; i < starts[blocks.to]; i++) {
            long to = at[i] * (long)stride + l.image_count[at[i]]++;
            l.images[to] = b;
            l.image_value[to] = value[i];
        }
    }
}

// NB blocks at once: more sums in registers for each input that is looked up.
template <int NV, int NB> static void dense_forward(const Layer &l, int stride, int block, Range images) {
    const int W = NV * VL;
    const float *first = l.normalised ? l.zeros : l.biases.w;  // its bias comes after the normalisation
    const long next_w = (long)l.in_c * W, next_out = (long)stride * W;
    const float *w = l.weights.w + block * next_w;
    float *out = l.out + block * next_out;
    const long lines = INPUT_BLOCK * W / 16, each = lines / (images.to - images.from + 1) + 1;  // of 64 bytes
    for (int part = 0; part < l.input_blocks; part++)
        for (long b = images.from; b < images.to; b++) {
            // the weights are looked up here and there, which the processor does not foresee: ask for the next ones
            for (long i = (b - images.from) * each, n = 0; n < each && i < lines && part + 1 < l.input_blocks; i++, n++)
                UNROLL for (int j = 0; j < NB; j++)
                    __builtin_prefetch(w + j * next_w + (part + 1) * (long)INPUT_BLOCK * W + i * 16);
            const int32_t *starts = l.starts + b * (l.input_blocks + 1), *at = l.at + b * (l.in_c + VL);
            const float *value = l.at_value + b * (l.in_c + VL);
            V sum[NB][NV];
            UNROLL for (int i = 0; i < NB; i++) UNROLL for (int j = 0; j < NV; j++)
                sum[i][j] = load(part ? out + i * next_out + b * W + j * VL : first + (block + i) * W + j * VL);
            for (int k = starts[part]; k < starts[part + 1]; k++) {
                const float *row = w + (long)at[k] * W;
                V x = splat(value[k]);
                UNROLL for (int i = 0; i < NB; i++) UNROLL for (int j = 0; j < NV; j++)
                    sum[i][j] += x * load(row + i * next_w + j * VL);
            }
            bool relu = l.relu && !l.normalised && part + 1 == l.input_blocks;
            UNROLL for (int i = 0; i < NB; i++) UNROLL for (int j = 0; j < NV; j++) {
                V y = sum[i][j];
                if (relu) y = rectified(y);
                store(out + i * next_out + b * W + j * VL, y);
            }
        }
}

// gx[k][b] += sum over units of w[k][u] * g[u][b], for KG inputs and NB vectors of images
template <int NB, int KG>
INLINE void input_gradient(const float *w, int W, const float *g, float *gx, long stride, bool first) {
    V sum[KG][NB];
    UNROLL for (int i = 0; i < KG; i++) UNROLL for (int j = 0; j < NB; j++)
        sum[i][j] = first ? V{} : load(gx + i * stride + j * VL);
    for (int u = 0; u < W; u++) {
        V y[NB];
        UNROLL for (int j = 0; j < NB; j++) y[j] = load(g + u * stride + j * VL);
        UNROLL for (int i = 0; i < KG; i++) {
            V x = splat(w[i * W + u]);
            UNROLL for (int j = 0; j < NB; j++) sum[i][j] += x * y[j];
        }
    }
    UNROLL for (int i = 0; i < KG; i++) UNROLL for (int j = 0; j < NB; j++)
        store(gx + i * stride + j * VL, sum[i][j]);
}

// the same with products in bf16: w and g hold pairs of units
template <int NB, int KG>
INLINE void input_gradient_half(const Half *w, int W, const Half *g, float *gx, long stride, bool first) {
    V sum[KG][NB];
    UNROLL for (int i = 0; i < KG; i++) UNROLL for (int j = 0; j < NB; j++)
        sum[i][j] = first ? V{} : load(gx + i * stride + j * VL);
    for (int u = 0; u < W; u += 2) {
        V y[NB];
        UNROLL for (int j = 0; j < NB; j++) y[j] = load((const float *)g + (u / 2) * stride + j * VL);
        UNROLL for (int i = 0; i < KG; i++) {
            V x = splat_pair(w + i * W + u);
            UNROLL for (int j = 0; j < NB; j++) sum[i][j] = pair_product(sum[i][j], x, y[j]);
        }
    }
    UNROLL for (int i = 0; i < KG; i++) UNROLL for (int j = 0; j < NB; j++)
        store(gx + i * stride + j * VL, sum[i][j]);
}

template <int KG>
INLINE void input_gradients(const float *w, int W, const float *g, float *gx, int stride, bool first, bool mixed) {
    int b = 0;
    if (mixed) {
        Half half[KG * 4 * VL];
        for (int i = 0; i < KG * W; i += VL) store_half(half + i, load(w + i));
        const Half *pairs = (const Half *)g;
        for (; b + 2 * VL <= stride; b += 2 * VL)
            input_gradient_half<2, KG>(half, W, pairs + 2 * b, gx + b, stride, first);
        if (b < stride) input_gradient_half<1, KG>(half, W, pairs + 2 * b, gx + b, stride, first);
        return;
    }
    for (; b + 2 * VL <= stride; b += 2 * VL) input_gradient<2, KG>(w, W, g + b, gx + b, stride, first);
    if (b < stride) input_gradient<1, KG>(w, W, g + b, gx + b, stride, first);
}

// One block's gradient with units first, as `input_gradients` reads it.
static void transpose_gradient(const float *g, int W, int n, int stride, float *to, bool mixed) {
    for (int b = 0; b < stride; b++)
        for (int u = 0; u < W; u++) {
            float x = b < n ? g[(long)b * W + u] : 0;
            if (!mixed) {
                to[(long)u * stride + b] = x;
            } else {
                uint32_t bits;
                memcpy(&bits, &x, 4);
                ((Half *)to)[((long)(u / 2) * stride + b) * 2 + u % 2] = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
            }
        }
}

template <int NV>
static void dense_backward(Engine *e, const Layer &l, int thread, int n, int block, Range inputs, bool first,
                           bool need_gx, const Rates &r) {
    const int W = NV * VL;
    long base = (long)block * l.in_c * W, stride = e->batch_p;
    const float *g = l.gout + (long)block * e->batch * W;
    float *units_first = l.scratch + (long)thread * 4 * VL * stride;
    float *gx = l.gx + (long)(l.parts > 1 ? thread : 0) * l.in_c * stride;
    if (need_gx) transpose_gradient(g, W, n, stride, units_first, e->mixed);
    for (long k0 = inputs.from; k0 < inputs.to; k0 += INPUT_GROUP) {
        long k1 = k0 + INPUT_GROUP < inputs.to ? k0 + INPUT_GROUP : inputs.to;
        if (need_gx && k1 - k0 == INPUT_GROUP)
            input_gradients<INPUT_GROUP>(l.weights.w + base + k0 * W, W, units_first, gx + k0 * stride, stride, first,
                                         e->mixed);
        else if (need_gx)
            for (long k = k0; k < k1; k++)
                input_gradients<1>(l.weights.w + base + k * W, W, units_first, gx + k * stride, stride, first, e->mixed);
        for (long k = k0; k < k1; k++) {  // the weights of these inputs are used: now they may move
            V sum[NV];
            UNROLL for (int j = 0; j < NV; j++) sum[j] = V{};
            for (int j = 0; j < W; j += 16) {  // what is needed after the next group's input gradients
                __builtin_prefetch(l.weights.w + base + (k + AHEAD) * W + j, 1);
                __builtin_prefetch(l.weights.m + base + (k + AHEAD) * W + j, 1);
                __builtin_prefetch(l.weights.v + base + (k + AHEAD) * W + j, 1);
            }
            const uint16_t *images = l.images + k * e->batch;
            const float *value = l.image_value + k * e->batch;
            for (int i = 0; i < l.image_count[k]; i++) {
                const float *row = g + (long)images[i] * W;
                V x = splat(value[i]);
                UNROLL for (int j = 0; j < NV; j++) sum[j] += x * load(row + j * VL);
            }
            UNROLL for (int j = 0; j < NV; j++) adam(l.weights, base + k * W + j * VL, sum[j], e->hyper, r);
        }
    }
    if (inputs.from == 0 && !l.normalised)  // the biases belong to whoever has the first inputs
        for (int j = 0; j < NV; j++) {
            V sum = {};
            for (int b = 0; b < n; b++) sum += load(g + (long)b * W + j * VL);
            adam(l.biases, (long)block * W + j * VL, sum, e->hyper, r);
        }
}

// Every other step goes backwards through the blocks: those touched last are still in the cache.
INLINE long turned(Engine *e, Range blocks, long i) { return e->steps % 2 ? blocks.to - 1 - (i - blocks.from) : i; }

static void forward_dense(Engine *e, const Layer &l, int thread, int n) {
    bool whole = by_blocks(l, e->threads);
    Range blocks = whole ? share(l.blocks, thread, e->threads) : Range{0, l.blocks};
    Range images = whole ? Range{0, n} : share(n, thread, e->threads);
    auto one = l.vectors == 4 ? dense_forward<4, 1> : l.vectors == 2 ? dense_forward<2, 1> : dense_forward<1, 1>;
    auto two = l.vectors == 4 ? dense_forward<4, 2> : l.vectors == 2 ? dense_forward<2, 2> : dense_forward<1, 2>;
    long pairs = (blocks.to - blocks.from) / 2;
    for (long i = 0; i < pairs; i++) two(l, e->batch, blocks.from + 2 * turned(e, {0, pairs}, i), images);
    if ((blocks.to - blocks.from) % 2) one(l, e->batch, blocks.to - 1, images);
}

static void backward_dense(Engine *e, const Layer &l, int thread, int n, bool need_gx, const Rates &r) {
    bool whole = by_blocks(l, e->threads);
    Range blocks = whole ? share(l.blocks, thread, e->threads) : Range{0, l.blocks};
    Range inputs = whole ? Range{0, l.in_c} : share(l.in_c, thread, e->threads);
    auto run = l.vectors == 4 ? dense_backward<4> : l.vectors == 2 ? dense_backward<2> : dense_backward<1>;
    for (long i = blocks.from; i < blocks.to; i++)
        run(e, l, thread, n, turned(e, blocks, i), inputs, i == blocks.from, need_gx, r);
}

// ------------------------------------------------------------------------------------------- batch normalisation
// Ioffe and Szegedy 2015 (arXiv 1502.03167), with the moving variance of the biased batch variance, as in Keras.

INLINE long norm_units(const Layer &l) { return l.kind == CONV ? l.units_p : (long)l.blocks * l.width; }

// Sums over `rows` rows of a vector of units: of y and of y * y.
static void add_squares(const float *y, long rows, long step, float *sum, float *squares) {
    V s = {}, q = {};
    for (long i = 0; i < rows; i++) {
        V x = load(y + i * step);
        s += x;
        q += x * x;
    }
    store(sum, load(sum) + s);
    store(squares, load(squares) + q);
}

// Sums of the gradient g and of g * normalised y.
static void add_products(const float *g, const float *y, long rows, long step, V mean, V inverse, float *sum, float *products) {
    V s = {}, q = {};
    for (long i = 0; i < rows; i++) {
        V x = load(g + i * step);
        s += x;
        q += x * (load(y + i * step) - mean) * inverse;
    }
    store(sum, load(sum) + s);
    store(products, load(products) + q);
}

// From the sums of all threads over `count` values of each unit: the scale and shift, this thread's copy of them.
static void prepare_scale(Engine *e, const Layer &l, int thread, long count, Range vectors) {
    long units = norm_units(l), mine = thread * units;
    for (long u = vectors.from * VL; u < vectors.to * VL; u += VL) {
        V sum = {}, squares = {}, mean = load(l.moving_mean + u), variance = load(l.moving_variance + u);
        for (int t = 0; t < e->threads; t++) {
            sum += load(l.statistics + 2 * t * units + u);
            squares += load(l.statistics + (2 * t + 1) * units + u);
        }
        if (count > 1) {  // one value alone has no variance: the moving averages stand in
            mean = sum * (1.0f / count);
            variance = squares * (1.0f / count) - mean * mean;
            variance = variance > 0 ? variance : V{};
        }
        V inverse = 1 / root(variance + l.epsilon), scale = inverse * load(l.gammas.w + u);
        store(l.mean + mine + u, mean);
        store(l.inverse + mine + u, inverse);
        store(l.scale + mine + u, scale);
        store(l.shift + mine + u, load(l.biases.w + u) - mean * scale);
    }
}

static void move_averages(const Layer &l, int thread, Range vectors) {
    long mine = thread * norm_units(l);
    for (long u = vectors.from * VL; u < vectors.to * VL; u += VL) {
        V inverse = load(l.inverse + mine + u), variance = 1 / (inverse * inverse) - l.epsilon;
        V m = load(l.moving_mean + u), v = load(l.moving_variance + u);
        store(l.moving_mean + u, m + (load(l.mean + mine + u) - m) * (1 - l.momentum));
        store(l.moving_variance + u, v + (variance - v) * (1 - l.momentum));
    }
}

// For prediction: the moving averages as one scale and shift, the same for all threads.
static void fixed_scale(const Layer &l) {
    for (long u = 0; u < norm_units(l); u += VL) {
        V scale = load(l.gammas.w + u) / root(load(l.moving_variance + u) + l.epsilon);
        store(l.scale + u, scale);
        store(l.shift + u, load(l.biases.w + u) - load(l.moving_mean + u) * scale);
    }
}

// Gamma and beta have as gradients the sums that `add_products` left; they are cleared for the next step.
static void norm_step(Engine *e, const Layer &l, int thread, const Rates &r) {
    long units = norm_units(l);
    Range mine = share(units / VL, thread, e->threads);
    for (long u = mine.from * VL; u < mine.to * VL; u += VL) {
        V sum = {}, products = {};
        for (int t = 0; t < e->threads; t++) {
            sum += load(l.statistics + 2 * t * units + u);
            products += load(l.statistics + (2 * t + 1) * units + u);
        }
        adam(l.biases, u, sum, e->hyper, r);
        adam(l.gammas, u, products, e->hyper, r);
    }
}

static void clear_statistics(const Layer &l, int thread) {
    memset(l.statistics + 2 * thread * norm_units(l), 0, 2 * norm_units(l) * 4);
}

// The gradient before normalisation from the one after it, in place; `count` as in prepare_scale.
static void norm_backward(Engine *e, const Layer &l, int thread, long count, float *g, const float *y, long rows, long step, long u) {
    long units = norm_units(l), mine = thread * units;
    V sum = {}, products = {}, mean = load(l.mean + mine + u), inverse = load(l.inverse + mine + u);
    for (int t = 0; t < e->threads; t++) {
        sum += load(l.statistics + 2 * t * units + u);
        products += load(l.statistics + (2 * t + 1) * units + u);
    }
    V scale = load(l.scale + mine + u);
    sum *= count > 1 ? 1.0f / count : 0;
    products *= count > 1 ? 1.0f / count : 0;
    for (long i = 0; i < rows; i++) {
        V x = (load(y + i * step) - mean) * inverse;
        store(g + i * step, scale * (load(g + i * step) - sum - x * products));
    }
}

// ------------------------------------------------------------------------------------------- convolution and pooling

// Where a convolution's pooled outputs go, and what is done to them on the way.
struct Output {
    float *to;
    Half *half;
    const int64_t *at;
    uint8_t *chosen;
    const float *scale, *shift;
    bool relu;
};

// NW windows of NV vectors of units: convolution at each of a window's positions, their maximum,
// scale and shift, ReLU.
template <int NV, int NW, int POOL, bool MIXED>
INLINE void conv_windows(const Layer &l, long image, const int32_t *windows, int vector, const Output &out) {
    const int POSITIONS = POOL * POOL;
    V sum[NW][POSITIONS][NV];
    UNROLL for (int n = 0; n < NW; n++) UNROLL for (int p = 0; p < POSITIONS; p++) UNROLL for (int j = 0; j < NV; j++)
        sum[n][p][j] = V{};
    const float *in = l.in + image * l.in_size;
    const Half *in_half = l.in_half + (MIXED ? image * l.in_size : 0);
    const float *w = MIXED ? (const float *)l.forward_half : l.forward;
    w += (long)vector * VL * (MIXED ? l.elements / 2 : l.elements);
    long base[NW], run = MIXED ? round_up(l.kernel_w * l.c, 2) : l.kernel_w * l.c;
    UNROLL for (int n = 0; n < NW; n++)
        base[n] = l.corners[windows[n]];
    for (int ky = 0; ky < l.kernel_h; ky++) {
        for (long i = 0; i < run; i += MIXED ? 2 : 1) {
            V weight[NV];
            UNROLL for (int j = 0; j < NV; j++) weight[j] = load(w + j * VL);
            w += NV * VL;
            UNROLL for (int n = 0; n < NW; n++) UNROLL for (int p = 0; p < POSITIONS; p++) {
                long at = base[n] + (p / POOL) * l.row_stride + (p % POOL) * l.c + i;
                V x = MIXED ? splat_pair(in_half + at) : splat(in[at]);
                UNROLL for (int j = 0; j < NV; j++)
                    sum[n][p][j] = MIXED ? pair_product(sum[n][p][j], x, weight[j]) : sum[n][p][j] + x * weight[j];
            }
        }
        UNROLL for (int n = 0; n < NW; n++) base[n] += l.row_stride;
    }
    UNROLL for (int n = 0; n < NW; n++) UNROLL for (int j = 0; j < NV; j++) {
        V best = sum[n][0][j];
        VI which = {};
        UNROLL for (int p = 1; p < POSITIONS; p++) {
            VI better = sum[n][p][j] > best;  // of equals the first, as in torch
            best = better ? sum[n][p][j] : best;
            which = better ? VI{} + p : which;
        }
        best = best * load(out.scale + (vector + j) * VL) + load(out.shift + (vector + j) * VL);
        if (out.relu) best = rectified(best);
        long at = out.at[windows[n]] + (vector + j) * VL;
        store(out.to + at, best);
        if (out.half) store_half(out.half + at, best);
        *(VB *)(out.chosen + windows[n] * l.units_p + (vector + j) * VL) = __builtin_convertvector(which, VB);
    }
}

template <int NV, int NW, int POOL, bool MIXED>
static void conv_group(const Layer &l, long image, const int32_t *windows, int n, int vector, const Output &out) {
    int i = 0;
    for (; i + NW <= n; i += NW) conv_windows<NV, NW, POOL, MIXED>(l, image, windows + i, vector, out);
    for (; i < n; i++) conv_windows<NV, 1, POOL, MIXED>(l, image, windows + i, vector, out);
}

// Vectors of units are taken four, two or one at a time; `forward_layout` lays the weights the same way.
INLINE int group_of(const Layer &l, int vector) {
    int left = l.units_p / VL - vector;
    return left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

template <bool MIXED>
static void conv_forward(const Layer &l, long image, const int32_t *windows, int n, const Output &out) {
    for (int vector = 0, group; vector < l.units_p / VL; vector += group) {
        group = group_of(l, vector);
        auto run = group == 4   ? (l.pool == 2 ? conv_group<4, 1, 2, MIXED> : conv_group<4, 6, 1, MIXED>)
                   : group == 2 ? (l.pool == 2 ? conv_group<2, 3, 2, MIXED> : conv_group<2, 12, 1, MIXED>)
                                : (l.pool == 2 ? conv_group<1, 6, 2, MIXED> : conv_group<1, 16, 1, MIXED>);
        run(l, image, windows, n, vector, out);
    }
}

// The weights of these units as the forward pass reads them: made anew after each step.
static void forward_layout(const Layer &l, Range units, bool mixed) {
    long run = l.kernel_w * l.c, run_even = round_up(run, 2);
    for (int vector = 0, group; vector < l.units_p / VL; vector += group) {
        group = group_of(l, vector);
        long width = group * VL, first = vector * VL;
        long from = units.from > first ? units.from : first;
        long to = units.to < first + width ? units.to : first + width;
        for (long u = from; u < to; u++)
            for (int ky = 0; ky < l.kernel_h; ky++)
                for (long i = 0; i < run; i++) {
                    float w = l.weights.w[u * l.patch + ky * l.row_length + i];
                    if (!mixed) {
                        l.forward[first * l.elements + (ky * run + i) * width + u - first] = w;
                        continue;
                    }
                    uint32_t bits;
                    memcpy(&bits, &w, 4);
                    long pair = (ky * run_even + i) / 2;
                    l.forward_half[first * l.elements + (pair * width + u - first) * 2 + i % 2] =
                        (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
                }
    }
}

// For N vectors of one unit's patch: its gradient, and what it passes back to the input.
template <int N>
static void conv_patch(const long *offset, const float *w, float *gw, const float *in, float *gin, const int32_t *at,
                       const float *g, int n) {
    V sum[N], weight[N];
    UNROLL for (int j = 0; j < N; j++) sum[j] = load(gw + j * VL);
    if (!gin) {
        for (int i = 0; i < n; i++) {
            V x = splat(g[i]);
            UNROLL for (int j = 0; j < N; j++) sum[j] += x * load(in + at[i] + offset[j]);
        }
    } else {
        UNROLL for (int j = 0; j < N; j++) weight[j] = load(w + j * VL);
        for (int i = 0; i < n; i++) {
            V x = splat(g[i]);
            UNROLL for (int j = 0; j < N; j++) {
                float *to = gin + at[i] + offset[j];
                sum[j] += x * load(in + at[i] + offset[j]);
                store(to, load(to) + x * weight[j]);
            }
        }
    }
    UNROLL for (int j = 0; j < N; j++) store(gw + j * VL, sum[j]);
}

const int MAX_CHUNK = 12;  // so that sums and weights both stay in registers
typedef void (*ConvPatch)(const long *, const float *, float *, const float *, float *, const int32_t *, const float *, int);
static const ConvPatch conv_chunks[MAX_CHUNK + 1] = {
    nullptr,        conv_patch<1>, conv_patch<2>, conv_patch<3>,  conv_patch<4>,  conv_patch<5>, conv_patch<6>,
    conv_patch<7>, conv_patch<8>, conv_patch<9>, conv_patch<10>, conv_patch<11>, conv_patch<12>};

// Only the position that pooling chose in each window has a gradient, and only where ReLU let it pass.
static void conv_backward(const Layer &l, int thread, long b, bool need_gin) {
    const float *g = l.g + b * l.cells * l.units_p, *in = l.in + b * l.in_size;
    const uint8_t *chosen = l.chosen + b * l.cells * l.units_p;
    float *gin = need_gin ? l.gin + thread * (l.in_size + 256) : nullptr;
    int32_t *at = l.patches + thread * (l.cells + VL);
    float *values = l.patch_g + thread * (l.cells + VL);
    if (gin) memset(gin, 0, l.in_size * 4);
    const int vectors = l.patch / VL;
    const long *offset = l.offsets;
    int position[4];  // in a window, from its corner
    for (int p = 0; p < 4; p++) position[p] = p / l.pool * l.row_stride + p % l.pool * l.c;
    const int32_t *cells = l.active + b * l.cells;
    const int n_cells = l.n_active[b];
    for (long u = 0; u < l.units_p; u += VL) {
        V sum = load(l.gb + thread * l.units_p + u);
        for (long cell = 0; cell < l.cells; cell++) sum += load(g + cell * l.units_p + u);
        store(l.gb + thread * l.units_p + u, sum);
    }
    const int parts = (vectors + MAX_CHUNK - 1) / MAX_CHUNK;
    for (long u = 0; u < l.units; u++) {
        int n = 0;
        for (int i = 0; i < n_cells; i++) {
            long at_cell = cells[i] * l.units_p + u;
            float x = g[at_cell];
            at[n] = l.corners[cells[i]] + position[chosen[at_cell]];
            values[n] = x;
            n += x != 0;
        }
        float *gw = l.gw + (thread * l.units_p + u) * l.patch;
        const float *w = l.weights.w + u * l.patch;
        for (int part = 0; part < parts; part++) {
            int i = vectors * part / parts, size = vectors * (part + 1) / parts - i;
            conv_chunks[size](offset + i, w + i * VL, gw + i * VL, in, gin, at, values, n);
        }
    }
}

static void conv_step(Engine *e, const Layer &l, int thread, const Rates &r) {
    Range units = share(l.units, thread, e->threads);
    for (long u = units.from; u < units.to; u++)
        for (long i = 0; i < l.patch; i += VL) {
            V g = {};
            for (int t = 0; t < e->threads; t++) {
                float *part = l.gw + (t * l.units_p + u) * l.patch + i;
                g += load(part);
                store(part, V{});
            }
            // the end of a row of the kernel is filled up to a whole vector; what gathered there is not its own
            for (long j = l.kernel_w * l.c - i % l.row_length; j < VL; j++)
                if (j >= 0) g[j] = 0;
            adam(l.weights, u * l.patch + i, g, e->hyper, r);
        }
    forward_layout(l, units, e->mixed);
    if (l.normalised) return norm_step(e, l, thread, r);
    if (thread) return;
    for (long u = 0; u < l.units_p; u += VL) {
        V g = {};
        for (int t = 0; t < e->threads; t++) {
            g += load(l.gb + t * l.units_p + u);
            store(l.gb + t * l.units_p + u, V{});
        }
        adam(l.biases, u, g, e->hyper, r);
    }
}

// --------------------------------------------------------------------------------------------------------- a step

// A bit for each position of a convolution's padded input, by rows.
struct Positions {
    uint64_t rows[512] = {};

    static bool fit(const Layer &l) { return l.in_w + l.kernel_w <= 64 && l.in_h + l.kernel_h <= 512; }
};

static Positions pixels_set(const Layer &l, const uint8_t *image) {
    Positions set;
    long row = (long)l.in_w * l.in_c;
    for (int y = 0; y < l.in_h; y++)
        for (int x = 0; x < l.in_w; x++)
            for (int c = 0; c < l.in_c; c++)
                set.rows[y + l.top] |= (uint64_t)(image[y * row + x * l.in_c + c] != 0) << (x + l.left);
    return set;
}

static Positions cells_set(const Layer &l, const Layer &before, const int32_t *cells, int n) {
    Positions set;
    for (int i = 0; i < n; i++)
        set.rows[cells[i] / before.pooled_w + l.top] |= 1ull << (cells[i] % before.pooled_w + l.left);
    return set;
}

static int cells_seeing(const Layer &l, const Positions &set, int32_t *cells) {
    int n = 0;
    uint64_t window = (1ull << (l.kernel_w + l.pool - 1)) - 1;
    for (int y = 0; y < l.pooled_h; y++) {
        uint64_t any = 0;
        for (int i = 0; i < l.kernel_h + l.pool - 1; i++) any |= set.rows[y * l.pool + i];
        for (int x = 0; x < l.pooled_w; x++) {
            cells[n] = y * l.pooled_w + x;
            n += (any >> (x * l.pool) & window) != 0;
        }
    }
    return n;
}

// The cells of a convolution's output that are to be computed: in the first layer those whose window sees a pixel that
// is not zero; in the later ones, when predicting, those whose window sees a computed cell. All others are what an
// image of zeros gives, which a training, whose weights change, knows of the first layer alone: the shift.
static int active_cells(Engine *e, int thread, int i, const uint8_t *image, long b, bool train, int32_t *cells) {
    const Layer &l = e->layers[i];
    bool some = Positions::fit(l) && (i == 0 || !train);
    if (!some) memcpy(cells, l.every_cell, l.cells * sizeof(int32_t));
    if (!some) return l.cells;
    if (i == 0) return cells_seeing(l, pixels_set(l, image), cells);
    const Layer &before = e->layers[i - 1];
    return cells_seeing(l, cells_set(l, before, before.active + thread * before.cells, before.n_active[thread]), cells);
}

static void to_input(Engine *e, const Layer &l, const uint8_t *image, long b) {
    if (l.kind == DENSE) {
        float *x = l.x + b * l.in_c;
        for (long i = 0; i < l.in_c; i++) x[i] = image[i] * (1.0f / 255);
        return;
    }
    long row = (long)l.in_w * l.in_c;
    float *in = l.in + b * l.in_size;
    for (int y = 0; y < l.in_h; y++)
        for (long i = 0; i < row; i++)
            in[(y + l.top) * l.row_stride + l.left * l.c + i] = image[y * row + i] * (1.0f / 255);
    if (e->mixed)
        for (long i = 0; i < l.in_size; i += VL) store_half(l.in_half + b * l.in_size + i, load(in + i));
}

// Outputs as the next dense layer's inputs, some of them dropped.
static void to_dense(Engine *e, const Layer &from, const Layer &l, long b, bool train, const float *y, long stride,
                     long width, long skip) {
    float *x = l.x + b * l.in_c;
    long groups = l.in_c / width + (l.in_c % width != 0);
    for (long i = 0; i < groups; i++) {
        long n = (i + 1) * width <= l.in_c ? width : l.in_c - i * width;
        memcpy(x + i * width, y + i * (stride + skip), n * 4);
    }
    if (!train || from.dropout == 0) return;
    uint32_t key = hash(hash(hash(e->seed) + (uint32_t)e->steps) + (uint32_t)b * 64 + (uint32_t)(&from - e->layers));
    uint32_t limit = (uint32_t)(from.dropout * 4294967296.0);
    float scale = 1 / (1 - from.dropout);
    for (long i = 0; i < l.in_c; i++) x[i] = hash(key + (uint32_t)i) >= limit ? x[i] * scale : 0;
}

// Where a convolution's outputs for one image go: to where the next layer reads them, or to `raw` where they are still
// to be normalised.
static Output conv_output(Engine *e, int thread, int i, long b, bool train) {
    const Layer &l = e->layers[i], &next = e->layers[i + 1];
    bool last = i + 1 == e->n_convs, to_raw = train && l.normalised;
    Output out = {last ? l.flat + thread * l.cells * l.units_p : next.in + b * next.in_size,
                  last || !e->mixed || to_raw ? nullptr : next.in_half + b * next.in_size,
                  l.out_at,
                  l.chosen + (train ? b : thread) * l.cells * l.units_p,
                  l.normalised && !train ? l.scale : l.ones,
                  l.normalised && !train ? l.shift : l.biases.w,
                  l.relu && !to_raw};
    if (to_raw) out.to = l.raw + b * l.cells * l.units_p, out.at = l.raw_at, out.shift = l.zeros;
    return out;
}

// The outputs of all cells that see nothing but zeros: the shift alone.
static void fill_zeros(const Layer &l, const Output &out) {
    memset(out.chosen, 0, l.cells * l.units_p);
    for (long u = 0; u < l.units_p; u += VL) {
        V y = load(out.shift + u);
        if (out.relu) y = rectified(y);
        for (long cell = 0; cell < l.cells; cell++) store(out.to + out.at[cell] + u, y);
        if (out.half)
            for (long cell = 0; cell < l.cells; cell++) store_half(out.half + out.at[cell] + u, y);
    }
}

static void fill_background(const Layer &l, const Output &out, const int32_t *active, int n) {
    for (long cell = 0, i = 0; cell < l.cells; cell++) {
        if (i < n && active[i] == cell) {
            i++;
            continue;
        }
        for (long u = 0; u < l.units_p; u += VL) {
            V y = load(l.background + cell * l.units_p + u);
            store(out.to + out.at[cell] + u, y);
            if (out.half) store_half(out.half + out.at[cell] + u, y);
        }
    }
}

// A convolution layer for one image.
static void conv_image(Engine *e, int thread, int i, const uint8_t *image, long b, bool train) {
    const Layer &l = e->layers[i];
    bool last = i + 1 == e->n_convs, to_raw = train && l.normalised;
    Output out = conv_output(e, thread, i, b, train);
    long place = train ? b : thread;
    int32_t *active = l.active + place * l.cells;
    int n = l.n_active[place] = active_cells(e, thread, i, image, b, train, active);
    if (n < l.cells && train) fill_zeros(l, out);
    if (n < l.cells && !train) fill_background(l, out, active, n);
    (e->mixed ? conv_forward<true> : conv_forward<false>)(l, b, active, n, out);
    if (to_raw) {
        float *sums = l.statistics + 2 * thread * l.units_p;
        for (long u = 0; u < l.units_p; u += VL) add_squares(out.to + u, l.cells, l.units_p, sums + u, sums + l.units_p + u);
    } else if (last) {
        to_dense(e, l, e->layers[i + 1], b, train, out.to, l.units_p, l.units, 0);
    }
}

// What each convolution of a prediction gives for an image of zeros.
static void find_background(Engine *e) {
    for (int i = 0; i < e->n_convs; i++) {
        const Layer &l = e->layers[i];
        if (i == 0) memset(l.in, 0, l.in_size * sizeof(float));
        if (i == 0 && e->mixed) memset(l.in_half, 0, l.in_size * sizeof(Half));
        Output out = conv_output(e, 0, i, 0, false);
        (e->mixed ? conv_forward<true> : conv_forward<false>)(l, 0, l.every_cell, l.cells, out);
        for (long cell = 0; cell < l.cells; cell++)
            memcpy(l.background + cell * l.units_p, out.to + out.at[cell], l.units_p * sizeof(float));
    }
}

// From `raw` to where the next layer reads it.
static void conv_normalise(Engine *e, int thread, int i, long b) {
    const Layer &l = e->layers[i], &next = e->layers[i + 1];
    bool last = i + 1 == e->n_convs;
    float *to = last ? l.flat + thread * l.cells * l.units_p : next.in + b * next.in_size;
    Half *half = last || !e->mixed ? nullptr : next.in_half + b * next.in_size;
    for (long u = 0; u < l.units_p; u += VL) {
        V scale = load(l.scale + thread * l.units_p + u), shift = load(l.shift + thread * l.units_p + u);
        for (long cell = 0; cell < l.cells; cell++) {
            V y = load(l.raw + (b * l.cells + cell) * l.units_p + u) * scale + shift;
            y = rectified(y);
            store(to + l.out_at[cell] + u, y);
            if (half) store_half(half + l.out_at[cell] + u, y);
        }
    }
    if (last) to_dense(e, l, next, b, true, to, l.units_p, l.units, 0);
}

// A dense layer's blocks: in training by the batch's statistics, else by the moving averages.
static void dense_normalise(Engine *e, const Layer &l, int thread, int n, bool train) {
    Range blocks = share(l.blocks, thread, e->threads);
    long stride = (long)e->batch * l.width, units = norm_units(l);
    if (train) {
        float *sums = l.statistics + 2 * thread * units;
        for (long u = blocks.from * l.width; u < blocks.to * l.width; u += VL) {
            float *y = l.out + u / l.width * stride + u % l.width;
            add_squares(y, n, l.width, sums + u, sums + units + u);
        }
        Range vectors = {blocks.from * l.vectors, blocks.to * l.vectors};
        prepare_scale(e, l, thread, n, vectors);  // a unit's values are all in this thread's hands
        if (n > 1) move_averages(l, thread, vectors);
        memcpy(l.raw + blocks.from * stride, l.out + blocks.from * stride, (blocks.to - blocks.from) * stride * 4);
        clear_statistics(l, thread);
    }
    const float *scales = l.scale + (train ? thread * units : 0), *shifts = l.shift + (train ? thread * units : 0);
    for (long u = blocks.from * l.width; u < blocks.to * l.width; u += VL) {
        V scale = load(scales + u), shift = load(shifts + u);
        for (long b = 0; b < n; b++) {
            float *at = l.out + u / l.width * stride + b * l.width + u % l.width;
            V y = load(at) * scale + shift;
            store(at, rectified(y));
        }
    }
}

static void dense_norm_backward(Engine *e, const Layer &l, int thread, int n) {
    Range blocks = share(l.blocks, thread, e->threads);
    long stride = (long)e->batch * l.width, units = norm_units(l), mine = thread * units;
    float *sums = l.statistics + 2 * mine;
    for (long u = blocks.from * l.width; u < blocks.to * l.width; u += VL) {
        long at = u / l.width * stride + u % l.width;
        add_products(l.gout + at, l.raw + at, n, l.width, load(l.mean + mine + u), load(l.inverse + mine + u), sums + u,
                     sums + units + u);
        norm_backward(e, l, thread, n, l.gout + at, l.raw + at, n, l.width, u);
    }
}

// Mean cross-entropy and its gradient, of the images in `range` (Szegedy et al. 2016 for the smoothing).
static void softmax_loss(Engine *e, int thread, const int64_t *labels, const int64_t *rows, int n, Range range) {
    const Layer &l = e->layers[e->n_layers - 1];
    int classes = l.units, W = l.width;
    float smooth = e->hyper.label_smoothing;
    e->loss[thread] = 0;
    for (long b = range.from; b < range.to; b++) {
        const float *y = l.out + b * W;
        float *g = l.gout + b * W;
        long block = (long)e->batch * W, label = labels[rows[b]];
        auto at = [&](int k) { return k / W * block + k % W; };
        float top = y[0];
        int best = 0;
        double sum = 0, mean = 0;
        for (int k = 1; k < classes; k++)
            if (y[at(k)] > top) top = y[at(k)], best = k;
        for (int k = 0; k < classes; k++) {
            float p = expf(y[at(k)] - top);
            g[at(k)] = p;
            sum += p;
            mean += y[at(k)];
        }
        double log_sum = top + log(sum);
        e->loss[thread] += log_sum - (1 - smooth) * y[at(label)] - smooth * mean / classes;
        e->correct[thread] += best == label;
        for (int k = 0; k < classes; k++) {
            float target = (k == label ? 1 - smooth : 0) + smooth / classes;
            g[at(k)] = (g[at(k)] / (float)sum - target) / n;
        }
    }
}

static void gather_dense(Engine *e, int i, Range images, bool train) {
    const Layer &l = e->layers[i], &before = e->layers[i - 1];
    for (long b = images.from; b < images.to; b++)
        to_dense(e, before, l, b, train, before.out + b * before.width, 0, before.width, (long)e->batch * before.width);
}

// The gradient by a dense layer's input becomes the gradient by the outputs of the layer before it. What was zero
// there, through ReLU or dropout, passes nothing back.
static void pass_back(Engine *e, int i, Range images) {
    const Layer &l = e->layers[i], &before = e->layers[i - 1];
    float scale = 1 / (1 - before.dropout);
    bool dense = before.kind == DENSE;
    float *g = dense ? before.gout : before.g;  // made of pieces of `width` units: blocks or cells
    long width = dense ? before.width : before.units, step = dense ? (long)e->batch * width : before.units_p;
    long next = dense ? width : before.cells * before.units_p;  // image
    const long TILE = 16;  // rows and columns of the transposition both stay in the first-level cache
    for (long k0 = 0; k0 < l.in_c; k0 += TILE)
        for (long b = images.from; b < images.to; b++) {
            long k1 = k0 + TILE < l.in_c ? k0 + TILE : l.in_c;
            const float *x = l.x + b * l.in_c;
            float sums[TILE];
            for (long k = k0; k < k1; k++) sums[k - k0] = l.gx[k * e->batch_p + b];
            for (int part = 1; part < l.parts; part++)
                for (long k = k0; k < k1; k++) sums[k - k0] += l.gx[(part * (long)l.in_c + k) * e->batch_p + b];
            for (long k = k0; k < k1; k++) sums[k - k0] *= x[k] != 0 ? scale : 0;
            for (long k = k0, n; k < k1; k += n) {  // a piece for each block or cell of the layer before
                n = width - k % width < k1 - k ? width - k % width : k1 - k;
                memcpy(g + (k / width * step + b * next) + k % width, sums + k - k0, n * 4);
            }
        }
}

static void pass_back_conv(const Layer &l, const Layer &before, int thread, long b) {
    const float *gin = l.gin + thread * (l.in_size + 256), *in = l.in + b * l.in_size;
    float *g = before.g + b * before.cells * before.units_p;
    for (long cell = 0; cell < before.cells; cell++)
        for (long u = 0; u < before.units_p; u += VL) {
            long at = before.out_at[cell] + u;
            store(g + cell * before.units_p + u, load(in + at) != 0 ? load(gin + at) : V{});
        }
}

static void forward(Engine *e, int thread, const uint8_t *images, const int64_t *rows, int n, bool train) {
    const Layer *layers = e->layers;
    Range mine = share(n, thread, e->threads);
    long size = (long)layers[0].in_h * layers[0].in_w * layers[0].in_c;
    bool waits = false;
    for (int i = 0; i < e->n_convs; i++) waits |= train && layers[i].normalised;
    if (!waits)  // an image goes through all convolutions while it is in the cache
        for (long b = mine.from; b < mine.to; b++) {
            to_input(e, layers[0], images + rows[b] * size, b);
            for (int i = 0; i < e->n_convs; i++) conv_image(e, thread, i, images + rows[b] * size, b, train);
        }
    for (int i = 0; waits && i < e->n_convs; i++) {
        const Layer &l = layers[i];
        for (long b = mine.from; b < mine.to; b++) {
            if (i == 0) to_input(e, l, images + rows[b] * size, b);
            conv_image(e, thread, i, images + rows[b] * size, b, train);
        }
        if (!l.normalised) continue;
        barrier(e);
        Range vectors = {0, l.units_p / VL};
        prepare_scale(e, l, thread, n * l.cells, vectors);
        barrier(e);
        clear_statistics(l, thread);
        if (thread == 0 && n * l.cells > 1) move_averages(l, thread, vectors);
        for (long b = mine.from; b < mine.to; b++) conv_normalise(e, thread, i, b);
    }
    for (int i = e->n_convs; i < e->n_layers; i++) {
        const Layer &l = layers[i];
        if (i > e->n_convs) gather_dense(e, i, mine, train);
        list_inputs(l, mine);
        barrier(e);
        forward_dense(e, l, thread, n);
        if (train) list_images(l, e->batch, n, share(l.input_blocks, thread, e->threads));
        barrier(e);
        if (!l.normalised) continue;
        dense_normalise(e, l, thread, n, train);
        barrier(e);
    }
}

// The gradients of the convolutions' weights, from the last to the first.
static void backward_convs(Engine *e, int thread, int n, Range mine) {
    for (int i = e->n_convs - 1; i >= 0; i--) {
        const Layer &l = e->layers[i];
        long size = l.cells * l.units_p;
        if (l.normalised) {
            float *sums = l.statistics + 2 * thread * l.units_p;
            for (long b = mine.from; b < mine.to; b++)
                for (long u = 0; u < l.units_p; u += VL)
                    add_products(l.g + b * size + u, l.raw + b * size + u, l.cells, l.units_p,
                                 load(l.mean + thread * l.units_p + u), load(l.inverse + thread * l.units_p + u), sums + u,
                                 sums + l.units_p + u);
            barrier(e);
        }
        for (long b = mine.from; b < mine.to; b++) {
            for (long u = 0; l.normalised && u < l.units_p; u += VL)
                norm_backward(e, l, thread, n * l.cells, l.g + b * size + u, l.raw + b * size + u, l.cells, l.units_p, u);
            conv_backward(l, thread, b, i > 0);
            if (i) pass_back_conv(l, e->layers[i - 1], thread, b);
        }
    }
}

static void train_step(Engine *e, int thread, const uint8_t *images, const int64_t *labels, const int64_t *rows, int n,
                       double learning_rate) {
    double t = e->steps + 1;
    Rates r = {(float)(learning_rate / (1 - pow(e->hyper.beta1, t))), (float)(1 / sqrt(1 - pow(e->hyper.beta2, t))),
               (float)(1 - learning_rate * e->hyper.weight_decay)};
    Range mine = share(n, thread, e->threads);
    forward(e, thread, images, rows, n, true);
    softmax_loss(e, thread, labels, rows, n, mine);
    barrier(e);
    for (int i = e->n_layers - 1; i >= e->n_convs; i--) {
        const Layer &l = e->layers[i];
        if (l.normalised) {
            dense_norm_backward(e, l, thread, n);
            barrier(e);
            norm_step(e, l, thread, r);
        }
        backward_dense(e, l, thread, n, i > 0, r);
        barrier(e);
        if (l.normalised) clear_statistics(l, thread);
        if (i) pass_back(e, i, mine);
        if (i > e->n_convs) barrier(e);
    }
    backward_convs(e, thread, n, mine);
    if (e->n_convs) barrier(e);
    for (int i = 0; i < e->n_convs; i++) conv_step(e, e->layers[i], thread, r);
    if (thread == 0) e->steps++;
    barrier(e);
    for (int i = 0; i < e->n_convs; i++)
        if (e->layers[i].normalised) clear_statistics(e->layers[i], thread);
}

// ------------------------------------------------------------------------------------------------- what Python calls

// Numbers too small for float32's full precision are taken for zero: they cost a hundred times a normal one.
struct FlushTiny {
#if defined(__SSE__)
    unsigned before = _mm_getcsr();
    FlushTiny() { _mm_setcsr(before | 0x8040); }
    ~FlushTiny() { _mm_setcsr(before); }
#endif
};

template <class T> static T *allocate(Engine *e, long n) {
    long bytes = round_up(n * (long)sizeof(T) + 1024, 64);  // some kernels read, never use, a little past the end
    void *p = aligned_alloc(64, bytes);
    if (!p) return nullptr;
    memset(p, 0, bytes);
    e->blocks = (void **)realloc(e->blocks, (e->n_blocks + 1) * sizeof(void *));
    e->blocks[e->n_blocks++] = p;
    return (T *)p;
}

static Params params(Engine *e, long n) {
    return {allocate<float>(e, n), e->trains ? allocate<float>(e, n) : nullptr, e->trains ? allocate<float>(e, n) : nullptr};
}

static void set_up_norm(Engine *e, Layer &l, long outputs) {
    long units = norm_units(l), copies = e->trains ? e->threads : 1;
    l.gammas = params(e, units);
    l.moving_mean = allocate<float>(e, units);
    l.moving_variance = allocate<float>(e, units);
    l.scale = allocate<float>(e, copies * units);
    l.shift = allocate<float>(e, copies * units);
    if (!e->trains) return;
    l.raw = allocate<float>(e, e->batch * outputs);
    l.statistics = allocate<float>(e, copies * 2 * units);
    l.mean = allocate<float>(e, copies * units);
    l.inverse = allocate<float>(e, copies * units);
}

static void set_up_dense(Engine *e, Layer &l) {
    long batch = e->batch, batch_p = e->batch_p, threads = e->threads;
    l.vectors = l.units > 2 * VL * threads ? 4 : l.units > VL * threads ? 2 : 1;
    l.width = l.vectors * VL;
    l.blocks = (l.units + l.width - 1) / l.width;
    l.input_blocks = (l.in_c + INPUT_BLOCK - 1) / INPUT_BLOCK;
    l.parts = by_blocks(l, e->threads) ? e->threads : 1;
    l.weights = params(e, (long)l.blocks * l.in_c * l.width);
    l.biases = params(e, (long)l.blocks * l.width);
    l.x = allocate<float>(e, batch * l.in_c);
    l.out = allocate<float>(e, l.blocks * batch * l.width);
    l.at = allocate<int32_t>(e, batch * (l.in_c + VL));
    l.at_value = allocate<float>(e, batch * (l.in_c + VL));
    l.starts = allocate<int32_t>(e, batch * (l.input_blocks + 1));
    l.zeros = allocate<float>(e, (long)l.blocks * l.width);
    if (l.normalised) set_up_norm(e, l, (long)l.blocks * l.width);
    if (!e->trains) return;
    l.gout = allocate<float>(e, l.blocks * batch * l.width);
    l.gx = allocate<float>(e, l.parts * l.in_c * batch_p);
    l.scratch = allocate<float>(e, threads * 4 * VL * batch_p);
    l.images = allocate<uint16_t>(e, l.in_c * batch + 1);
    l.image_value = allocate<float>(e, l.in_c * batch + 1);
    l.image_count = allocate<int32_t>(e, l.in_c);
}

static void set_up_conv(Engine *e, int i) {
    Layer &l = e->layers[i];
    long batch = e->batch, threads = e->threads;
    l.c = i ? e->layers[i - 1].units_p : l.in_c;
    l.units_p = round_up(l.units, VL);
    l.row_length = round_up(l.kernel_w * l.c, VL);
    l.patch = l.kernel_h * l.row_length;
    l.elements = l.kernel_h * round_up(l.kernel_w * l.c, 2);
    l.row_stride = (l.out_w + l.kernel_w) * l.c;
    l.in_size = round_up((l.out_h + l.kernel_h) * l.row_stride, VL);
    l.pooled_h = l.out_h / l.pool;
    l.pooled_w = l.out_w / l.pool;
    l.cells = l.pooled_h * l.pooled_w;
    l.weights = params(e, l.units_p * l.patch);
    l.biases = params(e, l.units_p);
    l.in = allocate<float>(e, batch * l.in_size);
    if (e->mixed) {
        l.in_half = allocate<Half>(e, batch * l.in_size);
        l.forward_half = allocate<Half>(e, l.units_p * l.elements);
    } else {
        l.forward = allocate<float>(e, l.units_p * l.elements);
    }
    long places = e->trains && batch > threads ? batch : threads;
    l.chosen = allocate<uint8_t>(e, places * l.cells * l.units_p);
    l.flat = allocate<float>(e, threads * l.cells * l.units_p);
    l.active = allocate<int32_t>(e, places * l.cells);
    l.n_active = allocate<int32_t>(e, places);
    l.background = allocate<float>(e, l.cells * l.units_p);
    l.ones = allocate<float>(e, l.units_p);
    l.zeros = allocate<float>(e, l.units_p);
    for (long u = 0; u < l.units_p; u++) l.ones[u] = 1;
    if (l.normalised) set_up_norm(e, l, l.cells * l.units_p);
    l.every_cell = allocate<int32_t>(e, l.cells);
    l.corners = allocate<int32_t>(e, l.cells);
    for (long cell = 0; cell < l.cells; cell++) {
        l.every_cell[cell] = cell;
        l.corners[cell] = cell / l.pooled_w * l.pool * l.row_stride + cell % l.pooled_w * l.pool * l.c;
    }
    if (!e->trains) return;
    l.offsets = allocate<long>(e, l.patch / VL);
    for (long i = 0; i < l.patch / VL; i++)
        l.offsets[i] = i * VL / l.row_length * l.row_stride + i * VL % l.row_length;
    l.g = allocate<float>(e, batch * l.cells * l.units_p);
    l.gw = allocate<float>(e, threads * l.units_p * l.patch);
    l.gb = allocate<float>(e, threads * l.units_p);
    l.gin = allocate<float>(e, threads * (l.in_size + 256));
    l.patches = allocate<int32_t>(e, threads * (l.cells + VL));
    l.patch_g = allocate<float>(e, threads * (l.cells + VL));
}

// Where a convolution's pooled cells go: into the next one's padded input, or one after the other.
static void set_up_outputs(Engine *e, int i) {
    Layer &l = e->layers[i];
    l.out_at = allocate<int64_t>(e, l.cells);
    l.raw_at = allocate<int64_t>(e, l.cells);
    for (long cell = 0; cell < l.cells; cell++) {
        l.raw_at[cell] = cell * l.units_p;
        if (i + 1 == e->n_convs) {
            l.out_at[cell] = cell * l.units_p;
        } else {
            const Layer &next = e->layers[i + 1];
            l.out_at[cell] = (cell / l.pooled_w + next.top) * next.row_stride + (cell % l.pooled_w + next.left) * next.c;
        }
    }
}

extern "C" {

int engine_has_bf16() { return HAS_BF16; }

// The first of library.py's builds that this processor can run.
int engine_first_build() {
#if defined(__x86_64__) || defined(__i386__)
    bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (v4) return __builtin_cpu_supports("avx512bf16") ? 0 : 1;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 2;
#endif
    return 3;
}

void engine_free(Engine *e) {
    for (int i = 0; i < e->n_blocks; i++) free(e->blocks[i]);
    free(e->blocks);
    delete[] e->layers;
    delete e;
}

// An engine with weights of zero. `trains` is 0 for one that only predicts.
Engine *engine_new(const Spec *specs, int n_layers, int batch, int threads, int trains, int mixed, Hyper hyper,
                   uint32_t seed) {
    Engine *e = new Engine();
    e->n_layers = n_layers, e->batch = batch, e->batch_p = round_up(batch, VL), e->threads = threads;
    e->trains = trains, e->mixed = mixed && HAS_BF16, e->hyper = hyper, e->seed = seed;
    e->layers = new Layer[n_layers]();
    for (int i = 0; i < n_layers; i++) {
        static_cast<Spec &>(e->layers[i]) = specs[i];
        e->n_convs += specs[i].kind == CONV;
        specs[i].kind == CONV ? set_up_conv(e, i) : set_up_dense(e, e->layers[i]);
    }
    for (int i = 0; i < e->n_convs; i++) set_up_outputs(e, i);
    return e;
}

// Copies between torch's layouts and the engine's: dense (units, inputs), conv (units, channels, height, width).
// which: 0 the weights, 1 and 2 Adam's moments.
void engine_copy(Engine *e, int layer, int which, float *w, float *b, int to_engine) {
    Layer &l = e->layers[layer];
    float *own = which == 0 ? l.weights.w : which == 1 ? l.weights.m : l.weights.v;
    float *own_b = which == 0 ? l.biases.w : which == 1 ? l.biases.m : l.biases.v;
    auto copy = [&](float *mine, float *theirs) { to_engine ? *mine = *theirs : *theirs = *mine; };
    for (long u = 0; u < l.units; u++) {
        if (b) copy(own_b + u, b + u);
        if (l.kind == DENSE) {
            float *block = own + u / l.width * l.in_c * l.width + u % l.width;
            for (long k = 0; k < l.in_c; k++) copy(block + k * l.width, w + u * l.in_c + k);
        } else {
            for (long c = 0; c < l.in_c; c++)
                for (long y = 0; y < l.kernel_h; y++)
                    for (long x = 0; x < l.kernel_w; x++)
                        copy(own + u * l.patch + y * l.row_length + x * l.c + c,
                             w + ((u * l.in_c + c) * l.kernel_h + y) * l.kernel_w + x);
        }
    }
    if (l.kind == CONV && to_engine && which == 0) forward_layout(l, {0, l.units}, e->mixed);
}

// A layer's normalisation: gamma and beta, or their moments (`which` as above); and the moving averages, if asked for.
void engine_copy_norm(Engine *e, int layer, int which, float *gamma, float *beta, float *mean, float *variance,
                      int to_engine) {
    Layer &l = e->layers[layer];
    auto copy = [&](float *mine, float *theirs) { to_engine ? *mine = *theirs : *theirs = *mine; };
    auto part = [&](const Params &p) { return which == 0 ? p.w : which == 1 ? p.m : p.v; };
    for (long u = 0; u < l.units; u++) {
        copy(part(l.gammas) + u, gamma + u);
        copy(part(l.biases) + u, beta + u);
        if (!mean) continue;
        copy(l.moving_mean + u, mean + u);
        copy(l.moving_variance + u, variance + u);
    }
}

// Train on images[rows[0]], images[rows[1]], ..., a batch a step. losses[step] is the mean over the step's images;
// correct[0] counts the images that were classified rightly as they were met.
//
// `engine_seek` comes first: it says how many steps were taken before, on which Adam's bias correction and dropout depend.
void engine_seek(Engine *e, int64_t steps) { e->steps = steps; }

void engine_train(Engine *e, int thread, const uint8_t *images, const int64_t *labels, const int64_t *rows, int64_t n,
                  const double *learning_rates, double *losses, int64_t *correct) {
    FlushTiny flush;
    e->correct[thread] = 0;
    for (int64_t done = 0, step = 0; done < n; done += e->batch, step++) {
        int size = n - done < e->batch ? n - done : e->batch;
        train_step(e, thread, images, labels, rows + done, size, learning_rates[step]);
        if (thread) continue;
        double sum = 0;  // the others add to theirs again only after the next step's barriers
        for (int t = 0; t < e->threads; t++) sum += e->loss[t];
        losses[step] = sum / size;
    }
    if (thread) return;
    for (int t = 0; t < e->threads; t++) *correct += e->correct[t];
}

// logits (n, classes) of images[rows[0]], ...
void engine_predict(Engine *e, int thread, const uint8_t *images, const int64_t *rows, int64_t n, float *logits) {
    FlushTiny flush;
    const Layer &l = e->layers[e->n_layers - 1];
    for (int i = 0; thread == 0 && i < e->n_layers; i++)
        if (e->layers[i].normalised) fixed_scale(e->layers[i]);
    if (thread == 0) find_background(e);
    barrier(e);
    for (int64_t done = 0; done < n; done += e->batch) {
        int size = n - done < e->batch ? n - done : e->batch;
        forward(e, thread, images, rows + done, size, false);
        Range mine = share(size, thread, e->threads);
        for (long b = mine.from; b < mine.to; b++)
            for (int k = 0; k < l.units; k++)
                logits[(done + b) * l.units + k] = l.out[(k / l.width * e->batch + b) * l.width + k % l.width];
        barrier(e);
    }
}
}
