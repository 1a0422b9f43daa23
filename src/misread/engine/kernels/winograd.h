// Convolutions of 3x3 with strides of 1 that keep the image's size, and their gradients, by Winograd's algorithm: Lavin
// and Gray 2016 (arXiv 1509.09308).
//
// An image is cut into tiles of TILE x TILE outputs, each of which sees two more rows and columns of inputs. A tile's
// inputs and the weights are transformed to as many numbers as the tile sees, the points. At each point a product of two
// matrices sums over the channels, and these sums are transformed to the outputs. So an output of a tile of 4x4 takes
// 36/16 products instead of 9. The rounding error grows with the tile: for 4x4 it is several times that of plain sums.
//
// The gradient of the inputs is such a convolution too, with turned weights. That of the weights is the adjoint: at each
// point the transformed inputs times the outputs' gradient, brought to the points by the adjoint of the outputs'
// transform, are summed over the tiles, and brought back by the adjoint of the weights' transform.
//
// Images are channels-last, (batch, height, width, channels).
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "abi.h"
#include "full.h"
#include "simd.h"
#include "threads.h"
#include "winograd_transforms.h"

const int PANEL = 2 * VL;        // channels that are stored together
const int GROUP = 6;             // rows whose sums with a panel stay in registers
const int64_t LEAST_TILES = 36;  // transformed at a time: as many stay in the second-level cache

// Numbers at the points: (points, panels, rows, PANEL). A row is a tile, or a channel of the other side.
struct Points {
    int64_t points, panels, rows;
    float *at;

    // The line at the end keeps points a power of two apart out of the same lines of the cache.
    int64_t point() const { return panels * rows * PANEL + 64 / sizeof(float); }
    int64_t floats() const { return points * point(); }
    float *row(int64_t point, int64_t panel, int64_t row) const {
        return at + point * this->point() + (panel * rows + row) * PANEL;
    }
};

template <int TILE> struct Winograd {
    static constexpr int SEEN = TILE + 2, POINTS = SEEN * SEEN;
    using Line = Lines<TILE>;
    Convolution shape;
    int64_t tiles_h, tiles_w, tiles;
    int64_t block;                       // tiles at a time
    int64_t weight_floats, part_floats;  // of scratch memory: for all, and for each part
    float *scratch;

    Winograd(const Convolution &shape, float *scratch) : shape(shape), scratch(scratch) {
        tiles_h = (shape.height + TILE - 1) / TILE, tiles_w = (shape.width + TILE - 1) / TILE;
        tiles = shape.batch * tiles_h * tiles_w;
        // the sums of a weights' gradient are read and written for every block: they should not be the larger part of it
        int64_t even = shape.channels * shape.filters / (shape.channels + shape.filters);
        block = round_up(even > LEAST_TILES ? even : LEAST_TILES, GROUP);
        weight_floats = weights().floats();
        part_floats = points(shape.channels).floats() + points(shape.filters).floats() + zeros_floats() + weight_floats;
    }

    // Products of a pair of channels, for the whole batch.
    int64_t products() const { return tiles * POINTS; }

    int64_t floats() const { return weight_floats + shape.parts * part_floats; }

    // x -> y (.., filters). w (filters, channels, 3, 3), or turned
    void convolve(const float *x, const float *w, float *y, Parallel *parallel) const {
        transform_weights(w);
        for_parts(parallel, shape.parts, [=, this](int64_t part) {
            Points in = inputs(part), out = outputs(part);
            for_blocks(part, [&](int64_t first, int64_t n) {
                transform_tiles<Line::to_points, SEEN>(x, shape.channels, first, n, in, zeros(part));
                multiply(in, n, out);
                transform_back(out, first, n, y);
            });
        });
    }

    // The gradient by w (filters, channels, 3, 3), from that by y.
    void gradient(const float *x, const float *gy, float *gw, Parallel *parallel) const {
        for_parts(parallel, shape.parts, [=, this](int64_t part) {
            Points in = inputs(part), out = outputs(part), sums = gradients(part);
            memset(sums.at, 0, sums.floats() * sizeof(float));
            for_blocks(part, [&](int64_t first, int64_t n) {
                transform_tiles<Line::to_points, SEEN>(x, shape.channels, first, n, in, zeros(part));
                transform_tiles<Line::adjoint_from_points, TILE>(gy, shape.filters, first, n, out, zeros(part));
                add_gradients(in, out, n, sums);
            });
        });
        finish_gradient(gw);
    }

  private:
    static int64_t panels(int64_t channels) { return (channels + PANEL - 1) / PANEL; }
    Points points(int64_t channels) const { return {POINTS, panels(channels), block, nullptr}; }
    Points weights() const { return {POINTS, panels(shape.filters), shape.channels, scratch}; }
    // A line of a run of tiles
    int64_t zeros_floats() const { return (RUN * TILE + 2) * round_up(std::max(shape.channels, shape.filters), PANEL); }

    // Each part's own memory
    Points inputs(int64_t part) const {
        Points p = points(shape.channels);
        p.at = scratch + weight_floats + part * part_floats;
        return p;
    }
    Points outputs(int64_t part) const {
        Points p = points(shape.filters);
        p.at = inputs(part).at + inputs(part).floats();
        return p;
    }
    Points gradients(int64_t part) const {
        return {POINTS, panels(shape.filters), shape.channels, outputs(part).at + outputs(part).floats()};
    }
    float *zeros(int64_t part) const {
        float *at = gradients(part).at + weight_floats;
        memset(at, 0, zeros_floats() * sizeof(float));
        return at;
    }

    template <class Work> void for_blocks(int64_t part, Work work) const {
        Range mine = share(tiles, part, shape.parts);
        for (int64_t first = mine.from; first < mine.to; first += block)
            work(first, mine.to - first < block ? mine.to - first : block);
    }

    void transform_weights(const float *w) const {
        const bool turned = shape.turned;
        Points to = weights();
        const int64_t point = to.point(), step = turned ? 9 : 9 * shape.channels;  // from filter to filter
        for (int64_t k = 0; k < shape.filters; k += VL)
            for (int64_t c = 0; c < shape.channels; c++) {
                const float *from = w + 9 * (turned ? c * shape.filters + k : k * shape.channels + c);
                float *at = to.row(0, k / PANEL, c) + k % PANEL;
                const int64_t last = shape.filters - 1 - k;
                transform<Line::weights_to_points, 3, SEEN>(
                    [=](int i, int j) {
                        const float *weight = from + (turned ? 8 - (i * 3 + j) : i * 3 + j);
                        V x = {};
                        UNROLL(lane, VL) x[lane] = weight[(lane < last ? lane : last) * step];
                        return x;
                    },
                    [=](int i, int j, V x) { store(at + (i * SEEN + j) * point, x); });
            }
    }

    // What n tiles from `first` on see of the images, IN x IN, with zeros around an image: rows 0 to n of `to`. Meanwhile
    // what the tiles below them see is asked for: memory is slower than the transform.
    template <auto LINE, int IN>
    void transform_tiles(const float *images, int64_t channels, int64_t first, int64_t n, const Points &to,
                         const float *zeros) const {
        const int64_t point = to.point(), below = TILE * shape.width * channels;
        for (int64_t row = 0, run; row < n; row += run) {
            const int64_t image = (first + row) / (tiles_h * tiles_w), tile = (first + row) % (tiles_h * tiles_w);
            const int64_t top = tile / tiles_w * TILE - (IN - TILE) / 2, left = tile % tiles_w * TILE - (IN - TILE) / 2;
            run = std::min({RUN, n - row, tiles_w - tile % tiles_w});
            const int64_t begin = std::max<int64_t>(-left, 0), end = shape.width - left;  // columns inside the image
            const float *lines[IN];                                                       // from `begin` on
            for (int i = 0; i < IN; i++) {
                const int64_t y = top + i;
                bool inside = y >= 0 && y < shape.height;
                lines[i] = inside ? images + ((image * shape.height + y) * shape.width + left + begin) * channels : zeros;
            }
            for (int64_t c = 0; c < channels; c += VL) {
                float *to_row = to.row(0, c / PANEL, row) + c % PANEL;
                auto run_by = [&](auto load_at) {
                    transform_run<LINE, IN, SEEN, TILE>(
                        run,
                        [&](int i, int64_t column) {
                            if (column < begin || column >= end) return V{};
                            const float *at = lines[i] + (column - begin) * channels + c;
                            if (c % PANEL == 0 && i >= IN - TILE) __builtin_prefetch(at + below);
                            return load_at(at);
                        },
                        [=](int64_t t, int i, int j, V x) { store(to_row + t * PANEL + (i * SEEN + j) * point, x); });
                };
                if (c + VL <= channels) run_by([](const float *at) { return load(at); });
                else run_by([=](const float *at) { return load_first(at, channels - c); });
            }
        }
    }

    // The sums over the channels, for rows 0 to n.
    void multiply(const Points &in, int64_t n, const Points &out) const {
        for (int64_t point = 0; point < POINTS; point++)
            for (int64_t panel = 0; panel < out.panels; panel++)
                for (int64_t row = 0; row < n; row += GROUP)
                    multiply_rows<GROUP>(in, out, point, panel, row, n - row);
    }

    // Of n rows, at most N.
    template <int N>
    void multiply_rows(const Points &in, const Points &out, int64_t point, int64_t panel, int64_t row, int64_t n) const {
        if (n < N) {
            if constexpr (N > 1) multiply_rows<N - 1>(in, out, point, panel, row, n);
            return;
        }
        alignas(4 * VL) V sums[N][2];
        UNROLL(i, N) sums[i][0] = sums[i][1] = V{};
        for (int64_t part = 0; part < in.panels; part++) {
            const float *x = in.row(point, part, row), *rows[N];
            UNROLL(i, N) rows[i] = x + i * PANEL;
            int64_t left = shape.channels - part * PANEL;
            add_products(sums, rows, 1, weights().row(point, panel, part * PANEL), left < PANEL ? left : PANEL);
        }
        UNROLL(i, N)
            UNROLL(j, 2) store(out.row(point, panel, row + i) + j * VL, sums[i][j]);
    }

    // Meanwhile the outputs of the tiles below are asked for.
    void transform_back(const Points &from, int64_t first, int64_t n, float *images) const {
        const int64_t point = from.point(), filters = shape.filters;
        for (int64_t row = 0; row < n; row++) {
            const int64_t image = (first + row) / (tiles_h * tiles_w), tile = (first + row) % (tiles_h * tiles_w);
            const int64_t top = tile / tiles_w * TILE, left = tile % tiles_w * TILE;
            const int64_t rows = shape.height - top, columns = shape.width - left, next = shape.width * filters;
            float *to = images + ((image * shape.height + top) * shape.width + left) * filters;
            for (int64_t k = 0; k < filters; k += VL) {
                const float *at = from.row(0, k / PANEL, row) + k % PANEL;
                const int64_t these = filters - k;
                auto put = [=](int i, int j, V y) {
                    float *to_pixel = to + i * next + j * filters + k;
                    if (k % PANEL == 0) __builtin_prefetch(to_pixel + TILE * next, 1);
                    if (i >= rows || j >= columns) return;
                    if (these >= VL) store(to_pixel, y);
                    else store_first(to_pixel, y, these);
                };
                transform<Line::from_points, SEEN, TILE>([=](int i, int j) { return load(at + (i * SEEN + j) * point); }, put);
            }
        }
    }

    // Add the products of rows 0 to n, summed over the rows.
    void add_gradients(const Points &in, const Points &out, int64_t n, const Points &sums) const {
        for (int64_t point = 0; point < POINTS; point++)
            for (int64_t part = 0; part < in.panels; part++) {
                int64_t left = shape.channels - part * PANEL, these = left < PANEL ? left : PANEL;
                for (int64_t panel = 0; panel < out.panels; panel++)
                    for (int64_t c = 0; c < these; c += GROUP)
                        add_channels<GROUP>(in.row(point, part, 0) + c, out.row(point, panel, 0), n,
                                            sums.row(point, panel, part * PANEL + c), these - c);
            }
    }

    // Of some channels, at most N.
    template <int N>
    static void add_channels(const float *x, const float *g, int64_t n, float *to, int64_t channels) {
        if (channels < N) {
            if constexpr (N > 1) add_channels<N - 1>(x, g, n, to, channels);
            return;
        }
        alignas(4 * VL) V sums[N][2];
        const float *columns[N];
        UNROLL(i, N) columns[i] = x + i;
        UNROLL(i, N)
            UNROLL(j, 2) sums[i][j] = load(to + i * PANEL + j * VL);
        add_products(sums, columns, PANEL, g, n);
        UNROLL(i, N)
            UNROLL(j, 2) store(to + i * PANEL + j * VL, sums[i][j]);
    }

    // Add up the parts in their order and bring them back from the points.
    void finish_gradient(float *gw) const {
        const int64_t point = weights().point();
        for (int64_t k = 0; k < shape.filters; k += VL)
            for (int64_t c = 0; c < shape.channels; c++) {
                const float *at = gradients(0).row(0, k / PANEL, c) + k % PANEL;
                const int64_t these = std::min<int64_t>(shape.filters - k, VL);
                transform<Line::adjoint_weights_to_points, SEEN, 3>(
                    [=, this](int i, int j) {
                        V sum = load(at + (i * SEEN + j) * point);
                        for (int64_t part = 1; part < shape.parts; part++)
                            sum += load(at + part * part_floats + (i * SEEN + j) * point);
                        return sum;
                    },
                    [=, this](int i, int j, V x) {
                        for (int64_t lane = 0; lane < these; lane++)
                            gw[((k + lane) * shape.channels + c) * 9 + i * 3 + j] = x[lane];
                    });
            }
    }
};

// work(winograd) with the tiles that take the fewest products.
template <class Work> void with_best_tiles(const Convolution &shape, float *scratch, Work work) {
    Winograd<2> small(shape, scratch);
    Winograd<3> middle(shape, scratch);
    Winograd<4> large(shape, scratch);
    if (large.products() <= middle.products() && large.products() <= small.products()) work(large);
    else if (middle.products() <= small.products()) work(middle);
    else work(small);
}
