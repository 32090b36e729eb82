"""Softmax attention of all tokens to all tokens, without storing a matrix (L, L) for every sequence.

query, key (B, L, z), value (B, L, v), bias (L, L) or None:

    o = softmax(query key^T / sqrt(z) + bias) value

There are three routes. `at_once` computes the formula directly and stores B L^2 numbers for the gradient. `in_blocks`
processes blocks of rows that fit into a core's cache and computes their weights again for the gradient, as
FlashAttention does (Dao et al. 2022). torch's softmax of a block takes half the time of an exponential and its sums. On
a GPU, torch's own fused attention is used.

Time of forward and backward (one thread of a busy AMD EPYC, B 32, L 784, z 64, v 32, minimum of several rounds,
2026-11-27): at once 335 ms; torch's fused attention 418 ms, with v padded to z, as it requires on a CPU; in blocks 228
ms (244 ms with an exponential and sums of our own).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ssmlab.nets.second_gradients import plain_gradients
from ssmlab.nets.shapes import BatchFirst, BiasMatrix, Queries, Values

AT_ONCE = 2**22  # up to this many weights B L^2 (16 MiB in float32), one product for all sequences is not slower
BLOCK_ENTRIES = 2**18  # weights in a block: 1 MiB in float32


def attend(query: Queries, key: Queries, value: Values, bias: BiasMatrix | None = None) -> Values:
    """o (B, L, v) by the best route for this size and device."""
    if goes_at_once(query):
        return at_once(query, key, value, bias)
    if query.device.type != "cpu":
        mask = None if bias is None else bias.to(query.dtype)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return in_blocks(query, key, value, bias)


def goes_at_once(query: Queries) -> bool:
    """Whether one product for all sequences is no slower; always in a traced graph, which must hold for any batch."""
    batch, length, _ = query.shape
    return torch.compiler.is_compiling() or batch * length**2 <= AT_ONCE


def at_once(query: Queries, key: Queries, value: Values, bias: BiasMatrix | None = None) -> Values:
    """o (B, L, v) by two products for all sequences."""
    scale = 1 / math.sqrt(query.shape[-1])
    none = query.new_zeros(()) if bias is None else bias
    if query.dtype in (torch.bfloat16, torch.float16):
        scores = torch.bmm(query, key.transpose(1, 2)).float() * scale + none  # (B, L, L)
    else:
        scores = torch.baddbmm(none, query, key.transpose(1, 2), alpha=scale)  # (B, L, L)
    return torch.bmm(scores.softmax(-1).to(value.dtype), value)


def in_blocks(query: Queries, key: Queries, value: Values, bias: BiasMatrix | None = None) -> Values:
    """o (B, L, v), one block of rows of one sequence at a time."""
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    o: Tensor = BlockedAttention.apply(query.to(dtype), key.to(dtype), value.to(dtype), bias)  # type: ignore[no-untyped-call]
    return o


def blocks(query: BatchFirst) -> Iterator[tuple[int, slice]]:
    """(sequence, rows) for every block of query (B, L, z)."""
    batch, length, _ = query.shape
    rows = max(1, BLOCK_ENTRIES // length)
    for sequence in range(batch):
        for start in range(0, length, rows):
            yield sequence, slice(start, min(length, start + rows))


def block_weights(query: Tensor, key: Tensor, bias: Tensor | None) -> Tensor:
    """Weights (rows, L), float32 or float64, from scaled queries (rows, z), keys (L, z) and the bias (rows, L).

    The bias is added afterwards, because `addmm` would first copy it.
    """
    scores = torch.mm(query, key.t()).to(torch.promote_types(query.dtype, torch.float32))
    return (scores if bias is None else scores.add_(bias)).softmax(-1)


class BlockedAttention(torch.autograd.Function):
    """`in_blocks` with its gradients. Softmax and sums are in float32 or float64, products in the query's dtype."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """o (B, L, v)."""
        o = torch.empty_like(value)
        scaled = query / math.sqrt(query.shape[-1])
        with torch.autocast("cpu", enabled=False):
            for i, rows in blocks(query):
                weights = block_weights(scaled[i, rows], key[i], None if bias is None else bias[rows])  # (rows, L)
                torch.mm(weights.to(value.dtype), value[i], out=o[i, rows])
        ctx.save_for_backward(query, key, value, bias, o)
        return o

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of all inputs.

        With weights P and T = do value^T, the gradient of the scores is P (T - rowsum(do o)), that of the values P^T
        do.
        """
        *inputs, o = ctx.saved_tensors
        (do,) = gradients
        if torch.is_grad_enabled():  # these gradients will be differentiated again
            return plain_gradients(at_once, inputs, do)
        query, key, value, bias = inputs
        scale = 1 / math.sqrt(query.shape[-1])
        scaled = query * scale
        dquery, dkey, dvalue = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        dbias = torch.zeros_like(bias) if ctx.needs_input_grad[3] else None
        along = (do * o).sum(-1, keepdim=True, dtype=torch.promote_types(do.dtype, torch.float32))  # (B, L, 1)
        for i, rows in blocks(query):
            weights = block_weights(scaled[i, rows], key[i], None if bias is None else bias[rows])  # (rows, L)
            dvalue[i].addmm_(weights.to(do.dtype).t(), do[i, rows])
            dscores = torch.mm(do[i, rows], value[i].t()).to(weights.dtype).sub_(along[i, rows]).mul_(weights)
            if dbias is not None:
                dbias[rows] += dscores
            dscores = dscores.to(query.dtype)
            torch.mm(dscores, key[i], out=dquery[i, rows])
            dkey[i].addmm_(dscores.t(), scaled[i, rows])
        return dquery.mul_(scale), dkey, dvalue, dbias
