"""Attention and cross-entropy of a real model against an independent float64 answer: reference.py LIBRARY FOLDER_OF_THE_MODEL"""
import json
import struct
import sys
from array import array

from kernel_engine import Engine


class Safetensors:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        self.start = 8 + struct.unpack("<Q", self.data[:8])[0]
        self.header = json.loads(self.data[8:self.start])

    def __getitem__(self, name):
        first, end = (self.start + offset for offset in self.header[name]["data_offsets"])
        return array("i" if self.header[name]["dtype"] == "I32" else "f", self.data[first:end])

    def shape(self, name):
        return self.header[name]["shape"]


def zeros(count):
    return array("f", bytes(4 * count))


def compare(what, actual, expected, bar):
    error = max(abs(a - e) for a, e in zip(actual, expected, strict=True))
    largest = max(1 if bar < 1e-5 else 0, *map(abs, expected))
    print(f"{what}: error {error:.2g} of at most {bar * largest:.2g}")
    if not error <= bar * largest:
        sys.exit(1)


engine, folder = Engine(sys.argv[1]), sys.argv[2]
attention = Safetensors(f"{folder}/reference_attention.safetensors")
for layer in range(sum(name.endswith(".q") for name in attention.header)):
    query, key, value, wanted, wanted_lse = (attention[f"layers.{layer}.{name}"] for name in ("q", "k", "v", "o", "lse"))
    (tokens, heads, size), kv_heads = attention.shape(f"layers.{layer}.q"), attention.shape(f"layers.{layer}.k")[1]
    output, lse = zeros(len(query)), zeros(tokens * heads)
    engine.run("attention-forward", f"h={heads} kv={kv_heads} q={tokens} k={tokens} d={size} causal",
               query=query, key=key, value=value, output=output, lse=lse)
    compare(f"layer {layer}, output", output, wanted, 2e-6)
    compare(f"layer {layer}, lse", [lse[h * tokens + t] for t in range(tokens) for h in range(heads)], wanted_lse, 2e-6)

answer = Safetensors(f"{folder}/reference_cross_entropy.safetensors")
classifier = Safetensors(f"{folder}/model.f32.safetensors")["lm_head.weight"]
(rows, size), classes = answer.shape("hidden"), answer.shape("grad_classifier")[0]
loss, lse, grad_hidden, grad_classifier = zeros(1), zeros(rows), zeros(rows * size), zeros(classes * size)
engine.run("cross-entropy-training", f"n={rows} v={classes} d={size}", hidden=answer["hidden"], classifier=classifier,
           targets=answer["targets"], loss=loss, lse=lse, gradHidden=grad_hidden, gradClassifier=grad_classifier)
compare("loss", loss, [sum(answer["nll"]) / rows], 2e-6)
compare("cross-entropy, lse", lse, answer["lse"], 2e-6)
compare("gradient of hidden rows", grad_hidden, answer["grad_hidden"], 1e-5)
compare("gradient of the classifier", grad_classifier, answer["grad_classifier"], 1e-5)
