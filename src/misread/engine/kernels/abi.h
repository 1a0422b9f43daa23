// What Python passes in. `library.py` mirrors these structures field by field.
#pragma once
#include <cstdint>

// Raise it with every change to a structure here or to a function in kernels.cpp, and in library.py.
constexpr int32_t ABI = 4;

constexpr int64_t MAX_THREADS = 64;
constexpr int64_t MAX_BATCH = 65535;  // images are numbered in 16 bits, see Columns
constexpr int64_t MAX_LAYERS = 64;    // see Dropout::apply

enum Kind : int32_t { CONV = 0, DENSE = 1 };
enum Which : int32_t { WEIGHTS = 0, FIRST_MOMENTS = 1, SECOND_MOMENTS = 2 };

// One layer. A dense layer has in_h = in_w = 1, in_c inputs, and pool = 1.
struct Spec {
    int32_t kind, relu;
    int32_t in_h, in_w, in_c;
    int32_t kernel_h, kernel_w, top, left;  // top, left: rows and columns of padding
    int32_t out_h, out_w, units;            // before pooling
    int32_t pool;                           // 1 or 2: windows of pool x pool
    int32_t normalised;                     // batch normalisation between pooling and ReLU, with its shift as the bias
    float momentum, epsilon;                // of the normalisation
    float dropout;                          // of the outputs
};
static_assert(sizeof(Spec) == 17 * 4, "LayerSpec in library.py has 17 fields of 4 bytes");

// Of Adam and the loss.
struct Hyper {
    float beta1, beta2, epsilon, weight_decay, label_smoothing;
};
static_assert(sizeof(Hyper) == 5 * 4, "Hyper in library.py has 5 fields of 4 bytes");

// A 3x3 convolution of images (batch, height, width, channels) with strides of 1 that keeps their size.
struct Convolution {
    int64_t batch, height, width, channels, filters;
    int64_t parts;  // of the work, one for each thread; sums over the images depend on their number
    int64_t turned;  // 1: the weights are those of the convolution whose inputs' gradient this is, (channels, filters, 3, 3)
};
static_assert(sizeof(Convolution) == 7 * 8, "Convolution in library.py has 7 fields of 8 bytes");

// Images (batch, height, width, channels) of a layer by itself.
struct Images {
    int64_t batch, height, width, channels;
    int64_t parts;  // as in a Convolution
};
static_assert(sizeof(Images) == 5 * 8, "Images in library.py has 5 fields of 8 bytes");
