"""NumPy's arrays in KernelEngine and KernelEngine's tensors in NumPy through DLPack, without a copy: numpy_dlpack.py LIBRARY"""
import ctypes as c
import sys

from kernel_engine import Engine, Operand

try:
    import numpy as np
    assert np.lib.NumpyVersion(np.__version__) >= "2.1.0"
except (ImportError, AssertionError):
    print("Needs NumPy 2.1 for this Python.", file=sys.stderr)
    sys.exit(77)

NAME, USED = b"dltensor_versioned", b"used_dltensor_versioned"
python = c.pythonapi
python.PyCapsule_New.restype, python.PyCapsule_New.argtypes = c.py_object, (c.c_void_p, c.c_char_p, c.c_void_p)
python.PyCapsule_GetPointer.restype, python.PyCapsule_GetPointer.argtypes = c.c_void_p, (c.py_object, c.c_char_p)
python.PyCapsule_SetName.argtypes = c.py_object, c.c_char_p


class Tensor:  # of the library; numpy.from_dlpack takes one
    def __init__(self, engine, array=None, shape=None):
        self.engine, self.handle = engine, c.c_void_p()
        if array is None:  # of the library's own memory
            engine.call("ke_tensor_allocate", 0, len(shape), (c.c_int64 * len(shape))(*shape), c.byref(self.handle))
            return
        capsule = array.__dlpack__(max_version=(1, 0))
        managed = c.c_void_p(python.PyCapsule_GetPointer(capsule, NAME))
        engine.call("ke_tensor_from_dlpack", managed, c.byref(self.handle))
        python.PyCapsule_SetName(capsule, USED)  # the library calls the deleter now

    def __dlpack_device__(self):
        return 1, 0

    def __dlpack__(self, **_):
        managed = c.c_void_p()
        self.engine.call("ke_tensor_to_dlpack", self.handle, c.byref(managed))
        return python.PyCapsule_New(managed, NAME, None)

    def operand(self):
        operand = Operand(struct_size=c.sizeof(Operand))
        self.engine.call("ke_tensor_get_operand", self.handle, c.byref(operand))
        return operand

    def __del__(self):
        self.engine.call("ke_tensor_close", self.handle)


engine, problem = Engine(sys.argv[1]), c.c_void_p()
engine.call("ke_problem_open", b"linear", b"m=3 n=4 k=5", None, c.byref(problem))
rows = np.arange(48, dtype=np.float32).reshape(6, 8)[1:6:2, 2:7]  # every other row, the middle columns
weight = np.arange(20, dtype=np.float32).reshape(4, 5)
tensors = [Tensor(engine, rows), Tensor(engine, weight), Tensor(engine, shape=(3, 4))]
product = np.from_dlpack(tensors[2])
engine.call("ke_run", engine.device, problem, (Operand * 3)(*[tensor.operand() for tensor in tensors]), 3)
del tensors  # the product keeps its memory
if not np.array_equal(product, rows @ weight.T):
    sys.exit(f"{product} instead of {rows @ weight.T}")
print("NumPy's rows went in by their strides, and NumPy reads the product where the library wrote it")
