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
    int64_t row;     // places of a row of an image; 0: it is none
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

// What an image of two levels is guessed by: the mean score that the network gave, so far, where a pixel's left, upper
// left, upper and upper right neighbors were alike. Guesses that are wrong cost time, and change nothing.
class Guesses {
   public:
    explicit Guesses(const Net& net) : net(net) {}

    int64_t level(const int64_t* levels, int64_t place, float u, std::vector<float>& room) const {
        const Mean& mean = means[context(levels, place)];
        float score = mean.count ? mean.sum / mean.count : 0;
        return net.choice.pick(&score, 1, u, room);
    }

    void learn(const int64_t* levels, int64_t place, float score) {
        Mean& mean = means[context(levels, place)];
        mean.sum += score, ++mean.count;
    }

   private:
    struct Mean {
        float sum = 0, count = 0;
    };

    int64_t context(const int64_t* levels, int64_t place) const {
        int64_t bits = 0;
        for (int64_t back : {int64_t(1), net.row - 1, net.row, net.row + 1})
            bits = 2 * bits + (place >= back && levels[place - back] > 0);
        return bits;
    }

    const Net& net;
    Mean means[16];
};

constexpr int64_t AHEAD = 8;  // places that are looked at together, where those before them are guessed

// Writes some items, a place of each at a time; or with guesses one item, several places at a time: the network is asked
// about all of them at once, and what it says counts up to the first place that was guessed wrong.
void write(const Net& net, int64_t first, int64_t last, Guesses* guesses, const std::function<bool()>& stopped) {
    const int64_t n = last - first, width = net.width, heads = net.heads, size = width / heads, length = net.length;
    const int64_t hidden = net.hidden, most = guesses ? AHEAD : n;
    std::vector<float> x = zeros(most * width), normed = x, query = x, told = x, key = zeros(width), room;
    std::vector<float> parts = zeros(most * 3 * width), both = zeros(most * 2 * hidden), passed = zeros(most * hidden);
    std::vector<float> scores = zeros(most * net.scores), alike = zeros(length + LANES);
    std::vector<int64_t> levels;  // of the one item, with guesses
    std::copy_n(net.input + first * width, n * width, x.data());
    if (guesses) levels.assign(net.level + first * length, net.level + last * length);
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
    auto read = [&](int64_t level, int64_t item, int64_t place, float* out) {
        const float *row = net.table + level * width, *at = net.position + place * width;
        if (net.placed == 2) at += item * length * width;
        for (int64_t k = 0; k < width; ++k) out[k] = row[k] * net.scale[0] + (net.placed ? at[k] : 0.0f);
    };
    for (int64_t i = net.first; i < length && !stopped();) {
        const int64_t ahead = guesses ? std::min(AHEAD, length - i) : 1, rows = n * ahead;  // of each item
        for (int64_t r = 1; r < ahead; ++r) {
            const int64_t place = i + r - 1, known = net.level[first * length + place];
            levels[place] = known < 0 ? guesses->level(levels.data(), place, net.u[first * length + place], room) : known;
            read(levels[place], first, place + 1, &x[r * width]);
        }
        int64_t at = 0;
        for (const Block& block : net.blocks) {
            for (int64_t m = 0; m < rows; ++m) normalize(width, &x[m * width], block.norm1, &normed[m * width]);
            block.take.product(rows, normed.data(), width, parts.data(), 3 * width, nullptr, 0);
            for (int64_t m = 0; m < n; ++m, at += heads * room_each) {
                for (int64_t r = 0; r < ahead; ++r) {
                    const int64_t place = i + r;
                    const float *part = &parts[(m * ahead + r) * 3 * width];
                    const float *cos = net.turns + place * size, *sin = net.turns + (length + place) * size;
                    rotate(heads, size, part, cos, sin, factor, &query[(m * ahead + r) * width]);
                    rotate(heads, size, part + width, cos, sin, 1, key.data());
                    for (int64_t h = 0; h < heads; ++h) {
                        remember(place, size, &key[h * size], &keys[at + h * room_each]);
                        std::copy_n(part + 2 * width + h * size, size, &values[at + h * room_each + place * size]);
                    }
                }
                for (int64_t h = 0; h < heads; ++h)
                    for (int64_t r = 0; r < ahead; ++r) {
                        const int64_t own = (m * ahead + r) * width + h * size;
                        recall(i + r + 1, size, size, &query[own], &keys[at + h * room_each], &values[at + h * room_each],
                               alike.data(), &told[own]);
                    }
            }
            block.give.product(rows, told.data(), width, x.data(), width, x.data(), width);
            for (int64_t m = 0; m < rows; ++m) normalize(width, &x[m * width], block.norm2, &normed[m * width]);
            block.widen.product(rows, normed.data(), width, both.data(), 2 * hidden, nullptr, 0);
            for (int64_t m = 0; m < rows; ++m)
                each(hidden, &passed[m * hidden], &both[m * 2 * hidden], &both[m * 2 * hidden + hidden],
                     [](Vector gate, Vector value) { return gate * sigmoid(gate) * value; });
            block.narrow.product(rows, passed.data(), hidden, x.data(), width, x.data(), width);
        }
        for (int64_t m = 0; m < rows; ++m) normalize(width, &x[m * width], net.norm, &normed[m * width]);
        net.head.product(rows, normed.data(), width, scores.data(), net.scores, net.biased ? net.bias : nullptr, 0);
        int64_t sure = 1;  // places that are written now
        for (int64_t m = 0; m < n; ++m)
            for (int64_t r = 0; r < sure; ++r) {
                const int64_t place = i + r, where = (first + m) * length + place;
                float* score = &scores[(m * ahead + r) * net.scores];
                if (guesses) guesses->learn(levels.data(), place, *score);
                if (net.level[where] < 0) net.level[where] = net.choice.pick(score, net.scores, net.u[where], room);
                if (guesses) {
                    if (r + 1 < ahead && levels[place] == net.level[where]) ++sure;
                    levels[place] = net.level[where];
                }
                if (r + 1 == sure && place + 1 < length) read(net.level[where], first + m, place + 1, &x[m * width]);
            }
        i += sure;
    }
}

}  // namespace

bool play_transformer(Call& call) {
    Net net;
    for (int64_t* number : {&net.n, &net.length, &net.first, &net.width, &net.heads, &net.hidden, &net.scores,
                            &net.levels})
        *number = call.number();
    const int64_t depth = call.number(), width = net.width, n = net.n, length = net.length;
    net.placed = call.number(), net.biased = call.number(), net.row = call.number();
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
        if (net.scores > 1 || !net.row) return write(net, first, last, nullptr, stopped);
        Guesses guesses(net);
        for (int64_t m = first; m < last; ++m) write(net, m, m + 1, &guesses, stopped);
    });
}

}  // namespace triptych
