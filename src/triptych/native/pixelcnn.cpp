// PixelCNN (`models.autoregressive.pixelcnn`), by the wavefront of `nn.incremental`: the pixels of one step cannot see
// each other, and their windows are rows of one product.
#include <algorithm>

#include "call.h"

namespace triptych {

namespace {

struct Shape {
    int64_t height, width, colors, slope;  // of the image, and of the wavefront
};

// A masked convolution: for each row of the kernel upward, for each color, the matrix of the window there.
struct Conv {
    int64_t inputs, outputs, reach;
    std::vector<std::vector<Matrix>> rows;
    const float* bias;

    // Weights [reach + 1 rows upward, 2 reach + 1 columns, inputs, outputs]. Kind A does not see its own color.
    Conv(Call& call, int64_t inputs, int64_t outputs, int64_t reach, int64_t colors, bool own)
        : inputs(inputs), outputs(outputs), reach(reach) {
        const int64_t across = (2 * reach + 1) * inputs, part = inputs / colors, out = outputs / colors;
        const float* weight = call.floats((reach + 1) * across * outputs);
        for (int64_t up = 0; up <= reach; ++up, weight += across * outputs) {
            rows.emplace_back();
            for (int64_t color = 0; color < colors; ++color)
                rows[up].emplace_back(weight + color * out, outputs, up ? across : reach * inputs + (color + own) * part,
                                      out);
        }
        bias = call.floats(outputs);
    }
};

// What a convolution remembers of its input, such that the windows of a step lie equally far apart: pixel (i, j) of
// image m is cell (i * n + m) * pitch + slope * i + j. Without reach there is no past: each step takes the place of the
// last.
class Memory {
   public:
    Memory(const Conv& conv, const Shape& shape, int64_t n) : conv(conv), n(n) {
        const int64_t reach = conv.reach;
        cell = conv.inputs, part = conv.inputs / shape.colors, out = conv.outputs / shape.colors;
        if (reach) {
            pitch = shape.width + 2 * reach, right = 1, down = n * pitch + shape.slope;
            cells = zeros(((shape.height + reach) * down + pitch) * cell);
        } else {
            pitch = 1, right = down = 0;
            cells = zeros(std::min(shape.height, (shape.width + shape.slope - 1) / shape.slope) * n * cell);
        }
        start = reach * (down + right);
    }

    // The pixels of a step: `live` rows from row i on, of which that one is at column j.
    void go(int64_t i, int64_t j, int64_t live) { at = cells.data() + (start + i * down + j * right) * cell, due = live * n; }

    float* here(int64_t color) { return at + color * part; }
    int64_t step() const { return pitch * cell; }

    // One color's part of the output, plus `add` where that is not null, a row every `apart` numbers.
    void apply(int64_t color, float* to, int64_t apart, const float* add) const {
        const float* also = add ? add : conv.bias + color * out;
        for (int64_t up = 0; up <= conv.reach; ++up) {
            conv.rows[up][color].product(due, at - (conv.reach * right + up * down) * cell, step(), to, apart, also,
                                         up || add ? apart : 0);
            also = to;
        }
    }

    // The same, of what is more than zero, into the memory of the next layer.
    void pass(int64_t color, Memory& next) const {
        apply(color, next.here(color), next.step(), nullptr);
        for (int64_t row = 0; row < due; ++row) {
            float* x = next.here(color) + row * next.step();
            each(out, x, x, x, positive);
        }
    }

    static Vector positive(Vector a, Vector) { return a > 0.0f ? a : splat(0.0f); }

    int64_t due = 0;

   private:
    const Conv& conv;
    int64_t n, cell, part, out, pitch, right, down, start;
    std::vector<float> cells;
    float* at = nullptr;
};

struct Block {
    Conv down, conv, up;
};

struct Net {
    int64_t n, levels, scores, maps;
    Shape shape;
    std::vector<Conv> first, tail;  // one; and the two of the head and the last
    std::vector<Block> blocks;
    const float *u, *values;
    int64_t* level;
    Choice choice;
};

void draw(const Net& net, int64_t begin, int64_t end, const std::function<bool()>& stopped) {
    const Shape& shape = net.shape;
    const int64_t n = end - begin, colors = shape.colors, part = net.maps / colors, pixels = shape.height * shape.width;
    Memory first(net.first[0], shape, n);
    std::vector<Memory> memories, tail;  // three a block
    for (const Block& block : net.blocks)
        for (const Conv* conv : {&block.down, &block.conv, &block.up}) memories.emplace_back(*conv, shape, n);
    for (const Conv& conv : net.tail) tail.emplace_back(conv, shape, n);
    std::vector<float> h = zeros(shape.height * n * part), scores = zeros(shape.height * n * net.scores), room;
    auto enter = [&](Memory& memory, int64_t color) {
        for (int64_t row = 0; row < memory.due; ++row)
            each(part, memory.here(color) + row * memory.step(), &h[row * part], &h[row * part], Memory::positive);
    };
    for (int64_t t = 0; t < shape.slope * (shape.height - 1) + shape.width && !stopped(); ++t) {
        const int64_t late = t - shape.width + 1, top = late > 0 ? (late + shape.slope - 1) / shape.slope : 0;
        const int64_t live = std::min(shape.height, t / shape.slope + 1) - top;
        for (Memory* memory : {&first, &tail[0], &tail[1], &tail[2]}) memory->go(top, t - shape.slope * top, live);
        for (Memory& memory : memories) memory.go(top, t - shape.slope * top, live);
        for (int64_t color = 0; color < colors; ++color) {
            first.apply(color, h.data(), part, nullptr);
            for (size_t k = 0; k < memories.size(); k += 3) {
                enter(memories[k], color);
                memories[k].pass(color, memories[k + 1]);
                memories[k + 1].pass(color, memories[k + 2]);
                const float* bias = net.blocks[k / 3].up.bias + color * part;
                memories[k + 2].apply(color, h.data(), part, h.data());
                for (int64_t row = 0; row < first.due; ++row)
                    each(part, &h[row * part], &h[row * part], bias, [](Vector a, Vector b) { return a + b; });
            }
            enter(tail[0], color);
            tail[0].pass(color, tail[1]);
            tail[1].pass(color, tail[2]);
            tail[2].apply(color, scores.data(), net.scores, nullptr);
            for (int64_t row = 0; row < first.due; ++row) {
                const int64_t i = top + row / n, m = begin + row % n, j = t - shape.slope * i;
                const int64_t at = (m * colors + color) * pixels + i * shape.width + j;
                if (net.level[at] < 0)
                    net.level[at] = net.choice.pick(&scores[row * net.scores], net.scores, net.u[at], room);
                first.here(color)[row * first.step()] = net.values[net.level[at]];
            }
        }
    }
}

}  // namespace

bool play_pixelcnn(Call& call) {
    Net net;
    Shape& shape = net.shape;
    for (int64_t* number : {&net.n, &shape.height, &shape.width, &shape.colors, &net.levels, &net.scores, &net.maps})
        *number = call.number();
    const int64_t head = call.number(), depth = call.number(), far = call.number(), reach = call.number();
    const int64_t colors = shape.colors, maps = net.maps, half = maps / 2;
    shape.slope = std::min(std::max(far, reach) + 1, shape.width);
    net.u = call.floats(net.n * colors * shape.height * shape.width);
    net.values = call.floats(net.levels);
    net.first.emplace_back(call, colors, maps, far, colors, false);
    for (int64_t k = 0; k < depth; ++k) {
        Conv down(call, maps, half, 0, colors, true), conv(call, half, half, reach, colors, true);
        Conv up(call, half, maps, 0, colors, true);
        net.blocks.push_back({std::move(down), std::move(conv), std::move(up)});
    }
    net.tail.emplace_back(call, maps, head, 0, colors, true);
    net.tail.emplace_back(call, head, head, 0, colors, true);
    net.tail.emplace_back(call, head, colors * net.scores, 0, colors, true);
    net.level = call.levels(net.n * colors * shape.height * shape.width);
    net.choice = call.choice;
    call.end();
    return play(net.n, call.threads, [&](int64_t first, int64_t last, const std::function<bool()>& stopped) {
        draw(net, first, last, stopped);
    });
}

}  // namespace triptych
