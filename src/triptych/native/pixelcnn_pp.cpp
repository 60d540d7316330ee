// PixelCNN++ (`models.autoregressive.pixelcnn_pp`): one stream row by row, the other pixel by pixel (`streams.h`), each
// activation once; a smaller resolution takes part in every other row and column.
#include <algorithm>
#include <memory>

#include "call.h"
#include "mixture.h"
#include "streams.h"

namespace triptych {

namespace {

using namespace streams;

// A resolution and, inside it, the smaller ones.
struct Scale {
    std::vector<Block> down_u, down_v, up_u, up_v;
    std::unique_ptr<Scale> inner;
    Conv shrink_u, shrink_v;
    Matrix even[2], odd[2], grow_v;  // of two rows, at even and at odd columns; of all four pixels
    const float *grow_u_bias, *grow_v_bias;

    Scale(Call& call, int64_t n, int64_t maps, int64_t blocks, int64_t halvings) {
        for (int64_t k = 0; k < blocks; ++k) {
            down_u.emplace_back(call, n, maps, 3, 0);
            down_v.emplace_back(call, n, maps, 2, 1);
        }
        for (int64_t k = 0; k < blocks + (halvings > 0); ++k) {
            up_u.emplace_back(call, n, maps, 3, 1);
            up_v.emplace_back(call, n, maps, 2, 2);
        }
        if (!halvings) return;
        shrink_u = Conv(call, 3, maps, maps), shrink_v = Conv(call, 2, maps, maps);
        for (int64_t row = 0; row < 2; ++row) {
            even[row] = Matrix(call.floats(maps * maps), maps, maps, maps);
            odd[row] = Matrix(call.floats(2 * maps * maps), maps, 2 * maps, maps);
        }
        grow_u_bias = call.floats(maps);
        grow_v = Matrix(call.floats(maps * 4 * maps), 4 * maps, maps, 4 * maps);
        grow_v_bias = call.floats(4 * maps);
        inner.reset(new Scale(call, n, maps, blocks, halvings - 1));
    }
};

struct Net {
    int64_t n, height, width, colors, levels, maps, components, padded;
    const float *u, *values, *edges, *above_bias, *out_bias;
    Conv first;
    Matrix above, left, out;
    std::unique_ptr<Scale> scale;
    int64_t* level;
    Choice choice;
};

// A resolution, and the smaller ones, of images that are being drawn.
class Drawing {
   public:
    Drawing(const Scale& scale, int64_t begin, int64_t n, int64_t width, int64_t maps)
        : scale(scale), n(n), width(width), maps(maps), shrink_u(n, width, maps), shrink_v(n, width, maps, maps),
          room(n * width, maps) {
        auto fill = [&](const std::vector<Block>& us, const std::vector<Block>& vs, auto& rows, auto& pixels) {
            for (const Block& block : us) rows.emplace_back(block, begin, n, width, maps);
            for (const Block& block : vs) pixels.emplace_back(block, begin, n, width, maps);
        };
        fill(scale.down_u, scale.down_v, down_u, down_v);
        fill(scale.up_u, scale.up_v, up_u, up_v);
        us.assign(down_u.size() + 1, zeros(n * width * maps));
        vs.assign(down_v.size() + 1, zeros(n * maps));
        if (!scale.inner) return;
        inner.reset(new Drawing(*scale.inner, begin, n, width / 2, maps));
        for (auto& row : grown_u) row = zeros(n * width * maps);
        grown_v = zeros(2 * width * n * maps);
        small_u = zeros(n * (width / 2 + 1) * maps), small_v = zeros(n * maps), four = zeros(n * 4 * maps);
    }

    // Begins a row of u [n, width, maps], which is changed.
    void row(std::vector<float>& u) {
        ++i;
        us[0] = u;
        for (size_t k = 0; k < down_u.size(); ++k) {
            us[k + 1] = us[k];
            down_u[k].apply(i, us[k + 1].data(), nullptr, room);
            down_v[k].row(room);
        }
        const std::vector<float>* other = &us.back();
        if (!inner) {
            u = *other--;
        } else {
            for (int64_t m = 0; m < n; ++m)
                std::copy_n(&us.back()[m * width * maps], width * maps, shrink_u.here(i, m, 0));
            if (i % 2 == 0) shrink();
            u = grown_u[i % 2];
        }
        for (size_t k = 0; k < up_u.size(); ++k) {
            up_u[k].apply(i, u.data(), (other--)->data(), room);
            up_v[k].row(room);
        }
    }

    // v [n, maps] at column j of that row, which is changed.
    void pixel(int64_t j, std::vector<float>& v) {
        vs[0] = v;
        for (size_t k = 0; k < down_v.size(); ++k) {
            vs[k + 1] = vs[k];
            down_v[k].apply(j, vs[k + 1].data(), nullptr, room);
        }
        const std::vector<float>* other = &vs.back();
        if (!inner) {
            v = *other--;
        } else {
            for (int64_t m = 0; m < n; ++m) std::copy_n(&vs.back()[m * maps], maps, shrink_v.here(m, j));
            if (i % 2 == 0 && j % 2 == 0) {
                shrink_v.apply(scale.shrink_v, j, small_v.data());
                inner->pixel(j / 2, small_v);
                scale.grow_v.product(n, small_v.data(), maps, four.data(), 4 * maps, scale.grow_v_bias, 0);
                for (int64_t part = 0; part < 4; ++part)  // [2 rows, width, n, maps]
                    for (int64_t m = 0; m < n; ++m)
                        std::copy_n(&four[(m * 4 + part) * maps], maps,
                                    &grown_v[((part / 2 * width + j + part % 2) * n + m) * maps]);
            }
            std::copy_n(&grown_v[(i % 2 * width + j) * n * maps], n * maps, v.data());
        }
        for (size_t k = 0; k < up_v.size(); ++k) up_v[k].apply(j, v.data(), (other--)->data(), room);
    }

   private:
    // The row of the smaller resolution, and the two that come back.
    void shrink() {
        const int64_t half = width / 2;
        shrink_v.row(scale.shrink_v, scale.shrink_v.bias, 0);
        std::vector<float> small = zeros(n * half * maps);
        shrink_u.apply(scale.shrink_u, i, small.data(), scale.shrink_u.bias, 0, 2);
        inner->row(small);
        for (int64_t m = 0; m < n; ++m) {  // with zeros to the right
            float* from = &small_u[m * (half + 1) * maps];
            std::copy_n(&small[m * half * maps], half * maps, from);
            for (int64_t r = 0; r < 2; ++r) {
                float* to = &grown_u[r][m * width * maps];
                scale.even[r].product(half, from, maps, to, 2 * maps, scale.grow_u_bias, 0);
                scale.odd[r].product(half, from, maps, to + maps, 2 * maps, scale.grow_u_bias, 0);
            }
        }
    }

    const Scale& scale;
    int64_t n, width, maps, i = -1;
    std::vector<RowBlock> down_u, up_u;
    std::vector<PixelBlock> down_v, up_v;
    Rows shrink_u;
    Pixels shrink_v;
    Room room;
    std::unique_ptr<Drawing> inner;
    std::vector<std::vector<float>> us, vs;
    std::vector<float> grown_u[2], grown_v, small_u, small_v, four;
};

void draw(const Net& net, int64_t begin, int64_t end, const std::function<bool()>& stopped) {
    const int64_t n = end - begin, width = net.padded, maps = net.maps, colors = net.colors, cell = colors + 1;
    const int64_t count = net.out.outputs, pitch = (width + 2) * cell, pixels = net.height * net.width;
    // The image with a channel that is one inside of it: [3 rows, n, 1 + width + 1, cell]
    std::vector<float> image = zeros(3 * n * pitch), u = zeros(n * width * maps), told = u, v = zeros(n * maps), active = v;
    std::vector<float> parameters = zeros(n * count), scores = zeros(net.levels + LANES), pixel = zeros(colors), room;
    Drawing drawing(*net.scale, begin, n, width, maps);
    Mixture mixture(colors, net.levels, net.components, net.edges);
    for (int64_t i = 0; i < net.height; ++i) {
        float *now = &image[i % 3 * n * pitch], *last = &image[(i + 2) % 3 * n * pitch];
        const float* before = &image[(i + 1) % 3 * n * pitch];
        for (int64_t m = 0; m < n; ++m) {
            const int64_t at = m * width * maps;
            net.first.above.product(width, before + m * pitch, cell, &u[at], maps, net.first.bias, 0);
            net.first.own.product(width, last + m * pitch, cell, &u[at], maps, &u[at], maps);
            net.above.product(width, last + m * pitch, cell, &told[at], maps, net.above_bias, 0);
        }
        drawing.row(u);
        for (int64_t j = 0; j < net.width; ++j) {
            if (stopped()) return;
            net.left.product(n, now + j * cell, pitch, v.data(), maps, &told[j * maps], width * maps);
            drawing.pixel(j, v);
            each(n * maps, active.data(), v.data(), v.data(), [](Vector a, Vector) { return elu(a); });
            net.out.product(n, active.data(), maps, parameters.data(), count, net.out_bias, 0);
            for (int64_t m = 0; m < n; ++m) {
                float* to = now + m * pitch + (1 + j) * cell;
                mixture.begin(&parameters[m * count]);
                for (int64_t color = 0; color < colors; ++color) {
                    const int64_t at = ((begin + m) * colors + color) * pixels + i * net.width + j;
                    mixture.score(color, to, scores);
                    if (net.level[at] < 0) net.level[at] = net.choice.pick(scores.data(), net.levels, net.u[at], room);
                    mixture.know(net.level[at]);
                    to[color] = net.values[net.level[at]];
                }
                to[colors] = 1;
            }
        }
    }
}

}  // namespace

bool play_pixelcnn_pp(Call& call) {
    Net net;
    for (int64_t* number : {&net.n, &net.height, &net.width, &net.colors, &net.levels, &net.maps, &net.components})
        *number = call.number();
    const int64_t blocks = call.number(), halvings = call.number(), maps = net.maps, cell = net.colors + 1;
    const int64_t count = net.components * (1 + 2 * net.colors + net.colors * (net.colors - 1) / 2);
    net.padded = (net.width + (int64_t(1) << halvings) - 1) >> halvings << halvings;
    net.u = call.floats(net.n * net.colors * net.height * net.width);
    net.values = call.floats(net.levels);
    net.edges = call.floats(net.levels - 1);
    net.first = Conv(call, 3, cell, maps);
    net.above = Matrix(call.floats(3 * cell * maps), maps, 3 * cell, maps);
    net.above_bias = call.floats(maps);
    net.left = Matrix(call.floats(cell * maps), maps, cell, maps);
    net.scale.reset(new Scale(call, net.n, maps, blocks, halvings));
    net.out = Matrix::of(call.floats(count * maps), count, maps);
    net.out_bias = call.floats(count);
    net.level = call.levels(net.n * net.colors * net.height * net.width);
    net.choice = call.choice;
    call.end();
    return play(net.n, call.threads, [&](int64_t first, int64_t last, const std::function<bool()>& stopped) {
        draw(net, first, last, stopped);
    });
}

}  // namespace triptych
