// Gated PixelCNN (`models.autoregressive.gated_pixelcnn`): the vertical stack row by row, the horizontal one pixel by
// pixel, each activation once.
#include <algorithm>

#include "call.h"

namespace triptych {

namespace {

struct Layer {
    int64_t inputs, reach, rows;  // of the kernels
    std::vector<Matrix> vertical;  // a row of the kernel each, from the top
    const float* bias;             // [n, 2 * maps], of the vertical stack
    Matrix link;
    const float* link_bias;
    std::vector<Matrix> horizontal, out;  // by color; the first row of `out` is its bias
};

struct Net {
    int64_t n, height, width, colors, levels, scores, maps, head_maps;
    std::vector<Layer> layers;
    std::vector<Matrix> head, out;  // by color, with their biases first
    const float *u, *values;
    int64_t* level;
    Choice choice;
};

// A layer of the images that one thread draws.
struct State {
    std::vector<float> rows;    // [kernel rows, images, reach + width + reach, inputs]: what the vertical stack saw
    std::vector<float> row;     // [images, reach + width, inputs]: this row, for the horizontal one
    std::vector<float> link;    // [images, width, 2 * maps]: what the vertical one tells the horizontal one
    std::vector<float> passed;  // [images, 1 + maps]: a one, and what the gates let pass at this pixel
};

// Room for n times `size` numbers, each after a one, which stands for the bias.
std::vector<float> ones_first(int64_t n, int64_t size) {
    std::vector<float> room = zeros(n * (1 + size));
    for (int64_t m = 0; m < n; ++m) room[m * (1 + size)] = 1;
    return room;
}

void draw(const Net& net, int64_t first, int64_t last, const std::function<bool()>& stopped) {
    const int64_t n = last - first, width = net.width, colors = net.colors, maps = net.maps, twice = 2 * maps;
    const int64_t part = maps / colors, depth = net.layers.size(), head_part = net.head_maps / colors;
    std::vector<State> states(depth);
    for (int64_t k = 0; k < depth; ++k) {
        const Layer& layer = net.layers[k];
        states[k].rows = zeros(layer.rows * n * (width + 2 * layer.reach) * layer.inputs);
        states[k].row = zeros(n * (width + layer.reach) * layer.inputs);
        states[k].link = zeros(n * width * twice);
        states[k].passed = ones_first(n, maps);
    }
    std::vector<float> above = zeros(n * width * twice), y = zeros(n * 2 * part), scores = zeros(n * net.scores), room;
    std::vector<float> features = ones_first(n, maps), hidden = ones_first(n, net.head_maps);

    for (int64_t i = 0; i < net.height && !stopped(); ++i) {
        for (int64_t k = 0; k < depth; ++k) {  // the vertical stack, for all of the row
            const Layer& layer = net.layers[k];
            State& state = states[k];
            const int64_t pitch = (width + 2 * layer.reach) * layer.inputs, now = i % layer.rows;
            if (k == 0 && i > 0)  // the image's row above; the other layers' rows were written by those before them
                for (int64_t m = 0; m < n; ++m)
                    std::copy_n(&state.row[(m * (width + layer.reach) + layer.reach) * colors], width * colors,
                                &state.rows[(now * n + m) * pitch + layer.reach * colors]);
            for (int64_t m = 0; m < n; ++m) {
                float* out = &above[m * width * twice];
                for (int64_t r = 0; r < layer.rows; ++r) {
                    const float* seen = &state.rows[((now + 1 + r) % layer.rows * n + m) * pitch];
                    layer.vertical[r].product(width, seen, layer.inputs, out, twice,
                                              r ? out : layer.bias + (first + m) * twice, r ? twice : 0);
                }
            }
            layer.link.product(n * width, above.data(), twice, state.link.data(), twice, layer.link_bias, 0);
            if (k + 1 == depth) break;
            const Layer& next = net.layers[k + 1];
            const int64_t next_pitch = (width + 2 * next.reach) * maps;
            for (int64_t m = 0; m < n; ++m)
                for (int64_t j = 0; j < width; ++j) {
                    const float* a = &above[(m * width + j) * twice];
                    each(maps, &states[k + 1].rows[(i % next.rows * n + m) * next_pitch + (next.reach + j) * maps], a,
                         a + maps, gated);
                }
        }
        for (int64_t j = 0; j < width; ++j)  // the horizontal one, for one color of one pixel after the other
            for (int64_t color = 0; color < colors; ++color) {
                for (int64_t k = 0; k < depth; ++k) {
                    const Layer& layer = net.layers[k];
                    State& state = states[k];
                    const int64_t pitch = (width + layer.reach) * layer.inputs;
                    layer.horizontal[color].product(n, &state.row[j * layer.inputs], pitch, y.data(), 2 * part,
                                                    &state.link[j * twice + color * 2 * part], width * twice);
                    for (int64_t m = 0; m < n; ++m)
                        each(part, &state.passed[m * (1 + maps) + 1 + color * part], &y[m * 2 * part],
                             &y[m * 2 * part + part], gated);
                    const int64_t ahead = k + 1 < depth ? net.layers[k + 1].reach : 0;
                    float* to = k + 1 < depth ? &states[k + 1].row[(ahead + j) * maps + color * part]
                                              : &features[1 + color * part];
                    const int64_t step = k + 1 < depth ? (width + ahead) * maps : 1 + maps;
                    const float* own = k ? &state.row[(layer.reach + j) * maps + color * part] : nullptr;
                    layer.out[color].product(n, state.passed.data(), 1 + maps, to, step, own, pitch);
                }
                auto relu = [](Vector a, Vector) { return a > 0.0f ? a : splat(0.0f); };
                for (int64_t m = 0; m < n; ++m) {
                    float* own = &features[m * (1 + maps) + 1 + color * part];
                    each(part, own, own, own, relu);
                }
                const int64_t pitch = 1 + net.head_maps;
                net.head[color].product(n, features.data(), 1 + maps, &hidden[1 + color * head_part], pitch, nullptr, 0);
                for (int64_t m = 0; m < n; ++m) {
                    float* own = &hidden[m * pitch + 1 + color * head_part];
                    each(head_part, own, own, own, relu);
                }
                net.out[color].product(n, hidden.data(), pitch, scores.data(), net.scores, nullptr, 0);
                const Layer& bottom = net.layers[0];
                for (int64_t m = 0; m < n; ++m) {
                    const int64_t at = (((first + m) * colors + color) * net.height + i) * width + j;
                    if (net.level[at] < 0)
                        net.level[at] = net.choice.pick(&scores[m * net.scores], net.scores, net.u[at], room);
                    states[0].row[(m * (width + bottom.reach) + bottom.reach + j) * colors + color] =
                        net.values[net.level[at]];
                }
            }
    }
}

}  // namespace

bool play_gated(Call& call) {
    Net net;
    for (int64_t* number : {&net.n, &net.height, &net.width, &net.colors, &net.levels, &net.scores, &net.maps,
                            &net.head_maps})
        *number = call.number();
    const int64_t depth = call.number(), colors = net.colors, maps = net.maps;
    net.u = call.floats(net.n * colors * net.height * net.width);
    net.values = call.floats(net.levels);
    for (int64_t k = 0; k < depth; ++k) {
        Layer layer;
        layer.inputs = k ? maps : colors, layer.reach = call.number(), layer.rows = call.number();
        const int64_t across = (2 * layer.reach + 1) * layer.inputs;
        const float* weight = call.floats(layer.rows * across * 2 * maps);
        for (int64_t r = 0; r < layer.rows; ++r)
            layer.vertical.emplace_back(weight + r * across * 2 * maps, 2 * maps, across, 2 * maps);
        layer.bias = call.floats(net.n * 2 * maps);
        layer.link = Matrix(call.floats(4 * maps * maps), 2 * maps, 2 * maps, 2 * maps);
        layer.link_bias = call.floats(2 * maps);
        // The first layer's mask is A: a color sees those before it, and not itself, whose weights are zeros
        layer.horizontal = by_color(call.floats((layer.reach + 1) * layer.inputs * 2 * maps), colors, 2 * maps,
                                    layer.reach * layer.inputs, layer.inputs / colors);
        layer.out = by_color(call.floats((1 + maps) * maps), colors, maps, 1, maps / colors);
        net.layers.push_back(std::move(layer));
    }
    net.head = by_color(call.floats((1 + maps) * net.head_maps), colors, net.head_maps, 1, maps / colors);
    net.out = by_color(call.floats((1 + net.head_maps) * colors * net.scores), colors, colors * net.scores, 1,
                       net.head_maps / colors);
    net.level = call.levels(net.n * colors * net.height * net.width);
    net.choice = call.choice;
    call.end();
    return play(net.n, call.threads,
                [&](int64_t first, int64_t last, const std::function<bool()>& stopped) { draw(net, first, last, stopped); });
}

}  // namespace triptych
