// What the samplers here are made of: small matrix products over windows of memory, gates, and the choice of a level.
// Plain C++17 with the vector types of GCC and Clang. No header of torch is included: they take ten times as long to
// compile as all of this.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

namespace triptych {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
constexpr int PANEL = 2 * LANES;  // columns of a product that are computed together

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int32_t Integers __attribute__((vector_size(4 * LANES)));

inline Vector load(const float* p) {
    Vector v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

inline void store(float* p, Vector v) { std::memcpy(p, &v, sizeof v); }

inline Vector splat(float a) { return Vector{} + a; }

// Numbers from `least` to `most`, for NaN `least`.
inline Vector clamp(Vector x, float least, float most) {
    x = x > splat(least) ? x : splat(least);
    return x < splat(most) ? x : splat(most);
}

// exp(x) for -87 <= x <= 88, to about 1e-7 of it: 2^n times a polynomial of what is left.
inline Vector exponential(Vector x) {
    const Vector magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
    Vector n = (x * 1.44269504f + magic) - magic;
    Vector r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    Vector p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    Integers power = (__builtin_convertvector(n, Integers) + 127) << 23;
    Vector scale;
    std::memcpy(&scale, &power, sizeof scale);
    return p * scale;
}

// log(x) of a positive number that is not denormal, to about 1e-7: the exponent, and a polynomial of what is left.
inline Vector logarithm(Vector x) {
    Integers bits;
    std::memcpy(&bits, &x, sizeof bits);
    Integers power = (bits >> 23) - 127;
    bits = (bits & 0x7fffff) | 0x3f800000;
    Vector m;
    std::memcpy(&m, &bits, sizeof m);
    const auto large = m > 1.41421356f;
    m = large ? m * 0.5f : m;
    const Vector n = __builtin_convertvector(large ? power + 1 : power, Vector), f = m - 1.0f, z = f * f;
    Vector p = splat(7.0376836292e-2f);
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    return f + (p * f * z - n * 2.12194440e-4f - 0.5f * z) + n * 0.693359375f;
}

// tanh(a) * sigmoid(b), by one division. Beyond the limits nothing changes in float32.
inline Vector gated(Vector a, Vector b) {
    Vector e = exponential(clamp(a * 2.0f, -30.0f, 30.0f)), f = exponential(clamp(-b, -80.0f, 50.0f));
    return (e - 1.0f) / ((e + 1.0f) * (f + 1.0f));
}

inline Vector sigmoid(Vector x) { return 1.0f / (1.0f + exponential(clamp(-x, -80.0f, 80.0f))); }

inline Vector elu(Vector x) { return x > 0.0f ? x : exponential(clamp(x, -80.0f, 0.0f)) - 1.0f; }

// out[i] = f(in[i]...) for `size` numbers, vector by vector; the last one by way of a copy.
template <class F>
inline void each(int64_t size, float* out, const float* a, const float* b, F f) {
    int64_t i = 0;
    for (; i + LANES <= size; i += LANES) store(out + i, f(load(a + i), load(b + i)));
    if (i < size) {
        float x[LANES] = {}, y[LANES] = {}, z[LANES];
        std::memcpy(x, a + i, 4 * (size - i));
        std::memcpy(y, b + i, 4 * (size - i));
        store(z, f(load(x), load(y)));
        std::memcpy(out + i, z, 4 * (size - i));
    }
}

inline Vector elu_of(Vector a, Vector) { return elu(a); }

// elu(x) and elu(-x)
inline void both_ways(int64_t size, const float* x, float* out) {
    each(size, out, x, x, elu_of);
    each(size, out + size, x, x, [](Vector a, Vector) { return elu(-a); });
}

// x += a * sigmoid(b), of n rows of x [size] and of [a, b] [2 * size].
inline void add_gated(int64_t n, int64_t size, const float* ab, float* x) {
    for (int64_t m = 0; m < n; ++m, ab += 2 * size, x += size) {
        int64_t i = 0;
        for (; i + LANES <= size; i += LANES) store(x + i, load(x + i) + load(ab + i) * sigmoid(load(ab + size + i)));
        for (; i < size; ++i) x[i] += ab[i] * (1 / (1 + std::exp(-ab[size + i])));
    }
}

// The sum of a vector's numbers.
inline float total(Vector v) {
    float parts[LANES], sum = 0;
    store(parts, v);
    for (float part : parts) sum += part;
    return sum;
}

// The sum of products of `size` numbers.
inline float dot(int64_t size, const float* a, const float* b) {
    Vector sum[4] = {};
    int64_t i = 0;
    for (; i + 4 * LANES <= size; i += 4 * LANES)
        for (int k = 0; k < 4; ++k) sum[k] += load(a + i + k * LANES) * load(b + i + k * LANES);
    for (; i + LANES <= size; i += LANES) sum[0] += load(a + i) * load(b + i);
    float all = total((sum[0] + sum[1]) + (sum[2] + sum[3]));
    for (; i < size; ++i) all += a[i] * b[i];
    return all;
}

// A matrix [inputs, outputs] in panels of columns, each with its rows one after the other, padded by zeros.
class Matrix {
   public:
    Matrix() = default;
    Matrix(Matrix&&) = default;  // a copy would point into the original's memory
    Matrix& operator=(Matrix&&) = default;
    // `outputs` columns of `inputs` rows that lie `stride` numbers apart.
    Matrix(const float* rows, int64_t stride, int64_t inputs, int64_t outputs);

    // That of a layer whose weights are [outputs, inputs], as torch's Linear has them.
    static Matrix of(const float* weight, int64_t outputs, int64_t inputs);

    // out[m] (+)= start[m] + a[m] @ this, for `rows` rows that lie `lda`, `ldout` and `ldstart` numbers apart (0: one
    // for all). `start` may be null (zeros), or `out` itself.
    void product(int64_t rows, const float* a, int64_t lda, float* out, int64_t ldout, const float* start,
                 int64_t ldstart) const;

    int64_t inputs = 0, outputs = 0;

   private:
    void make_room();
    std::vector<float> memory;
    float* panels = nullptr;
};

// Attention over places one after the other. The keys of LANES places lie together, number by number, so that memory is
// read from one end to the other; `keys` has room for whole groups of them.
inline void remember(int64_t place, int64_t size, const float* key, float* keys) {
    float* here = keys + place / LANES * size * LANES + place % LANES;
    for (int64_t d = 0; d < size; ++d) here[d * LANES] = key[d];
}

// What a query, which is scaled already, is told by the first `seen` places, at least one. `alike` has room for as many
// numbers and LANES more.
void recall(int64_t seen, int64_t key_size, int64_t size, const float* query, const float* keys, const float* values,
            float* alike, float* out);

// For each color the part of a masked layer that makes its outputs: color k sees `before` rows and k + 1 parts.
std::vector<Matrix> by_color(const float* rows, int64_t colors, int64_t outputs, int64_t before, int64_t part);

// How a level is picked from its scores (`core.sampling.Sampling`).
struct Choice {
    double temperature = 1, top_p = 1;
    int64_t top_k = 0;  // 0: no limit

    // The level that a uniform number stands for. Changes the scores. `room` is for as many numbers.
    int64_t pick(float* scores, int64_t levels, float u, std::vector<float>& room) const;

   private:
    void steer(float* scores, int64_t levels) const;
};

// Numbers that start out as zeros.
inline std::vector<float> zeros(int64_t size) { return std::vector<float>(size); }

// Plays `part(first, last, stopped)` on some threads, each with its share of n items, while this one looks out for
// signals; `stopped()` is to be asked now and then. Called with Python's lock held, which is let go meanwhile. False if
// a Python error is set.
bool play(int64_t n, int64_t threads, const std::function<void(int64_t, int64_t, const std::function<bool()>&)>& part);

}  // namespace triptych
