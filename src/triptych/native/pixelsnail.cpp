// PixelSNAIL (`models.autoregressive.pixelsnail`), pixel by pixel: its convolutions remember a row, its attention the
// keys and values of all pixels.
#include <algorithm>
#include <memory>

#include "call.h"

namespace triptych {

namespace {

// A matrix and its bias.
struct Layer {
    Matrix matrix;
    const float* bias;

    void apply(int64_t n, const float* x, float* out) const {
        matrix.product(n, x, matrix.inputs, out, matrix.outputs, bias, 0);
    }
};

Layer linear(Call& call, int64_t inputs, int64_t outputs) {
    const float* weight = call.floats(inputs * outputs);
    return {Matrix::of(weight, outputs, inputs), call.floats(outputs)};
}

// A gated residual layer of 1 x 1 convolutions, changing x [n, size]; `extra` may join halfway.
struct Gated {
    int64_t size, extras;
    Layer first, second;
    Matrix extra;

    Gated(Call& call, int64_t size, int64_t extras)
        : size(size), extras(extras), first(linear(call, 2 * size, size)), second(linear(call, 2 * size, 2 * size)) {
        if (extras) extra = Matrix::of(call.floats(size * 2 * extras), size, 2 * extras);
    }

    void apply(int64_t n, float* x, const float* more, std::vector<float>& room) const {
        room.resize(n * (2 * std::max(size, extras) + 3 * size));
        float *wide = room.data(), *between = wide + n * 2 * std::max(size, extras), *ab = between + n * size;
        for (int64_t m = 0; m < n; ++m) both_ways(size, x + m * size, wide + m * 2 * size);
        first.apply(n, wide, between);
        if (extras) {
            for (int64_t m = 0; m < n; ++m) both_ways(extras, more + m * extras, wide + m * 2 * extras);
            extra.product(n, wide, 2 * extras, between, size, between, size);
        }
        for (int64_t m = 0; m < n; ++m) both_ways(size, between + m * size, wide + m * 2 * size);
        second.apply(n, wide, ab);
        add_gated(n, size, ab, x);
    }
};

// A 2 x 2 convolution, as one matrix for the row above and one for the pixel's own.
struct Causal {
    Matrix above, own;
    const float* bias;

    Causal(Call& call, int64_t inputs, int64_t outputs) {
        const float* rows = call.floats(4 * inputs * outputs);
        above = Matrix(rows, outputs, 2 * inputs, outputs);
        own = Matrix(rows + 2 * inputs * outputs, outputs, 2 * inputs, outputs);
        bias = call.floats(outputs);
    }
};

struct Block {
    std::vector<Causal> near;  // two a layer
    Gated asking, offering, mix;
    Layer ask, offer;
};

struct Net {
    int64_t n, height, width, colors, levels, scores, maps, keys, values, head_maps;
    std::vector<Block> blocks;
    Matrix above, left;  // the first layer: of three pixels in the row above, and of the one to the left
    const float *bias, *where, *u, *table, *head_bias;
    Matrix head, earlier;
    std::vector<Matrix> out;
    int64_t* level;
    Choice choice;
};

// What a convolution remembers: [2 rows, n, 1 + width, inputs].
struct Memory {
    std::vector<float> rows;
    int64_t n, pitch, inputs;

    Memory(int64_t n, int64_t width, int64_t inputs)
        : rows(zeros(2 * n * (1 + width) * inputs)), n(n), pitch((1 + width) * inputs), inputs(inputs) {}

    // The windows that end at a pixel, in its own row (0) or the one above (1).
    float* window(int64_t i, int64_t j, int64_t up) { return &rows[((i + up) % 2) * n * pitch + j * inputs]; }
    float* here(int64_t i, int64_t j, int64_t m) { return window(i, j, 0) + m * pitch + inputs; }

    void apply(const Causal& conv, int64_t i, int64_t j, float* out) {
        const int64_t outputs = conv.own.outputs;
        conv.above.product(n, window(i, j, 1), pitch, out, outputs, conv.bias, 0);
        conv.own.product(n, window(i, j, 0), pitch, out, outputs, out, outputs);
    }
};

void draw(const Net& net, int64_t first, int64_t last, const std::function<bool()>& stopped) {
    const int64_t n = last - first, width = net.width, colors = net.colors, maps = net.maps, cell = colors + 1;
    const int64_t pixels = net.height * width, groups = (pixels + LANES - 1) / LANES * LANES, own = net.head_maps;
    const int64_t heads_all = colors * own;
    const int64_t asked = maps + 2, offered = colors + maps + 2, keys = net.keys, values = net.values;
    const int64_t depth = net.blocks.size(), pitch = (width + 2) * cell;
    // The image with a channel that is one inside of it: [2 rows, n, 1 + width + 1, cell]
    std::vector<float> image = zeros(2 * n * pitch);
    std::vector<std::vector<Memory>> memories(depth);
    for (int64_t k = 0; k < depth; ++k)
        for (size_t c = 0; c < net.blocks[k].near.size(); ++c) memories[k].emplace_back(n, width, 2 * maps);
    const std::unique_ptr<float[]> key_memory(new float[depth * n * groups * keys]);
    const std::unique_ptr<float[]> value_memory(new float[depth * n * pixels * values]);
    std::vector<float> x = zeros(n * maps), between = x, ab = zeros(n * 2 * maps), asking = zeros(n * asked);
    std::vector<float> offering = zeros(n * offered), query = zeros(n * keys), pair = zeros(n * (keys + values));
    std::vector<float> told = zeros(n * values), alike = zeros(pixels + LANES), features = zeros(depth * n * maps), room;
    std::vector<float> activated = x, heads = zeros(n * heads_all), seen = heads, hidden = zeros(n * (1 + heads_all));
    std::vector<float> pixel = zeros(n * colors), scores = zeros(n * net.scores), picking;
    const float factor = 1 / std::sqrt(static_cast<float>(keys));
    for (int64_t m = 0; m < n; ++m) hidden[m * (1 + heads_all)] = 1;

    for (int64_t t = 0; t < pixels && !stopped(); ++t) {
        const int64_t i = t / width, j = t % width;
        float *row = &image[i % 2 * n * pitch], *above = &image[(i + 1) % 2 * n * pitch];
        if (j == 0) std::fill_n(row, n * pitch, 0.0f);
        net.above.product(n, above + j * cell, pitch, x.data(), maps, net.bias, 0);
        net.left.product(n, row + j * cell, pitch, x.data(), maps, x.data(), maps);
        for (int64_t k = 0; k < depth; ++k) {
            const Block& block = net.blocks[k];
            std::vector<Memory>& memory = memories[k];
            for (size_t c = 0; c < block.near.size(); c += 2) {
                for (int64_t m = 0; m < n; ++m) both_ways(maps, &x[m * maps], memory[c].here(i, j, m));
                memory[c].apply(block.near[c], i, j, between.data());
                for (int64_t m = 0; m < n; ++m) both_ways(maps, &between[m * maps], memory[c + 1].here(i, j, m));
                memory[c + 1].apply(block.near[c + 1], i, j, ab.data());
                add_gated(n, maps, ab.data(), x.data());
            }
            std::copy(x.begin(), x.end(), &features[k * n * maps]);
            for (int64_t m = 0; m < n; ++m) {
                std::copy_n(&x[m * maps], maps, &asking[m * asked]);
                std::copy_n(net.where + 2 * t, 2, &asking[m * asked + maps]);
            }
            if (t == 0) {
                std::fill(told.begin(), told.end(), 0.0f);
            } else {
                block.asking.apply(n, asking.data(), nullptr, room);
                block.ask.apply(n, asking.data(), query.data());
                for (float& number : query) number *= factor;
                for (int64_t m = 0; m < n; ++m)
                    recall(t, keys, values, &query[m * keys], &key_memory[(k * n + m) * groups * keys],
                           &value_memory[(k * n + m) * pixels * values], alike.data(), &told[m * values]);
            }
            block.mix.apply(n, x.data(), told.data(), room);
        }
        each(n * maps, activated.data(), x.data(), x.data(), elu_of);
        net.head.product(n, activated.data(), maps, heads.data(), heads_all, net.head_bias, 0);
        std::fill(pixel.begin(), pixel.end(), 0.0f);
        for (int64_t color = 0; color < colors; ++color) {
            // of the colors before, which are all that has been written into `pixel`
            if (color) net.earlier.product(n, pixel.data(), colors, seen.data(), heads_all, heads.data(), heads_all);
            const std::vector<float>& known = color ? seen : heads;
            for (int64_t m = 0; m < n; ++m) {
                const float* from = &known[m * heads_all + color * own];
                each(own, &hidden[m * (1 + heads_all) + 1 + color * own], from, from, elu_of);
            }
            net.out[color].product(n, hidden.data(), 1 + heads_all, scores.data(), net.scores, nullptr, 0);
            for (int64_t m = 0; m < n; ++m) {
                const int64_t at = ((first + m) * colors + color) * pixels + t;
                if (net.level[at] < 0)
                    net.level[at] = net.choice.pick(&scores[m * net.scores], net.scores, net.u[at], picking);
                pixel[m * colors + color] = row[m * pitch + (1 + j) * cell + color] = net.table[net.level[at]];
            }
        }
        for (int64_t m = 0; m < n; ++m) row[m * pitch + (1 + j) * cell + colors] = 1;
        for (int64_t k = 0; k < depth; ++k) {
            const Block& block = net.blocks[k];
            for (int64_t m = 0; m < n; ++m) {
                float* to = &offering[m * offered];
                std::copy_n(&pixel[m * colors], colors, to);
                std::copy_n(&features[(k * n + m) * maps], maps, to + colors);
                std::copy_n(net.where + 2 * t, 2, to + colors + maps);
            }
            block.offering.apply(n, offering.data(), nullptr, room);
            block.offer.apply(n, offering.data(), pair.data());
            for (int64_t m = 0; m < n; ++m) {
                const float* both = &pair[m * (keys + values)];
                remember(t, keys, both, &key_memory[(k * n + m) * groups * keys]);
                std::copy_n(both + keys, values, &value_memory[((k * n + m) * pixels + t) * values]);
            }
        }
    }
}

}  // namespace

bool play_pixelsnail(Call& call) {
    Net net;
    for (int64_t* number : {&net.n, &net.height, &net.width, &net.colors, &net.levels, &net.scores, &net.maps, &net.keys,
                            &net.values, &net.head_maps})
        *number = call.number();
    const int64_t depth = call.number(), layers = call.number(), maps = net.maps, colors = net.colors;
    const int64_t pixels = net.height * net.width, cell = colors + 1, heads = colors * net.head_maps;
    net.u = call.floats(net.n * colors * pixels);
    net.table = call.floats(net.levels);
    net.where = call.floats(pixels * 2);
    net.above = Matrix(call.floats(3 * cell * maps), maps, 3 * cell, maps);
    net.left = Matrix(call.floats(cell * maps), maps, cell, maps);
    net.bias = call.floats(maps);
    for (int64_t k = 0; k < depth; ++k) {
        std::vector<Causal> near;
        for (int64_t l = 0; l < layers; ++l) {
            near.emplace_back(call, 2 * maps, maps);
            near.emplace_back(call, 2 * maps, 2 * maps);
        }
        Gated asking(call, maps + 2, 0);
        Layer ask = linear(call, maps + 2, net.keys);
        Gated offering(call, colors + maps + 2, 0);
        Layer offer = linear(call, colors + maps + 2, net.keys + net.values);
        Gated mix(call, maps, net.values);
        net.blocks.push_back({std::move(near), std::move(asking), std::move(offering), std::move(mix), std::move(ask),
                              std::move(offer)});
    }
    net.head = Matrix::of(call.floats(heads * maps), heads, maps);
    net.head_bias = call.floats(heads);
    net.earlier = Matrix::of(call.floats(heads * colors), heads, colors);
    net.out = by_color(call.floats((1 + heads) * colors * net.scores), colors, colors * net.scores, 1, net.head_maps);
    net.level = call.levels(net.n * colors * pixels);
    net.choice = call.choice;
    call.end();
    return play(net.n, call.threads, [&](int64_t first, int64_t last, const std::function<bool()>& stopped) {
        draw(net, first, last, stopped);
    });
}

}  // namespace triptych
