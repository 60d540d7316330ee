// What a sampler is called with from Python: whole numbers, arrays of float32 in an agreed order, the levels to fill in,
// how to pick them, and on how many threads.
#pragma once

#include <Python.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "kernels.h"

namespace triptych {

class Call {
   public:
    // Raises std::invalid_argument, or leaves a Python error and raises std::domain_error.
    explicit Call(PyObject* arguments);
    ~Call();
    Call(const Call&) = delete;

    // The next whole number, and the next array, which must have so many numbers.
    int64_t number();
    const float* floats(int64_t size);

    int64_t* levels(int64_t size);
    void end() const;  // all was taken

    Choice choice;
    int64_t threads = 1;

   private:
    const Py_buffer& take(int64_t size);

    std::vector<int64_t> numbers;
    std::vector<Py_buffer> arrays;
    Py_buffer level{};
    size_t next_number = 0, next_array = 0;
};

bool play_gated(Call& call);
bool play_transformer(Call& call);
bool play_wavenet(Call& call);
bool play_pixelsnail(Call& call);
bool play_pixelcnn(Call& call);
bool play_pixelcnn_pp(Call& call);
bool play_lstm(Call& call);
bool play_nade(Call& call);
bool play_made(Call& call);

}  // namespace triptych
