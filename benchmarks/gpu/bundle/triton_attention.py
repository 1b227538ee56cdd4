"""A plain fused attention forward in Triton, as a peer: one program a block of query rows, keys in blocks, online softmax."""
from __future__ import annotations

import torch
import triton
import triton.language as tl

CONFIGS = [
    triton.Config({"BLOCK_M": 128, "BLOCK_N": 64}, num_warps=4, num_stages=3),
    triton.Config({"BLOCK_M": 128, "BLOCK_N": 64}, num_warps=8, num_stages=3),
    triton.Config({"BLOCK_M": 128, "BLOCK_N": 128}, num_warps=8, num_stages=2),
]
LOG2_E = 1.4426950408889634


@triton.jit
def _add_keys(state_o, state_m, state_l, q, k_ptr, v_ptr, base, first, end, rows, scale_log2,
              MASKED: tl.constexpr, BLOCK_N: tl.constexpr, DIM: tl.constexpr):
    # The state is the sum of weighted values, the largest score and the sum of weights, each by row; scores are base 2.
    columns = tl.arange(0, BLOCK_N)
    dims = tl.arange(0, DIM)
    for start in range(first, end, BLOCK_N):
        keys = start + columns
        k = tl.load(k_ptr + base + keys[None, :] * DIM + dims[:, None])
        scores = tl.dot(q, k) * scale_log2
        if MASKED:
            scores = tl.where(keys[None, :] <= rows[:, None], scores, float("-inf"))
        largest = tl.maximum(state_m, tl.max(scores, 1))
        weights = tl.exp2(scores - largest[:, None])
        shrink = tl.exp2(state_m - largest)
        state_l = state_l * shrink + tl.sum(weights, 1)
        v = tl.load(v_ptr + base + keys[:, None] * DIM + dims[None, :])
        state_o = tl.dot(weights.to(v.dtype), v, state_o * shrink[:, None])
        state_m = largest
    return state_o, state_m, state_l


@triton.autotune(configs=CONFIGS, key=["CAUSAL", "DIM"])
@triton.jit
def _forward(q_ptr, k_ptr, v_ptr, o_ptr, length, scale_log2,
             CAUSAL: tl.constexpr, DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    block = tl.program_id(0)
    if CAUSAL:
        block = tl.num_programs(0) - 1 - block  # the longest rows first
    base = tl.program_id(1).to(tl.int64) * length * DIM
    rows = block * BLOCK_M + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, DIM)
    tile = base + rows[:, None] * DIM + dims[None, :]
    q = tl.load(q_ptr + tile)
    o = tl.zeros([BLOCK_M, DIM], tl.float32)
    m = tl.full([BLOCK_M], float("-inf"), tl.float32)
    l = tl.zeros([BLOCK_M], tl.float32)
    if CAUSAL:
        diagonal = block * BLOCK_M
        o, m, l = _add_keys(o, m, l, q, k_ptr, v_ptr, base, 0, diagonal, rows, scale_log2, False, BLOCK_N, DIM)
        o, m, l = _add_keys(o, m, l, q, k_ptr, v_ptr, base, diagonal, diagonal + BLOCK_M, rows, scale_log2, True, BLOCK_N, DIM)
    else:
        o, m, l = _add_keys(o, m, l, q, k_ptr, v_ptr, base, 0, length, rows, scale_log2, False, BLOCK_N, DIM)
    tl.store(o_ptr + tile, (o / l[:, None]).to(o_ptr.dtype.element_ty))


def attention_forward(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
    """Attention of contiguous [batch, heads, length, dim] tensors; the length must be a multiple of 128."""
    batch, heads, length, dim = q.shape
    if length % 128:
        raise ValueError(f"the length must be a multiple of 128 but is {length}")
    output = torch.empty_like(q)
    _forward[lambda meta: (length // meta["BLOCK_M"], batch * heads)](
        q, k, v, output, length, dim**-0.5 * LOG2_E, CAUSAL=causal, DIM=dim)
    return output
