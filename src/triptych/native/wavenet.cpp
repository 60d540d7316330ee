// WaveNet (`models.autoregressive.wavenet`), sample by sample: each layer remembers as many of its inputs as its
// dilation is long.
#include <algorithm>

#include "call.h"

namespace triptych {

namespace {

struct Layer {
    int64_t dilation;
    Matrix conv;        // of the input then and now
    const float* bias;  // [n, 2 * width]
    Matrix residual;    // none in the last layer
};

struct Net {
    int64_t n, length, width, skips, scores, levels;
    std::vector<Layer> layers;
    const float *u, *first, *skip_bias, *head_bias, *out_bias;
    Matrix skip, head, out;
    int64_t* level;
    Choice choice;
};

void draw(const Net& net, int64_t first, int64_t last, const std::function<bool()>& stopped) {
    const int64_t n = last - first, width = net.width, twice = 2 * width, depth = net.layers.size();
    std::vector<std::vector<float>> rings;
    for (const Layer& layer : net.layers) rings.push_back(zeros(layer.dilation * n * width));
    // Of each layer its input `dilation` samples ago, and now
    std::vector<float> inputs = zeros(depth * n * twice), z = zeros(n * twice), passed = zeros(n * depth * width);
    std::vector<float> sum = zeros(n * net.skips), hidden = sum, scores = zeros(n * net.scores), room;
    auto relu = [](std::vector<float>& x) {
        each(x.size(), x.data(), x.data(), x.data(), [](Vector a, Vector) { return a > 0.0f ? a : splat(0.0f); });
    };
    for (int64_t t = 0; t < net.length && !stopped(); ++t) {
        for (int64_t m = 0; m < n; ++m) {  // the first convolution, of one-hot samples; nothing lies before sound
            const int64_t* level = net.level + (first + m) * net.length + t;
            for (int64_t k = 0; k < width; ++k)
                inputs[m * twice + width + k] = (t > 0 ? net.first[level[-1] * twice + k] : 0.0f) +
                                                (t > 1 ? net.first[level[-2] * twice + width + k] : 0.0f);
        }
        for (int64_t i = 0; i < depth; ++i) {
            const Layer& layer = net.layers[i];
            float *input = &inputs[i * n * twice], *ring = &rings[i][t % layer.dilation * n * width];
            for (int64_t m = 0; m < n; ++m) {
                std::copy_n(ring + m * width, width, input + m * twice);
                std::copy_n(input + m * twice + width, width, ring + m * width);
            }
            layer.conv.product(n, input, twice, z.data(), twice, layer.bias + first * twice, twice);
            float* part = &passed[i * width];
            for (int64_t m = 0; m < n; ++m)
                each(width, part + m * depth * width, &z[m * twice], &z[m * twice + width], gated);
            if (i + 1 < depth)
                layer.residual.product(n, part, depth * width, input + n * twice + width, twice, input + width, twice);
        }
        net.skip.product(n, passed.data(), depth * width, sum.data(), net.skips, net.skip_bias, 0);
        relu(sum);
        net.head.product(n, sum.data(), net.skips, hidden.data(), net.skips, net.head_bias, 0);
        relu(hidden);
        net.out.product(n, hidden.data(), net.skips, scores.data(), net.scores, net.out_bias, 0);
        for (int64_t m = 0; m < n; ++m) {
            const int64_t at = (first + m) * net.length + t;
            if (net.level[at] < 0)
                net.level[at] = net.choice.pick(&scores[m * net.scores], net.scores, net.u[at], room);
        }
    }
}

}  // namespace

bool play_wavenet(Call& call) {
    Net net;
    for (int64_t* number : {&net.n, &net.length, &net.width, &net.skips, &net.scores, &net.levels})
        *number = call.number();
    const int64_t depth = call.number(), width = net.width, twice = 2 * width, skips = net.skips;
    net.u = call.floats(net.n * net.length);
    net.first = call.floats(net.levels * twice);
    for (int64_t i = 0; i < depth; ++i) {
        Layer layer;
        layer.dilation = call.number();
        layer.conv = Matrix(call.floats(twice * twice), twice, twice, twice);
        layer.bias = call.floats(net.n * twice);
        if (i + 1 < depth) layer.residual = Matrix::of(call.floats(width * width), width, width);
        net.layers.push_back(std::move(layer));
    }
    net.skip = Matrix::of(call.floats(skips * depth * width), skips, depth * width);
    net.skip_bias = call.floats(skips);
    net.head = Matrix::of(call.floats(skips * skips), skips, skips);
    net.head_bias = call.floats(skips);
    net.out = Matrix::of(call.floats(net.scores * skips), net.scores, skips);
    net.out_bias = call.floats(net.scores);
    net.level = call.levels(net.n * net.length);
    net.choice = call.choice;
    call.end();
    return play(net.n, call.threads, [&](int64_t first, int64_t last, const std::function<bool()>& stopped) {
        draw(net, first, last, stopped);
    });
}

}  // namespace triptych
