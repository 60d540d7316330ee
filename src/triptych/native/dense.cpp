// NADE and MADE (`models.autoregressive.nade`, `made`), pixel by pixel in raster order. Their weights are read once a
// batch, so that sums of products need no other arrangement of them.
#include "call.h"

namespace triptych {

namespace {

struct Nade {
    int64_t n, dims, hidden;
    const float *u, *enter, *leave, *start, *bias;  // W, V, c and b
    int64_t* level;
    Choice choice;
};

void draw(const Nade& net, int64_t first, int64_t last, const std::function<bool()>& stopped) {
    const int64_t n = last - first, hidden = net.hidden;
    std::vector<float> sums(n * hidden), active = zeros(hidden), room;
    for (int64_t m = 0; m < n; ++m) std::copy_n(net.start, hidden, &sums[m * hidden]);
    for (int64_t i = 0; i < net.dims && !stopped(); ++i)
        for (int64_t m = 0; m < n; ++m) {
            float* sum = &sums[m * hidden];
            each(hidden, active.data(), sum, sum, [](Vector a, Vector) { return sigmoid(a); });
            float score = net.bias[i] + dot(hidden, active.data(), net.leave + i * hidden);
            const int64_t at = (first + m) * net.dims + i;
            if (net.level[at] < 0) net.level[at] = net.choice.pick(&score, 1, net.u[at], room);
            if (net.level[at]) each(hidden, sum, sum, net.enter + i * hidden, [](Vector a, Vector w) { return a + w; });
        }
}

struct Layer {
    const float *weight, *bias;
    std::vector<int64_t> known;  // how many units are known when i pixels are
};

struct Made {
    int64_t n, dims;
    std::vector<Layer> layers;
    const float *u, *out, *out_bias, *direct;
    std::vector<int64_t> sizes;  // of the pixels, and of each layer
    int64_t* level;
    Choice choice;
};

void draw(const Made& net, int64_t first, int64_t last, const std::function<bool()>& stopped) {
    const int64_t n = last - first, depth = net.layers.size();
    std::vector<std::vector<float>> values;
    for (int64_t size : net.sizes) values.push_back(zeros(n * size));
    std::vector<float> room;
    for (int64_t i = 0; i < net.dims && !stopped(); ++i) {
        for (int64_t k = 0; i && k < depth; ++k) {
            const Layer& layer = net.layers[k];
            const int64_t size = net.sizes[k], seen = k ? net.layers[k - 1].known[i] : i;
            for (int64_t unit = layer.known[i - 1]; unit < layer.known[i]; ++unit)
                for (int64_t m = 0; m < n; ++m) {
                    const float sum = layer.bias[unit] + dot(seen, layer.weight + unit * size, &values[k][m * size]);
                    values[k + 1][m * net.sizes[k + 1] + unit] = sum > 0 ? sum : 0;
                }
        }
        const int64_t size = net.sizes[depth];
        for (int64_t m = 0; m < n; ++m) {
            float* pixels = &values[0][m * net.dims];
            float score = net.out_bias[i];
            score += dot(net.layers[depth - 1].known[i], net.out + i * size, &values[depth][m * size]);
            if (net.direct) score += dot(i, net.direct + i * net.dims, pixels);
            const int64_t at = (first + m) * net.dims + i;
            if (net.level[at] < 0) net.level[at] = net.choice.pick(&score, 1, net.u[at], room);
            pixels[i] = static_cast<float>(net.level[at]);
        }
    }
}

template <class Net>
bool share(const Net& net, int64_t threads) {
    return play(net.n, threads, [&](int64_t first, int64_t last, const std::function<bool()>& stopped) {
        draw(net, first, last, stopped);
    });
}

}  // namespace

bool play_nade(Call& call) {
    Nade net;
    net.n = call.number(), net.dims = call.number(), net.hidden = call.number();
    net.u = call.floats(net.n * net.dims);
    net.enter = call.floats(net.dims * net.hidden);
    net.leave = call.floats(net.dims * net.hidden);
    net.start = call.floats(net.hidden);
    net.bias = call.floats(net.dims);
    net.level = call.levels(net.n * net.dims);
    net.choice = call.choice;
    call.end();
    return share(net, call.threads);
}

bool play_made(Call& call) {
    Made net;
    net.n = call.number(), net.dims = call.number();
    const int64_t depth = call.number(), direct = call.number();
    net.sizes.push_back(net.dims);
    net.u = call.floats(net.n * net.dims);
    for (int64_t k = 0; k < depth; ++k) {
        const int64_t before = net.sizes.back(), size = call.number();
        net.sizes.push_back(size);
        Layer layer{call.floats(size * before), call.floats(size), {}};
        for (int64_t i = 0; i < net.dims; ++i) {
            layer.known.push_back(call.number());
            if (layer.known[i] < (i ? layer.known[i - 1] : 0) || layer.known[i] > size)
                throw std::invalid_argument("units known");
        }
        net.layers.push_back(std::move(layer));
    }
    net.out = call.floats(net.dims * net.sizes.back());
    net.out_bias = call.floats(net.dims);
    net.direct = direct ? call.floats(net.dims * net.dims) : nullptr;
    net.level = call.levels(net.n * net.dims);
    net.choice = call.choice;
    call.end();
    return share(net, call.threads);
}

}  // namespace triptych
