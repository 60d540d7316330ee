// LSTM (`models.autoregressive.lstm`), token by token.
#include <algorithm>

#include "call.h"

namespace triptych {

namespace {

struct Layer {
    int64_t inputs;  // the token's embedding, what the layer below gives, and what this one gave
    Matrix gates;
    const float* bias;
};

struct Net {
    int64_t n, length, embedding, width, scores;
    std::vector<Layer> layers;
    const float *u, *start, *table, *out_bias;
    Matrix out;
    int64_t* level;
    Choice choice;
};

void write(const Net& net, int64_t first, int64_t last, const std::function<bool()>& stopped) {
    const int64_t n = last - first, width = net.width, read = net.embedding, depth = net.layers.size();
    std::vector<std::vector<float>> inputs, cells(depth, zeros(n * width));
    for (const Layer& layer : net.layers) inputs.push_back(zeros(n * layer.inputs));
    std::vector<float> gates = zeros(n * 4 * width), outputs = zeros(n * depth * width), scores = zeros(n * net.scores);
    std::vector<float> room;
    for (int64_t t = 0; t < net.length && !stopped(); ++t) {
        for (int64_t m = 0; m < n; ++m) {
            const float* token = t ? net.table + net.level[(first + m) * net.length + t - 1] * read : net.start;
            for (int64_t k = 0; k < depth; ++k) std::copy_n(token, read, &inputs[k][m * net.layers[k].inputs]);
        }
        for (int64_t k = 0; k < depth; ++k) {
            const Layer& layer = net.layers[k];
            layer.gates.product(n, inputs[k].data(), layer.inputs, gates.data(), 4 * width, layer.bias, 0);
            for (int64_t m = 0; m < n; ++m) {
                const float *in = &gates[m * 4 * width], *forget = in + width, *cell = forget + width;
                float *c = &cells[k][m * width], *h = &outputs[(m * depth + k) * width];
                each(width, c, forget, c, [](Vector f, Vector c) { return sigmoid(f) * c; });
                each(width, h, cell, in, gated);
                each(width, c, c, h, [](Vector a, Vector b) { return a + b; });
                each(width, h, c, cell + width, gated);
                std::copy_n(h, width, &inputs[k][(m + 1) * layer.inputs - width]);
                if (k + 1 < depth) std::copy_n(h, width, &inputs[k + 1][m * net.layers[k + 1].inputs + read]);
            }
        }
        net.out.product(n, outputs.data(), depth * width, scores.data(), net.scores, net.out_bias, 0);
        for (int64_t m = 0; m < n; ++m) {
            const int64_t at = (first + m) * net.length + t;
            if (net.level[at] < 0)
                net.level[at] = net.choice.pick(&scores[m * net.scores], net.scores, net.u[at], room);
        }
    }
}

}  // namespace

bool play_lstm(Call& call) {
    Net net;
    for (int64_t* number : {&net.n, &net.length, &net.embedding, &net.width, &net.scores}) *number = call.number();
    const int64_t depth = call.number(), width = net.width;
    net.u = call.floats(net.n * net.length);
    net.start = call.floats(net.embedding);
    net.table = call.floats(net.scores * net.embedding);
    for (int64_t k = 0; k < depth; ++k) {
        Layer layer;
        layer.inputs = net.embedding + (k ? 2 : 1) * width;
        layer.gates = Matrix::of(call.floats(4 * width * layer.inputs), 4 * width, layer.inputs);
        layer.bias = call.floats(4 * width);
        net.layers.push_back(std::move(layer));
    }
    net.out = Matrix::of(call.floats(net.scores * depth * width), net.scores, depth * width);
    net.out_bias = call.floats(net.scores);
    net.level = call.levels(net.n * net.length);
    net.choice = call.choice;
    call.end();
    return play(net.n, call.threads, [&](int64_t first, int64_t last, const std::function<bool()>& stopped) {
        write(net, first, last, stopped);
    });
}

}  // namespace triptych
