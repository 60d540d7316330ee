// The Python module: each sampler is a function of (numbers, arrays, levels, choice, threads).
#include "call.h"

namespace triptych {

namespace {

Py_buffer view(PyObject* array, int flags, const char* formats, Py_ssize_t itemsize) {
    Py_buffer buffer;
    if (PyObject_GetBuffer(array, &buffer, flags | PyBUF_FORMAT | PyBUF_C_CONTIGUOUS)) throw std::domain_error("buffer");
    if (!buffer.format || buffer.itemsize != itemsize || !std::strchr(formats, buffer.format[0])) {
        PyBuffer_Release(&buffer);
        throw std::invalid_argument("an array of another type");
    }
    return buffer;
}

}  // namespace

Call::Call(PyObject* arguments) {
    PyObject *whole, *parts, *out;
    long long top_k, count;
    if (!PyArg_ParseTuple(arguments, "O!O!O(dLd)L", &PyTuple_Type, &whole, &PyTuple_Type, &parts, &out,
                          &choice.temperature, &top_k, &choice.top_p, &count))
        throw std::domain_error("arguments");
    choice.top_k = top_k, threads = count;
    try {
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(whole); ++i) {
            numbers.push_back(PyLong_AsLongLong(PyTuple_GET_ITEM(whole, i)));
            if (PyErr_Occurred()) throw std::domain_error("number");
        }
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(parts); ++i)
            arrays.push_back(view(PyTuple_GET_ITEM(parts, i), 0, "f", 4));
        level = view(out, PyBUF_WRITABLE, "lq", 8);
    } catch (...) {
        for (auto& array : arrays) PyBuffer_Release(&array);
        throw;
    }
}

Call::~Call() {
    for (auto& array : arrays) PyBuffer_Release(&array);
    if (level.obj) PyBuffer_Release(&level);
}

int64_t Call::number() {
    if (next_number == numbers.size()) throw std::invalid_argument("too few numbers");
    return numbers[next_number++];
}

const Py_buffer& Call::take(int64_t size) {
    if (next_array == arrays.size()) throw std::invalid_argument("too few arrays");
    const Py_buffer& array = arrays[next_array];
    if (array.len != 4 * size)
        throw std::invalid_argument("array " + std::to_string(next_array) + " has " + std::to_string(array.len / 4) +
                                    " numbers, not " + std::to_string(size));
    ++next_array;
    return array;
}

const float* Call::floats(int64_t size) { return static_cast<const float*>(take(size).buf); }

int64_t* Call::levels(int64_t size) {
    if (level.len != 8 * size) throw std::invalid_argument("another number of levels");
    return static_cast<int64_t*>(level.buf);
}

void Call::end() const {
    if (next_array != arrays.size() || next_number != numbers.size()) throw std::invalid_argument("too much");
}

namespace {

template <bool (*player)(Call&)>
PyObject* run(PyObject*, PyObject* arguments) {
    try {
        Call call(arguments);
        if (!player(call)) return nullptr;
        Py_RETURN_NONE;
    } catch (const std::domain_error&) {  // Python knows
        return nullptr;
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    } catch (const std::exception& e) {
        PyErr_SetString(PyExc_ValueError, e.what());
        return nullptr;
    }
}

// Levels from scores, without a network.
bool pick(Call& call) {
    const int64_t n = call.number(), levels = call.number();
    const float *scores = call.floats(n * levels), *u = call.floats(n);
    std::vector<float> own, room;
    for (int64_t m = 0; m < n; ++m) {
        own.assign(scores + m * levels, scores + (m + 1) * levels);
        call.levels(n)[m] = call.choice.pick(own.data(), levels, u[m], room);
    }
    call.end();
    return true;
}

PyMethodDef METHODS[] = {
    {"pick", run<pick>, METH_VARARGS, "Picks levels."},
    {"gated", run<play_gated>, METH_VARARGS, "Draws images by a Gated PixelCNN."},
    {"transformer", run<play_transformer>, METH_VARARGS, "Writes sequences by a causal transformer."},
    {"wavenet", run<play_wavenet>, METH_VARARGS, "Draws sound by WaveNet."},
    {"pixelsnail", run<play_pixelsnail>, METH_VARARGS, "Draws images by PixelSNAIL."},
    {"pixelcnn", run<play_pixelcnn>, METH_VARARGS, "Draws images by PixelCNN."},
    {"pixelcnn_pp", run<play_pixelcnn_pp>, METH_VARARGS, "Draws images by PixelCNN++."},
    {"lstm", run<play_lstm>, METH_VARARGS, "Writes sequences by an LSTM."},
    {"nade", run<play_nade>, METH_VARARGS, "Draws images by NADE."},
    {"made", run<play_made>, METH_VARARGS, "Draws images by MADE."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "triptych_native", "Samplers of Triptych.", -1, METHODS,
                      nullptr, nullptr, nullptr, nullptr};

}  // namespace

}  // namespace triptych

PyMODINIT_FUNC PyInit_triptych_native() { return PyModule_Create(&triptych::MODULE); }
