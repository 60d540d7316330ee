// Mixtures of discretized logistics (`losses.mixture`): the scores of the levels of a pixel's colors.
#pragma once

#include <algorithm>

#include "kernels.h"

namespace triptych {

// The mixture of logistics at one pixel (`losses.mixture`): its colors, one after the other.
class Mixture {
   public:
    // `between`: the edges between the bins of the levels.
    Mixture(int64_t colors, int64_t levels, int64_t components, const float* between)
        : colors(colors), levels(levels), count(components), edges(zeros(levels + LANES)), below(edges), above(edges),
          nats(zeros(count)), masses(count, edges) {
        std::copy_n(between, levels - 1, edges.data());
    }

    // The parameters at a pixel: they are to stay until the next ones come.
    void begin(const float* parameters) {
        of = parameters;
        std::copy_n(of, count, nats.data());
    }

    // The score of every level of a color, given the pixel's colors before it. There is room for LANES more.
    void score(int64_t color, const float* pixel, std::vector<float>& scores) {
        const float *loc = of + (1 + color) * count, *log_scale = of + (1 + colors + color) * count;
        const float* move = of + (1 + 2 * colors + color * (color - 1) / 2) * count;
        for (int64_t c = 0; c < count; ++c) {
            float at = loc[c];
            for (int64_t k = 0; k < color; ++k) at += std::tanh(move[k * count + c]) * pixel[k];
            mass(at, std::exp(-std::max(log_scale[c], -7.0f)), masses[c].data());
        }
        for (int64_t b = 0; b < levels; b += LANES) {
            Vector top = load(&masses[0][b]) + nats[0], sum{};
            for (int64_t c = 1; c < count; ++c) {
                const Vector one = load(&masses[c][b]) + nats[c];
                top = one > top ? one : top;
            }
            for (int64_t c = 0; c < count; ++c)
                sum += exponential(clamp(load(&masses[c][b]) + nats[c] - top, -87.0f, 0.0f));
            store(&scores[b], top + logarithm(sum));
        }
    }

    // Which component a color comes from is likelier then.
    void know(int64_t level) {
        for (int64_t c = 0; c < count; ++c) nats[c] += masses[c][level];
    }

   private:
    // log P of every level under a logistic: a level's bin lies between two edges a < b, and
    // sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)).
    void mass(float loc, float precision, float* out) {
        const int64_t last = levels - 1;
        for (int64_t b = 0; b < last; b += LANES) {
            const Vector z = (load(&edges[b]) - loc) * precision, size = z > 0.0f ? z : -z;
            const Vector more = logarithm(1.0f + exponential(clamp(-size, -87.0f, 0.0f)));
            store(&below[b], (z < 0.0f ? z : splat(0.0f)) - more);
            store(&above[b], (z > 0.0f ? -z : splat(0.0f)) - more);
        }
        const float inside = std::log(-std::expm1(-2.0f / last * precision));
        for (int64_t b = 1; b < last; b += LANES) store(out + b, load(&below[b]) + load(&above[b - 1]) + inside);
        out[0] = below[0], out[last] = above[last - 1];
    }

    int64_t colors, levels, count;
    std::vector<float> edges, below, above, nats;
    std::vector<std::vector<float>> masses;
    const float* of = nullptr;
};

}  // namespace triptych
