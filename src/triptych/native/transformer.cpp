// A causal transformer (`nn.transformer`), one place after the other, with the key-value cache that Python began.
#include <algorithm>
#include <memory>

#include "call.h"

namespace triptych {

namespace {

struct Block {
    const float *norm1, *norm2;
    Matrix take, give, widen, narrow;  // attention's, and the network's
    const float *keys, *values;        // what came before: [n * heads, size, length], [n * heads, length, size]
};

struct Net {
    int64_t n, length, first, width, heads, hidden, scores, levels;
    int64_t placed;  // 0: nothing is added by place; 1: the same for all items; 2: for each its own
    bool biased;
    std::vector<Block> blocks;
    const float *u, *input, *table, *scale, *position, *turns, *norm, *bias;
    Matrix head;
    int64_t* level;
    Choice choice;
};

// RMSNorm: `weight` holds the square root of the width already.
void normalize(int64_t width, const float* x, const float* weight, float* out) {
    Vector squares{};
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) squares += load(x + i) * load(x + i);
    float sum = total(squares);
    for (; i < width; ++i) sum += x[i] * x[i];
    const float length = std::max(std::sqrt(sum), 1e-6f);
    each(width, out, x, weight, [=](Vector a, Vector w) { return a * w / length; });
}

// Turns each head's pairs by their place.
void rotate(int64_t heads, int64_t size, const float* x, const float* cos, const float* sin, float factor, float* out) {
    const int64_t half = size / 2;
    for (int64_t h = 0; h < heads; ++h, x += size, out += size)
        for (int64_t k = 0; k < half; ++k) {
            out[k] = (x[k] * cos[k] + x[half + k] * sin[k]) * factor;
            out[half + k] = (x[half + k] * cos[half + k] + x[k] * sin[half + k]) * factor;
        }
}

void write(const Net& net, int64_t first, int64_t last, const std::function<bool()>& stopped) {
    const int64_t n = last - first, width = net.width, heads = net.heads, size = width / heads, length = net.length;
    const int64_t hidden = net.hidden;
    std::vector<float> x(net.input + first * width, net.input + last * width), normed = zeros(n * width);
    std::vector<float> parts = zeros(n * 3 * width), told = normed, both = zeros(n * 2 * hidden);
    std::vector<float> passed = zeros(n * hidden), scores = zeros(n * net.scores), query = zeros(width);
    std::vector<float> key = query, alike = zeros(length + LANES), room;
    // Keys and values of each block, item and head
    const int64_t room_each = (length + LANES - 1) / LANES * LANES * size, all = net.blocks.size() * n * heads;
    const std::unique_ptr<float[]> keys(new float[all * room_each]), values(new float[all * room_each]);
    for (int64_t k = 0, at = 0; k < int64_t(net.blocks.size()); ++k)
        for (int64_t h = first * heads; h < last * heads; ++h, at += room_each)
            for (int64_t i = 0; i < net.first; ++i) {
                for (int64_t d = 0; d < size; ++d)
                    keys[at + (i / LANES * size + d) * LANES + i % LANES] = net.blocks[k].keys[(h * size + d) * length + i];
                std::copy_n(net.blocks[k].values + (h * length + i) * size, size, &values[at + i * size]);
            }
    const float factor = 1 / std::sqrt(static_cast<float>(size));
    for (int64_t i = net.first; i < length && !stopped(); ++i) {
        const float *cos = net.turns + i * size, *sin = net.turns + (length + i) * size;
        int64_t at = 0;
        for (const Block& block : net.blocks) {
            for (int64_t m = 0; m < n; ++m) normalize(width, &x[m * width], block.norm1, &normed[m * width]);
            block.take.product(n, normed.data(), width, parts.data(), 3 * width, nullptr, 0);
            for (int64_t m = 0; m < n; ++m) {
                const float* part = &parts[m * 3 * width];
                rotate(heads, size, part, cos, sin, factor, query.data());
                rotate(heads, size, part + width, cos, sin, 1, key.data());
                for (int64_t h = 0; h < heads; ++h, at += room_each) {
                    remember(i, size, &key[h * size], &keys[at]);
                    std::copy_n(part + 2 * width + h * size, size, &values[at + i * size]);
                    recall(i + 1, size, size, &query[h * size], &keys[at], &values[at], alike.data(),
                           &told[m * width + h * size]);
                }
            }
            block.give.product(n, told.data(), width, x.data(), width, x.data(), width);
            for (int64_t m = 0; m < n; ++m) normalize(width, &x[m * width], block.norm2, &normed[m * width]);
            block.widen.product(n, normed.data(), width, both.data(), 2 * hidden, nullptr, 0);
            for (int64_t m = 0; m < n; ++m)
                each(hidden, &passed[m * hidden], &both[m * 2 * hidden], &both[m * 2 * hidden + hidden],
                     [](Vector gate, Vector value) { return gate * sigmoid(gate) * value; });
            block.narrow.product(n, passed.data(), hidden, x.data(), width, x.data(), width);
        }
        for (int64_t m = 0; m < n; ++m) normalize(width, &x[m * width], net.norm, &normed[m * width]);
        net.head.product(n, normed.data(), width, scores.data(), net.scores, net.biased ? net.bias : nullptr, 0);
        for (int64_t m = 0; m < n; ++m) {
            int64_t& level = net.level[(first + m) * length + i];
            if (level < 0)
                level = net.choice.pick(&scores[m * net.scores], net.scores, net.u[(first + m) * length + i], room);
            if (i + 1 == length) continue;
            const float *row = net.table + level * width, *place = net.position + (i + 1) * width;
            if (net.placed == 2) place += (first + m) * length * width;
            for (int64_t k = 0; k < width; ++k)
                x[m * width + k] = row[k] * net.scale[0] + (net.placed ? place[k] : 0.0f);
        }
    }
}

}  // namespace

bool play_transformer(Call& call) {
    Net net;
    for (int64_t* number : {&net.n, &net.length, &net.first, &net.width, &net.heads, &net.hidden, &net.scores,
                            &net.levels})
        *number = call.number();
    const int64_t depth = call.number(), width = net.width, n = net.n, length = net.length;
    net.placed = call.number(), net.biased = call.number();
    net.u = call.floats(n * length);
    net.input = call.floats(n * width);
    net.table = call.floats(net.levels * width);
    net.scale = call.floats(1);
    net.position = call.floats((net.placed == 2 ? n : net.placed) * length * width);
    net.turns = call.floats(2 * length * (width / net.heads));
    for (int64_t k = 0; k < depth; ++k) {
        Block block;
        block.norm1 = call.floats(width);
        block.take = Matrix::of(call.floats(3 * width * width), 3 * width, width);
        block.give = Matrix::of(call.floats(width * width), width, width);
        block.norm2 = call.floats(width);
        block.widen = Matrix::of(call.floats(2 * net.hidden * width), 2 * net.hidden, width);
        block.narrow = Matrix::of(call.floats(width * net.hidden), width, net.hidden);
        block.keys = call.floats(n * width * length);
        block.values = call.floats(n * width * length);
        net.blocks.push_back(std::move(block));
    }
    net.norm = call.floats(width);
    net.head = Matrix::of(call.floats(net.scores * width), net.scores, width);
    net.bias = call.floats(net.biased ? net.scores : 0);
    net.level = call.levels(n * length);
    net.choice = call.choice;
    call.end();
    return play(n, call.threads, [&](int64_t first, int64_t last, const std::function<bool()>& stopped) {
        write(net, first, last, stopped);
    });
}

}  // namespace triptych
