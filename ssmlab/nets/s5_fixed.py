"""S5 with fixed parameters: an attack's route through s5.py on a CPU.

A few sequences at a time go from the product with B_ through the scan to the product with C, so that their states stay
in a core's cache. Every token has the same decay, so all steps that a pass of the scan (scan.py) combines have the same
decay, a power of Lambda_. The map is linear in the input: its gradient needs no states, and is the same function with
transposed maps, conjugate decays and reversed time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ssmlab.nets.cache_groups import cache_groups
from ssmlab.nets.mixer import full_precision
from ssmlab.nets.scan import combinations
from ssmlab.nets.shapes import BatchFirst

BLOCK_ENTRIES = 2**18  # real numbers in the states of the sequences that are processed together: 1 MiB in float32


def by_sequences(u: BatchFirst, decay: Tensor, into: Tensor, out: Tensor, skip: Tensor) -> BatchFirst:
    """y (B, L, D) for u (B, L, D) and the parts of an s5.System. Only u gets a gradient."""
    y: Tensor = FixedSystem.apply(u, decay, into, out, skip, False)  # type: ignore[no-untyped-call]
    return y


class FixedSystem(torch.autograd.Function):
    """`by_sequences`; `back` reverses time."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, decay: Tensor, into: Tensor, out: Tensor, skip: Tensor, back: bool) -> Tensor:
        """y (B, L, D)."""
        ctx.save_for_backward(decay, into, out, skip)
        ctx.back = back
        batch, length, width = u.shape
        passes = list(scan_passes(length, decay, back))
        y = torch.empty_like(u, memory_format=torch.contiguous_format)
        for part in cache_groups(batch, length * len(into), BLOCK_ENTRIES):
            tokens = u[part].reshape(-1, width)  # (b L, D)
            states = full_precision(torch.mm(tokens, into.t()))  # (b L, 2 P)
            h = torch.view_as_complex(states.view(-1, length, len(decay), 2))  # (b, L, P)
            for older, newer, power in passes:
                h[:, newer].addcmul_(power, h[:, older])
            outputs = torch.mm(states.to(out.dtype), out.t())  # (b L, D); `states` shares its memory with h
            y[part] = outputs.addcmul_(tokens, skip).view(-1, length, width)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of u."""
        decay, into, out, skip = ctx.saved_tensors
        conjugate = decay.conj().resolve_conj()
        transposed = (conjugate, out.t(), into.t(), skip, not ctx.back)
        gradient: Tensor = FixedSystem.apply(gradients[0], *transposed)  # type: ignore[no-untyped-call]
        return gradient, None, None, None, None, None


def scan_passes(length: int, decay: Tensor, back: bool) -> Iterator[tuple[slice, slice, Tensor]]:
    """For each pass of the scan: the older steps, the newer steps that they are added to, and their decay (P,)."""
    powers = {1: decay}  # by the number of steps
    for older, newer, _ in combinations(length, back):
        stride = abs(newer.start - older.start)
        if stride not in powers:
            powers[stride] = powers[stride // 2].square()
        yield older, newer, powers[stride]
