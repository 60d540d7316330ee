// The two streams of PixelCNN++ (`models.autoregressive.pixelcnn_pp`): their convolutions and gated blocks, row by row
// and pixel by pixel, each remembering the rows and the pixels before.
#pragma once

#include <vector>

#include "call.h"
#include "kernels.h"

namespace triptych {

namespace streams {

// A convolution of two rows: the weights of the row above, and of the pixel's own.
struct Conv {
    Matrix above, own;
    const float* bias;

    Conv() = default;
    Conv(Call& call, int64_t cells, int64_t inputs, int64_t outputs, int64_t biases = 1) {
        const float* rows = call.floats(2 * cells * inputs * outputs);
        above = Matrix(rows, outputs, cells * inputs, outputs);
        own = Matrix(rows + cells * inputs * outputs, outputs, cells * inputs, outputs);
        bias = call.floats(biases * outputs);
    }
};

// A gated block; what tells it something are 1 x 1 convolutions.
struct Block {
    Conv first, second;  // the bias of the second is each item's own
    std::vector<Matrix> told;

    Block(Call& call, int64_t n, int64_t maps, int64_t cells, int64_t others)
        : first(call, cells, 2 * maps, maps), second(call, cells, 2 * maps, 2 * maps, n) {
        for (int64_t k = 0; k < others; ++k) told.push_back(Matrix::of(call.floats(2 * maps * maps), maps, 2 * maps));
    }
};

// Two rows of a convolution's input, with a zero on either side: [2, n, 1 + width + 1, inputs].
struct Rows {
    int64_t n, width, inputs, pitch;
    std::vector<float> cells;

    Rows(int64_t n, int64_t width, int64_t inputs)
        : n(n), width(width), inputs(inputs), pitch((width + 2) * inputs), cells(zeros(2 * n * pitch)) {}

    float* here(int64_t i, int64_t m, int64_t j) { return &cells[(i % 2 * n + m) * pitch + (1 + j) * inputs]; }

    // Row i of the output, of every pixel or every other one; `apart`: the numbers from one item's bias to the next.
    void apply(const Conv& conv, int64_t i, float* out, const float* bias, int64_t apart, int64_t stride = 1) {
        const int64_t outputs = conv.own.outputs, size = width / stride;
        for (int64_t m = 0; m < n; ++m, out += size * outputs) {
            conv.above.product(size, here(i + 1, m, -1), stride * inputs, out, outputs, bias + m * apart, 0);
            conv.own.product(size, here(i, m, -1), stride * inputs, out, outputs, out, outputs);
        }
    }
};

// One row of a convolution's input, with a zero to the left, and what the row above gave to each column.
struct Pixels {
    int64_t n, width, inputs, outputs, pitch;
    std::vector<float> cells, add;

    Pixels(int64_t n, int64_t width, int64_t inputs, int64_t outputs)
        : n(n), width(width), inputs(inputs), outputs(outputs), pitch((width + 1) * inputs), cells(zeros(n * pitch)),
          add(zeros(n * width * outputs)) {}

    float* here(int64_t m, int64_t j) { return &cells[m * pitch + (1 + j) * inputs]; }

    void row(const Conv& conv, const float* bias, int64_t apart) {
        for (int64_t m = 0; m < n; ++m)
            conv.above.product(width, here(m, -1), inputs, &add[m * width * outputs], outputs, bias + m * apart, 0);
    }

    void apply(const Conv& conv, int64_t j, float* out) {
        conv.own.product(n, here(0, j - 1), pitch, out, outputs, &add[j * outputs], width * outputs);
    }
};

// Room for what comes and goes.
struct Room {
    std::vector<float> wide, between, ab;

    Room(int64_t cells, int64_t maps)
        : wide(zeros(cells * 2 * maps)), between(zeros(cells * maps)), ab(zeros(cells * 2 * maps)) {}
};

inline void all_ways(int64_t cells, int64_t maps, const float* x, float* out) {
    for (int64_t cell = 0; cell < cells; ++cell) both_ways(maps, x + cell * maps, out + cell * 2 * maps);
}

// A block of the stream of rows.
struct RowBlock {
    const Block& block;
    const float* bias;
    Rows first, second;

    RowBlock(const Block& block, int64_t begin, int64_t n, int64_t width, int64_t maps)
        : block(block), bias(block.second.bias + begin * 2 * maps), first(n, width, 2 * maps),
          second(n, width, 2 * maps) {}

    // Changes row i of x [n, width, maps]; leaves what x is then, both ways, in the room.
    void apply(int64_t i, float* x, const float* other, Room& room) {
        const int64_t n = first.n, width = first.width, maps = first.inputs / 2, cells = n * width;
        for (int64_t m = 0; m < n; ++m) all_ways(width, maps, x + m * width * maps, first.here(i, m, 0));
        float* y = room.between.data();
        first.apply(block.first, i, y, block.first.bias, 0);
        if (other) {
            all_ways(cells, maps, other, room.wide.data());
            block.told[0].product(cells, room.wide.data(), 2 * maps, y, maps, y, maps);
        }
        for (int64_t m = 0; m < n; ++m) all_ways(width, maps, y + m * width * maps, second.here(i, m, 0));
        second.apply(block.second, i, room.ab.data(), bias, 2 * maps);
        add_gated(cells, maps, room.ab.data(), x);
        all_ways(cells, maps, x, room.wide.data());
    }
};

// A block of the stream of pixels.
struct PixelBlock {
    const Block& block;
    const float* bias;
    Pixels first, second;

    PixelBlock(const Block& block, int64_t begin, int64_t n, int64_t width, int64_t maps)
        : block(block), bias(block.second.bias + begin * 2 * maps), first(n, width, 2 * maps, maps),
          second(n, width, 2 * maps, 2 * maps) {}

    // Begins a row: what the row above, the class, and the other stream, which lies in the room, give to it.
    void row(const Room& room) {
        const int64_t cells = first.n * first.width, maps = first.outputs;
        first.row(block.first, block.first.bias, 0);
        block.told[0].product(cells, room.wide.data(), 2 * maps, first.add.data(), maps, first.add.data(), maps);
        second.row(block.second, bias, 2 * maps);
    }

    void apply(int64_t j, float* x, const float* other, Room& room) {
        const int64_t n = first.n, maps = first.outputs;
        for (int64_t m = 0; m < n; ++m) both_ways(maps, x + m * maps, first.here(m, j));
        float* y = room.between.data();
        first.apply(block.first, j, y);
        if (other) {
            all_ways(n, maps, other, room.wide.data());
            block.told[1].product(n, room.wide.data(), 2 * maps, y, maps, y, maps);
        }
        for (int64_t m = 0; m < n; ++m) both_ways(maps, y + m * maps, second.here(m, j));
        second.apply(block.second, j, room.ab.data());
        add_gated(n, maps, room.ab.data(), x);
    }
};

}  // namespace streams

}  // namespace triptych
