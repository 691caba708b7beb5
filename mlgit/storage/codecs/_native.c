/* The loops of kernels.py in C: the same bytes, many times faster, and without the interpreter's lock.

   Python's stable interface of 3.11 and nothing else, so that one build serves every later version. Where it cannot be
   compiled, kernels.py does the same with NumPy. Elements are little-endian unsigned integers of 1, 2, 4 or 8 bytes
   and may stand at any address. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define FOR_EVERY_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3")))
#else
#define FOR_EVERY_PROCESSOR
#endif

#define MAX_WIDTH 8
#define BLOCK 4096 /* elements worked on at a time, so that intermediate values stay in the first cache */

enum change { NONE, DIFFERENCE, EXCLUSIVE_OR };

/* Per width: `change` elements against a base into `out`, or back. */
#define CHANGES(NAME, TYPE, SIGNED, BITS)                                                                              \
    static inline TYPE order_##NAME(TYPE bits) {                                                                       \
        return bits ^ ((TYPE)((SIGNED)bits >> (BITS - 1)) & (TYPE)(((TYPE)1 << (BITS - 1)) - 1));                      \
    }                                                                                                                  \
    FOR_EVERY_PROCESSOR static void difference_##NAME(const uint8_t *raw, const uint8_t *base, TYPE *out,              \
                                                      Py_ssize_t count) {                                              \
        for (Py_ssize_t i = 0; i < count; i++) {                                                                       \
            TYPE a, b, d;                                                                                              \
            memcpy(&a, raw + i * sizeof(TYPE), sizeof(TYPE));                                                          \
            memcpy(&b, base + i * sizeof(TYPE), sizeof(TYPE));                                                         \
            d = (TYPE)(order_##NAME(a) - order_##NAME(b));                                                             \
            out[i] = (TYPE)((TYPE)(d << 1) ^ (TYPE)((SIGNED)d >> (BITS - 1)));                                         \
        }                                                                                                              \
    }                                                                                                                  \
    FOR_EVERY_PROCESSOR static void undo_difference_##NAME(const TYPE *given, const uint8_t *base, uint8_t *out,       \
                                                           Py_ssize_t count) {                                         \
        for (Py_ssize_t i = 0; i < count; i++) {                                                                       \
            TYPE z = given[i], b, d;                                                                                   \
            memcpy(&b, base + i * sizeof(TYPE), sizeof(TYPE));                                                         \
            d = (TYPE)((TYPE)(z >> 1) ^ (TYPE)(0 - (z & 1)));                                                          \
            d = order_##NAME((TYPE)(order_##NAME(b) + d));                                                             \
            memcpy(out + i * sizeof(TYPE), &d, sizeof(TYPE));                                                          \
        }                                                                                                              \
    }

CHANGES(2, uint16_t, int16_t, 16)
CHANGES(4, uint32_t, int32_t, 32)
CHANGES(8, uint64_t, int64_t, 64)
CHANGES(1, uint8_t, int8_t, 8)

FOR_EVERY_PROCESSOR static void exclusive_or(const uint8_t *a, const uint8_t *b, uint8_t *out, Py_ssize_t size) {
    for (Py_ssize_t i = 0; i < size; i++) out[i] = a[i] ^ b[i];
}

/* From elements to planes and back. The loops are written so that compilers vectorise them. */
FOR_EVERY_PROCESSOR static void split_2(const uint8_t *in, uint8_t *const *planes, Py_ssize_t count) {
    uint8_t *restrict p0 = planes[0], *restrict p1 = planes[1];
    for (Py_ssize_t i = 0; i < count; i++) p0[i] = in[2 * i], p1[i] = in[2 * i + 1];
}

FOR_EVERY_PROCESSOR static void split_4(const uint8_t *in, uint8_t *const *planes, Py_ssize_t count) {
    uint8_t *restrict p0 = planes[0], *restrict p1 = planes[1], *restrict p2 = planes[2], *restrict p3 = planes[3];
    for (Py_ssize_t i = 0; i < count; i++)
        p0[i] = in[4 * i], p1[i] = in[4 * i + 1], p2[i] = in[4 * i + 2], p3[i] = in[4 * i + 3];
}

FOR_EVERY_PROCESSOR static void split_8(const uint8_t *in, uint8_t *const *planes, Py_ssize_t count) {
    for (int plane = 0; plane < 8; plane++) {
        uint8_t *restrict p = planes[plane];
        for (Py_ssize_t i = 0; i < count; i++) p[i] = in[8 * i + plane];
    }
}

FOR_EVERY_PROCESSOR static void join_2(const uint8_t *const *planes, uint8_t *restrict out, Py_ssize_t count) {
    const uint8_t *p0 = planes[0], *p1 = planes[1];
    for (Py_ssize_t i = 0; i < count; i++) out[2 * i] = p0[i], out[2 * i + 1] = p1[i];
}

FOR_EVERY_PROCESSOR static void join_4(const uint8_t *const *planes, uint8_t *restrict out, Py_ssize_t count) {
    const uint8_t *p0 = planes[0], *p1 = planes[1], *p2 = planes[2], *p3 = planes[3];
    for (Py_ssize_t i = 0; i < count; i++)
        out[4 * i] = p0[i], out[4 * i + 1] = p1[i], out[4 * i + 2] = p2[i], out[4 * i + 3] = p3[i];
}

FOR_EVERY_PROCESSOR static void join_8(const uint8_t *const *planes, uint8_t *restrict out, Py_ssize_t count) {
    for (int plane = 0; plane < 8; plane++) {
        const uint8_t *p = planes[plane];
        for (Py_ssize_t i = 0; i < count; i++) out[8 * i + plane] = p[i];
    }
}

static void split_elements(const uint8_t *in, uint8_t *const *planes, Py_ssize_t count, int width) {
    switch (width) {
    case 1: memcpy(planes[0], in, count); break;
    case 2: split_2(in, planes, count); break;
    case 4: split_4(in, planes, count); break;
    default: split_8(in, planes, count);
    }
}

static void join_elements(const uint8_t *const *planes, uint8_t *out, Py_ssize_t count, int width) {
    switch (width) {
    case 1: memcpy(out, planes[0], count); break;
    case 2: join_2(planes, out, count); break;
    case 4: join_4(planes, out, count); break;
    default: join_8(planes, out, count);
    }
}

static void apply(enum change change, const uint8_t *raw, const uint8_t *base, uint64_t *out, Py_ssize_t count,
                  int width) {
    if (change == EXCLUSIVE_OR) {
        exclusive_or(raw, base, (uint8_t *)out, count * width);
        return;
    }
    switch (width) {
    case 1: difference_1(raw, base, (uint8_t *)out, count); break;
    case 2: difference_2(raw, base, (uint16_t *)out, count); break;
    case 4: difference_4(raw, base, (uint32_t *)out, count); break;
    default: difference_8(raw, base, out, count);
    }
}

static void undo(enum change change, const uint64_t *given, const uint8_t *base, uint8_t *out, Py_ssize_t count,
                 int width) {
    if (change == EXCLUSIVE_OR) {
        exclusive_or((const uint8_t *)given, base, out, count * width);
        return;
    }
    switch (width) {
    case 1: undo_difference_1((const uint8_t *)given, base, out, count); break;
    case 2: undo_difference_2((const uint16_t *)given, base, out, count); break;
    case 4: undo_difference_4((const uint32_t *)given, base, out, count); break;
    default: undo_difference_8(given, base, out, count);
    }
}

static void split(enum change change, const uint8_t *raw, const uint8_t *base, uint8_t *planes, Py_ssize_t count,
                  int width) {
    uint64_t work[BLOCK];
    uint8_t *at[MAX_WIDTH];
    for (Py_ssize_t start = 0; start < count; start += BLOCK) {
        Py_ssize_t size = count - start < BLOCK ? count - start : BLOCK;
        const uint8_t *from = raw + start * width;
        for (int plane = 0; plane < width; plane++) at[plane] = planes + plane * count + start;
        if (change != NONE) {
            apply(change, from, base + start * width, work, size, width);
            from = (const uint8_t *)work;
        }
        split_elements(from, at, size, width);
    }
}

static void join(enum change change, const uint8_t *const *planes, const uint8_t *base, uint8_t *out, Py_ssize_t count,
                 int width) {
    uint64_t work[BLOCK];
    const uint8_t *at[MAX_WIDTH];
    for (Py_ssize_t start = 0; start < count; start += BLOCK) {
        Py_ssize_t size = count - start < BLOCK ? count - start : BLOCK;
        uint8_t *to = out + start * width;
        for (int plane = 0; plane < width; plane++) at[plane] = planes[plane] + start;
        join_elements(at, change == NONE ? to : (uint8_t *)work, size, width);
        if (change != NONE) undo(change, work, base + start * width, to, size, width);
    }
}

/* What Python calls. */

static int wrong(const char *message) {
    PyErr_SetString(PyExc_ValueError, message);
    return 0;
}

static int check(enum change change, int width, Py_ssize_t raw, Py_ssize_t base) {
    if (width != 1 && width != 2 && width != 4 && width != 8) return wrong("elements have 1, 2, 4 or 8 bytes");
    if (raw % width) return wrong("the bytes are no whole elements");
    if (change < NONE || change > EXCLUSIVE_OR) return wrong("no such change");
    if (change != NONE && base != raw) return wrong("a base has as many bytes as what is compared with it");
    return 1;
}

PyDoc_STRVAR(split_doc, "split(change, raw, base, planes, width): fill the planes of raw, changed against base.");

static PyObject *python_split(PyObject *module, PyObject *arguments) {
    (void)module;
    int change, width;
    Py_buffer raw, base, planes;
    PyObject *done = NULL;
    if (!PyArg_ParseTuple(arguments, "iy*y*w*i", &change, &raw, &base, &planes, &width)) return NULL;
    if (check(change, width, raw.len, base.len) &&
        (planes.len == raw.len || wrong("planes have as many bytes as their elements"))) {
        Py_BEGIN_ALLOW_THREADS
        split(change, raw.buf, base.buf, planes.buf, raw.len / width, width);
        Py_END_ALLOW_THREADS
        done = Py_NewRef(Py_None);
    }
    PyBuffer_Release(&raw);
    PyBuffer_Release(&base);
    PyBuffer_Release(&planes);
    return done;
}

PyDoc_STRVAR(join_doc, "join(change, planes, base, out): fill out from a tuple of planes, the change against base undone.");

static PyObject *python_join(PyObject *module, PyObject *arguments) {
    (void)module;
    int change;
    Py_buffer base, out, planes[MAX_WIDTH];
    const uint8_t *at[MAX_WIDTH];
    PyObject *tuple, *done = NULL;
    Py_ssize_t width, held = 0;
    if (!PyArg_ParseTuple(arguments, "iO!y*w*", &change, &PyTuple_Type, &tuple, &base, &out)) return NULL;
    width = PyTuple_Size(tuple);
    if (check(change, width > MAX_WIDTH ? 0 : (int)width, out.len, base.len)) {
        Py_ssize_t count = out.len / width;
        for (; held < width; held++) {
            if (PyObject_GetBuffer(PyTuple_GetItem(tuple, held), &planes[held], PyBUF_SIMPLE) < 0) break;
            at[held] = planes[held].buf;
            if (planes[held].len != count) {
                wrong("a plane has one byte for each element");
                held++;
                break;
            }
        }
        if (!PyErr_Occurred()) {
            Py_BEGIN_ALLOW_THREADS
            join(change, at, base.buf, out.buf, count, (int)width);
            Py_END_ALLOW_THREADS
            done = Py_NewRef(Py_None);
        }
        while (held) PyBuffer_Release(&planes[--held]);
    }
    PyBuffer_Release(&base);
    PyBuffer_Release(&out);
    return done;
}

PyDoc_STRVAR(lower_bound_doc, "lower_bound(table, offset, count, stride, key): bisect records that begin with a key.");

static PyObject *python_lower_bound(PyObject *module, PyObject *arguments) {
    (void)module;
    Py_buffer table, key;
    Py_ssize_t offset, low = 0, count, stride;
    PyObject *done = NULL;
    if (!PyArg_ParseTuple(arguments, "y*nnny*", &table, &offset, &count, &stride, &key)) return NULL;
    if (offset < 0 || count < 0 || stride < 1 || key.len > stride || offset > table.len ||
        count > (table.len - offset) / stride) {
        wrong("the records do not lie in the table");
    } else {
        const uint8_t *records = (const uint8_t *)table.buf + offset;
        Py_ssize_t high = count;
        while (low < high) {
            Py_ssize_t middle = low + (high - low) / 2;
            if (memcmp(records + middle * stride, key.buf, key.len) < 0)
                low = middle + 1;
            else
                high = middle;
        }
        done = PyLong_FromSsize_t(low);
    }
    PyBuffer_Release(&table);
    PyBuffer_Release(&key);
    return done;
}

static PyMethodDef methods[] = {{"split", python_split, METH_VARARGS, split_doc},
                                {"join", python_join, METH_VARARGS, join_doc},
                                {"lower_bound", python_lower_bound, METH_VARARGS, lower_bound_doc},
                                {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
