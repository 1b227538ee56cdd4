"""KernelEngine from Python's standard library: operations by name on memory that Python holds (bytearray, array, a NumPy array)."""
import ctypes as c

TYPES = ("f32", "f16", "bf16", "i32", "i8", "bool", "u16")


class Operand(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("type", c.c_int32), ("rank", c.c_int32), ("flags", c.c_int32), ("data", c.c_void_p),
                ("bytes", c.c_int64), ("lengths", c.c_int64 * 4), ("strides", c.c_int64 * 4)]


class OperandInfo(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("role", c.c_int32), ("type", c.c_int32), ("rank", c.c_int32), ("is_optional", c.c_int32),
                ("reserved", c.c_int32), ("lengths", c.c_int64 * 4), ("name", c.c_char * 32), ("dimensions", c.c_char * 96)]


class Engine:
    def __init__(self, library, device=b"cpu", threads=0):
        self.library = c.CDLL(library)
        self.library.ke_last_error_message.restype = c.c_char_p
        self.device = c.c_void_p()
        self.call("ke_device_open", device, threads, c.byref(self.device))

    def call(self, function, *arguments):
        if getattr(self.library, function)(*arguments) != 0:
            raise ValueError(self.library.ke_last_error_message().decode())

    def run(self, operation, text, **tensors):
        """Computes a problem. Tensors are named as in the header's messages, row by row, writable; optional ones may be left out."""
        problem = c.c_void_p()
        self.call("ke_problem_open", operation.encode(), text.encode(), None, c.byref(problem))
        try:
            operands, held = [], []  # the memory must live until the call is over
            while len(tensors) > 0:
                info, operand = OperandInfo(struct_size=c.sizeof(OperandInfo)), Operand(struct_size=c.sizeof(Operand))
                self.call("ke_problem_describe_operand", problem, len(operands), c.byref(info))
                memory = tensors.pop(info.name.decode(), None)
                if memory is not None:
                    view = memoryview(memory).cast("B")
                    held.append((c.c_char * len(view)).from_buffer(view))
                    operand.type, operand.rank, operand.bytes, operand.lengths = info.type, info.rank, len(view), info.lengths
                    operand.data = c.addressof(held[-1])
                operands.append(operand)
            self.call("ke_run", self.device, problem, (Operand * len(operands))(*operands), len(operands))
        finally:
            self.call("ke_problem_close", problem)
