"""A language model through the C ABI: prompts continued greedily must give an independent program's tokens and text.
generate.py LIBRARY MODEL EXPECTED_JSON"""
import ctypes as c
import json
import sys

from kernel_engine import Engine


class Runner:
    def __init__(self, engine, model):
        self.engine, self.handle = engine, c.c_void_p()
        engine.call("ke_runner_open", engine.device, model.encode(), None, c.byref(self.handle))

    def reset(self):
        self.engine.call("ke_runner_rewind", self.handle, 0)

    def encode(self, text):
        tokens, count = (c.c_int32 * 1024)(), c.c_int64()
        self.engine.call("ke_runner_encode", self.handle, text.encode(), tokens, c.c_int64(len(tokens)), c.byref(count))
        return tokens[:count.value]

    def text(self, tokens):
        text, length = c.create_string_buffer(1 << 16), c.c_int64()
        self.engine.call("ke_runner_text", self.handle, (c.c_int32 * len(tokens))(*tokens), c.c_int64(len(tokens)), text,
                         c.c_int64(len(text)), c.byref(length))
        return text.value.decode()

    def generate(self, prompt, count):
        tokens, token = list(prompt), c.c_int32()
        self.engine.call("ke_runner_prefill", self.handle, (c.c_int32 * len(prompt))(*prompt), c.c_int64(len(prompt)))
        for _ in range(count):
            self.engine.call("ke_runner_select_greedy", self.handle, c.byref(token))
            tokens.append(token.value)
            self.engine.call("ke_runner_decode", self.handle, token)
        return tokens

    def close(self):
        self.engine.call("ke_runner_close", self.handle)


runner = Runner(Engine(sys.argv[1], threads=1), sys.argv[2])
with open(sys.argv[3], encoding="utf-8") as file:
    cases = json.load(file)["cases"]
for case in cases:
    runner.reset()  # a text at the beginning is encoded with the token that begins a sequence
    prompt, wanted = runner.encode(case["prompt"]), case["ids"]
    tokens = runner.generate(prompt, len(wanted) - len(prompt))
    if prompt != case["prompt_ids"] or tokens != wanted or runner.text(tokens) != case["text"]:
        sys.exit(f"'{case['prompt']}': {prompt} became {tokens}: {runner.text(tokens)}")
    print(f"{len(tokens)} tokens as expected: {runner.text(tokens)[:60]}...")
runner.close()
