/* Weighted sums of rows in one pass: what blocks.py does with torch, to the same bits, as fast as memory allows.

   Every product and every sum is rounded to double as it stands: the compiler must not fuse them (setup.py says so).
   Where a result is not a number, its payload depends on the order of instructions; such blocks are left to torch. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define FOR_EVERY_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EVERY_PROCESSOR
#endif

#define BLOCK 2048
#define MAX_ROWS 4096

/* Sum one block into `total`; return whether all of it are numbers. */
#define SUMS(NAME, TYPE)                                                                                               \
    FOR_EVERY_PROCESSOR static int sum_##NAME(char *const *rows, const double *factors, Py_ssize_t row_count,          \
                                              double divisor, char *out, Py_ssize_t start, Py_ssize_t count) {         \
        double total[BLOCK];                                                                                           \
        int bad = 0;                                                                                                   \
        for (Py_ssize_t row = 0; row < row_count; row++) {                                                             \
            const char *from = rows[row] + start * (Py_ssize_t)sizeof(TYPE);                                           \
            double factor = factors[row];                                                                              \
            if (row == 0)                                                                                              \
                for (Py_ssize_t i = 0; i < count; i++) {                                                               \
                    TYPE value;                                                                                        \
                    memcpy(&value, from + i * (Py_ssize_t)sizeof(TYPE), sizeof(TYPE));                                 \
                    total[i] = factor == 1.0 ? (double)value : (double)value * factor;                                 \
                }                                                                                                      \
            else if (factor == 1.0)                                                                                    \
                for (Py_ssize_t i = 0; i < count; i++) {                                                               \
                    TYPE value;                                                                                        \
                    memcpy(&value, from + i * (Py_ssize_t)sizeof(TYPE), sizeof(TYPE));                                 \
                    total[i] += (double)value;                                                                         \
                }                                                                                                      \
            else                                                                                                       \
                for (Py_ssize_t i = 0; i < count; i++) {                                                               \
                    TYPE value;                                                                                        \
                    memcpy(&value, from + i * (Py_ssize_t)sizeof(TYPE), sizeof(TYPE));                                 \
                    double term = (double)value * factor;                                                              \
                    total[i] += term;                                                                                  \
                }                                                                                                      \
        }                                                                                                              \
        if (divisor != 1.0)                                                                                            \
            for (Py_ssize_t i = 0; i < count; i++) total[i] /= divisor;                                                \
        for (Py_ssize_t i = 0; i < count; i++) bad |= total[i] != total[i];                                            \
        if (bad) return 0;                                                                                             \
        for (Py_ssize_t i = 0; i < count; i++) {                                                                       \
            TYPE value = (TYPE)total[i];                                                                               \
            memcpy(out + (start + i) * (Py_ssize_t)sizeof(TYPE), &value, sizeof(TYPE));                                \
        }                                                                                                              \
        return 1;                                                                                                      \
    }

SUMS(single, float)
SUMS(twice, double)

static Py_ssize_t combine(char *const *rows, const double *factors, Py_ssize_t row_count, double divisor, char *out,
                          Py_ssize_t count, int width) {
    Py_ssize_t start = 0;
    while (start < count) {
        Py_ssize_t size = count - start < BLOCK ? count - start : BLOCK;
        int good = width == 4 ? sum_single(rows, factors, row_count, divisor, out, start, size)
                              : sum_twice(rows, factors, row_count, divisor, out, start, size);
        if (!good) break;
        start += size;
    }
    return start;
}

PyDoc_STRVAR(combine_doc,
             "combine(rows, factors, divisor, target, width): fill target with the weighted sum of rows of floats of\n"
             "4 or 8 bytes; return how many are done, less than all where a result is not a number.");

static PyObject *python_combine(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *rows, *factors, *done = NULL;
    Py_buffer target, *held = NULL;
    char **at = NULL;
    double divisor, *weights = NULL;
    int width;
    Py_ssize_t count, taken = 0;
    if (!PyArg_ParseTuple(arguments, "O!O!dw*i", &PyTuple_Type, &rows, &PyTuple_Type, &factors, &divisor, &target,
                          &width))
        return NULL;
    count = PyTuple_Size(rows);
    if (count < 1 || count > MAX_ROWS || PyTuple_Size(factors) != count || (width != 4 && width != 8) ||
        target.len % width) {
        PyErr_SetString(PyExc_ValueError, "rows, factors, target and width do not fit together");
        goto end;
    }
    held = PyMem_Malloc(count * sizeof(Py_buffer));
    at = PyMem_Malloc(count * sizeof(char *));
    weights = PyMem_Malloc(count * sizeof(double));
    if (!held || !at || !weights) {
        PyErr_NoMemory();
        goto end;
    }
    for (; taken < count; taken++) {
        if (PyObject_GetBuffer(PyTuple_GetItem(rows, taken), &held[taken], PyBUF_SIMPLE) < 0) goto end;
        at[taken] = held[taken].buf;
        weights[taken] = PyFloat_AsDouble(PyTuple_GetItem(factors, taken));
        if (held[taken].len != target.len) PyErr_SetString(PyExc_ValueError, "rows and target differ in length");
        if (PyErr_Occurred()) {
            taken++;
            goto end;
        }
    }
    {
        Py_ssize_t written;
        Py_BEGIN_ALLOW_THREADS
        written = combine(at, weights, count, divisor, target.buf, target.len / width, width);
        Py_END_ALLOW_THREADS
        done = PyLong_FromSsize_t(written);
    }
end:
    while (taken) PyBuffer_Release(&held[--taken]);
    PyMem_Free(held);
    PyMem_Free(at);
    PyMem_Free(weights);
    PyBuffer_Release(&target);
    return done;
}

static PyMethodDef methods[] = {{"combine", python_combine, METH_VARARGS, combine_doc}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_sums", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__sums(void) { return PyModuleDef_Init(&definition); }
