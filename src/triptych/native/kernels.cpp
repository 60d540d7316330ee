#include <Python.h>

#include "kernels.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <numeric>
#include <thread>

namespace triptych {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int64_t ROWS = 8;  // of a product that are computed together: as many as registers hold
#else
constexpr int64_t ROWS = 5;
#endif

void Matrix::make_room() {
    memory.resize((outputs + PANEL - 1) / PANEL * inputs * PANEL + 16);
    panels = memory.data();
    panels += (64 - reinterpret_cast<uintptr_t>(panels) % 64) % 64 / 4;
}

Matrix::Matrix(const float* rows, int64_t stride, int64_t inputs, int64_t outputs) : inputs(inputs), outputs(outputs) {
    make_room();
    float* to = panels;
    for (int64_t c = 0; c < outputs; c += PANEL)
        for (int64_t k = 0; k < inputs; ++k, to += PANEL)
            std::memcpy(to, rows + k * stride + c, 4 * std::min<int64_t>(PANEL, outputs - c));
}

Matrix Matrix::of(const float* weight, int64_t outputs, int64_t inputs) {
    Matrix made;
    made.inputs = inputs, made.outputs = outputs;
    made.make_room();
    float* to = made.panels;
    for (int64_t c = 0; c < outputs; c += PANEL, to += inputs * PANEL) {
        const int64_t width = std::min<int64_t>(PANEL, outputs - c);
        for (int64_t first = 0; first < inputs; first += 16)  // what is read and what is written stay near
            for (int64_t i = 0; i < width; ++i)
                for (int64_t k = first; k < std::min(first + 16, inputs); ++k)
                    to[k * PANEL + i] = weight[(c + i) * inputs + k];
    }
    return made;
}

namespace {

// C vectors, two a panel, for R rows. With few rows there are several panels, so that one addition need not wait for the
// other. The order of additions is the same for all: what comes out for a row does not depend on the rows beside it.
template <int R, int C>
inline void panels_of(int64_t inputs, const float* a, int64_t lda, const float* w, float* out, int64_t ldout,
                      const float* start, int64_t ldstart, int64_t width) {
    Vector sum[R][C];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) sum[r][c] = Vector{};
    const int64_t apart = inputs * PANEL;
    for (int64_t k = 0; k < inputs; ++k) {
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
            const Vector column = load(w + c / 2 * apart + k * PANEL + c % 2 * LANES);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) sum[r][c] += a[r * lda + k] * column;
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        if (width == C * LANES) {
#pragma GCC unroll 8
            for (int c = 0; c < C; ++c)
                store(out + r * ldout + c * LANES,
                      start ? sum[r][c] + load(start + r * ldstart + c * LANES) : sum[r][c]);
        } else {
            float part[C * LANES];
#pragma GCC unroll 8
            for (int c = 0; c < C; ++c) store(part + c * LANES, sum[r][c]);
            for (int64_t i = 0; i < width; ++i)
                out[r * ldout + i] = start ? part[i] + start[r * ldstart + i] : part[i];
        }
    }
}

}  // namespace

void Matrix::product(int64_t rows, const float* a, int64_t lda, float* out, int64_t ldout, const float* start,
                     int64_t ldstart) const {
    // Few rows: all of them for some columns after the other. Many: a panel is read again and again while it is near.
    const int64_t wide = rows == 1 ? 4 * PANEL : rows <= 3 ? 2 * PANEL : PANEL;
    const float* w = panels;
    for (int64_t c = 0; c < outputs;) {
        const int64_t left = outputs - c, step = left > wide - PANEL ? wide : PANEL, width = std::min(step, left);
        const int64_t blocks = (rows + ROWS - 1) / ROWS;  // as equal as they can be: a block of few rows is slow
        for (int64_t block = 0, m = 0; block < blocks; ++block) {
            const float *x = a + m * lda, *s = start ? start + m * ldstart + c : nullptr;
            float* y = out + m * ldout + c;
            const int64_t due = rows * (block + 1) / blocks - m;
#define CASE(R, C) panels_of<R, C>(inputs, x, lda, w, y, ldout, s, ldstart, width)
#define CASES(C)                   \
    if (due == 1) CASE(1, C);      \
    else if (due == 2) CASE(2, C); \
    else if (due == 3) CASE(3, C); \
    else if (due == 4) CASE(4, C); \
    else if (due == 5) CASE(5, C); \
    else if (due == 6) CASE(6, C); \
    else if (due == 7) CASE(7, C); \
    else CASE(8, C)
            if (step == 4 * PANEL) CASE(1, 8);
            else if (step == 2 * PANEL) due == 2 ? CASE(2, 4) : CASE(3, 4);
            else if (width > LANES) { CASES(2); }
            else { CASES(1); }
#undef CASES
#undef CASE
            m += due;
        }
        c += width, w += step / PANEL * inputs * PANEL;
    }
}

std::vector<Matrix> by_color(const float* rows, int64_t colors, int64_t outputs, int64_t before, int64_t part) {
    std::vector<Matrix> matrices;
    const int64_t own = outputs / colors;
    for (int64_t k = 0; k < colors; ++k)
        matrices.emplace_back(rows + k * own, outputs, before + (k + 1) * part, own);
    return matrices;
}

void recall(int64_t seen, int64_t key_size, int64_t size, const float* query, const float* keys, const float* values,
            float* alike, float* out) {
    constexpr int SPAN = 4;
    const int64_t piece = key_size * LANES;
    int64_t t = 0;
    for (const float* at = keys; t < seen; t += LANES, at += piece) {
        Vector sum[2] = {};
        int64_t d = 0;
        for (; d + 2 <= key_size; d += 2) {
            sum[0] += query[d] * load(at + d * LANES);
            sum[1] += query[d + 1] * load(at + (d + 1) * LANES);
        }
        if (d < key_size) sum[0] += query[d] * load(at + d * LANES);
        store(alike + t, sum[0] + sum[1]);
    }
    const float top = *std::max_element(alike, alike + seen);
    each(seen, alike, alike, alike, [=](Vector a, Vector) { return exponential(clamp(a - top, -87.0f, 0.0f)); });
    Vector sums{};
    for (t = 0; t + LANES <= seen; t += LANES) sums += load(alike + t);
    float all = total(sums);
    for (; t < seen; ++t) all += alike[t];
    const float share = 1 / all;

    int64_t c = 0;
    for (; c + LANES <= size; c += LANES) {
        Vector sum[SPAN] = {};
        for (t = 0; t + SPAN <= seen; t += SPAN)
#pragma GCC unroll 4
            for (int s = 0; s < SPAN; ++s) sum[s] += alike[t + s] * load(values + (t + s) * size + c);
        for (; t < seen; ++t) sum[0] += alike[t] * load(values + t * size + c);
        store(out + c, (sum[0] + sum[1] + (sum[2] + sum[3])) * share);
    }
    for (; c < size; ++c) {
        float sum = 0;
        for (t = 0; t < seen; ++t) sum += alike[t] * values[t * size + c];
        out[c] = sum * share;
    }
}

void Choice::steer(float* scores, int64_t levels) const {
    const float never = -INFINITY, top = *std::max_element(scores, scores + levels);
    if (temperature == 0) {
        const int64_t best = std::max_element(scores, scores + levels) - scores;
        std::fill(scores, scores + levels, never);
        scores[best] = 0;
        return;
    }
    const float divide = static_cast<float>(std::max(temperature, 1.1754943508222875e-38));
    for (int64_t i = 0; i < levels; ++i) scores[i] = (scores[i] == top ? 0.0f : scores[i] - top) / divide;
    if (top_k > 0 && top_k < levels) {
        std::vector<float> ranked(scores, scores + levels);
        std::nth_element(ranked.begin(), ranked.begin() + (top_k - 1), ranked.end(), std::greater<float>());
        const float least = ranked[top_k - 1];
        for (int64_t i = 0; i < levels; ++i) scores[i] = scores[i] < least ? never : scores[i];
    }
    if (top_p < 1) {
        std::vector<int64_t> place(levels);
        std::iota(place.begin(), place.end(), 0);
        std::stable_sort(place.begin(), place.end(), [&](int64_t i, int64_t j) { return scores[i] > scores[j]; });
        double total = 0, before = 0;
        for (int64_t i = 0; i < levels; ++i) total += std::exp(double(scores[i]));
        for (int64_t i : place) {
            const double p = std::exp(double(scores[i])) / total;
            if (before >= top_p * (1 - 1e-6)) scores[i] = never;  // those before it reached top_p already
            before += p;
        }
    }
}

int64_t Choice::pick(float* scores, int64_t levels, float u, std::vector<float>& room) const {
    const bool faithful = temperature == 1 && top_k == 0 && top_p == 1;
    float pair[2];
    if (levels == 1) {
        if (faithful) return 1.0f / (1.0f + std::exp(scores[0])) <= u;
        pair[0] = 0, pair[1] = scores[0];
        scores = pair, levels = 2;
    }
    if (!faithful) steer(scores, levels);
    const float top = *std::max_element(scores, scores + levels);
    room.resize(levels + LANES);
    double total = 0, below = 0;
    int64_t i = 0;
    for (; i + LANES <= levels; i += LANES)  // -inf becomes exp(-80): see below
        store(&room[i], exponential(clamp(load(scores + i) - top, -80.0f, 0.0f)));
    for (; i < levels; ++i) room[i] = std::exp(scores[i] - top);
    for (i = 0; i < levels; ++i) total += room[i] = scores[i] - top < -80.0f ? 0.0f : room[i];
    const float share = static_cast<float>(1 / total);
    int64_t last = 0;  // of those before the sum of all is reached
    float sum = 0;
    for (i = 0; i < levels; ++i) room[i] = sum = static_cast<float>(below += room[i] * share);
    for (i = 0; i < levels && room[i] <= u && room[i] < sum; ++i) last = i + 1;
    return last;
}

bool play(int64_t n, int64_t threads, const std::function<void(int64_t, int64_t, const std::function<bool()>&)>& part) {
    if (n <= 0) return true;
    threads = std::max<int64_t>(1, std::min(threads, n));
    std::atomic<bool> stop{false};
    std::mutex lock;
    std::condition_variable change;
    int64_t running = threads;
    std::exception_ptr failure;
    const std::function<bool()> stopped = [&] { return stop.load(std::memory_order_relaxed); };
    bool error = false;
    PyThreadState* state = PyEval_SaveThread();
    std::vector<std::thread> workers;
    auto work = [&](int64_t first, int64_t last) {
        std::exception_ptr caught;
        try {
            part(first, last, stopped);
        } catch (...) {
            caught = std::current_exception();
            stop = true;
        }
        std::lock_guard<std::mutex> held(lock);
        if (caught) failure = caught;
        --running;
        change.notify_all();
    };
    try {
        for (int64_t t = 0; t < threads; ++t) workers.emplace_back(work, n * t / threads, n * (t + 1) / threads);
    } catch (...) {  // no more threads are to be had
        failure = std::current_exception();
        std::lock_guard<std::mutex> held(lock);
        running -= threads - static_cast<int64_t>(workers.size());
        stop = true;
    }
    while (true) {
        {
            std::unique_lock<std::mutex> held(lock);
            if (change.wait_for(held, std::chrono::milliseconds(100), [&] { return running == 0; })) break;
        }
        PyEval_RestoreThread(state);
        if (!error && PyErr_CheckSignals()) error = stop = true;
        state = PyEval_SaveThread();
    }
    for (auto& worker : workers) worker.join();
    PyEval_RestoreThread(state);
    if (failure && !error) {
        PyErr_NoMemory();
        error = true;
    }
    return !error;
}

}  // namespace triptych
