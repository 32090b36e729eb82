"""Computes linear recurrences along the first dimension in O(log L) passes.

a, b (L, ...): decay and input of each step, real or complex; a is broadcastable to b.

    h[t] = a[t] h[t-1] + b[t],  h[-1] = 0

Two neighbouring steps (a, b) and (a', b') combine to one step (a' a, a' b + b'). This operation is associative. `scan`
combines pairs of steps, then pairs of pairs and so on, and then distributes the results back (Blelloch 1990, "Prefix
Sums and Their Applications"): 2 log2 L passes and 2 L combinations for any L. There is no division, and only decays are
multiplied with each other, so nothing overflows for |a| <= 1 at any length. `by_recurrence` is the equation itself,
step by step; `by_doubling` is the form for traced graphs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ssmlab.nets.shapes import Decays, Steps


def scan(a: Decays, b: Steps) -> Steps:
    """All states h (L, ...), with the shape of b. The backward pass is the same scan from the last step to the first.

    Raises:
        ValueError: a and b have different numbers of steps.
    """
    if a.shape[0] != b.shape[0]:
        raise ValueError(f"a has {a.shape[0]} steps and b has {b.shape[0]}")
    h: Tensor = LinearScan.apply(a, b)  # type: ignore[no-untyped-call]
    return h


def by_recurrence(a: Decays, b: Steps) -> Steps:
    """All states h (L, ...), computed step by step: the simplest route, for comparison."""
    state, states = torch.zeros_like(b[0]), []
    for decay, new in zip(a, b, strict=True):
        state = torch.addcmul(new, decay, state)
        states.append(state)
    return torch.stack(states)  # (L, ...)


def by_doubling(a: Decays, b: Steps) -> Steps:
    """All states h (L, ...) in log2 L passes that overwrite nothing, as a traced graph requires.

    After k passes, each step includes the 2^k - 1 steps before it (Hillis and Steele 1986, "Data parallel algorithms").
    """
    reach = 1
    while reach < len(b):
        b = b + a * delayed(b, reach)
        a = a * delayed(a, reach)
        reach *= 2
    return b


def delayed(steps: Steps, by: int) -> Steps:
    """Steps (L, ...) that many places later, zeros first."""
    return torch.cat([torch.zeros_like(steps[:by]), steps[:-by]])


class LinearScan(torch.autograd.Function):
    """`scan` with its gradients: g[t] = dh[t] + a[t+1]* g[t+1], db[t] = g[t], da[t] = g[t] h[t-1]* (* conjugates)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        """h (L, ...)."""
        h = combine_(a.clone(), b.clone())
        ctx.save_for_backward(a, h)
        return h

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor]:
        """The gradients of a and b from the gradient of h."""
        a, h = ctx.saved_tensors
        later = a.roll(-1, 0).conj().resolve_conj()
        if torch.is_grad_enabled():  # these gradients will be differentiated again
            g = scan(later.flip(0), gradients[0].flip(0)).flip(0)
        else:
            g = combine_(later, gradients[0].clone(), back=True)
        if not ctx.needs_input_grad[0]:
            return None, g
        da = torch.cat([torch.zeros_like(h[:1]), g[1:] * h[:-1].conj()])  # (L, ...)
        return da.sum_to_size(a.shape), g


def combine_(a: Decays, b: Steps, back: bool = False) -> Steps:
    """Overwrite b (L, ...) with h and return it. Also overwrites a (L, ...), which must own its memory.

    If `back` is true, the recurrence runs from the last step to the first: h[t] = a[t] h[t+1] + b[t], h[L] = 0.
    """
    for older, newer, up in combinations(len(b), back):
        b[newer].addcmul_(a[newer], b[older])
        if up:
            a[newer].mul_(a[older])
    return b


def combinations(length: int, back: bool) -> Iterator[tuple[slice, slice, bool]]:
    """For each pass: the older steps, the newer steps that they are combined into, and whether blocks still grow."""
    strides = [1 << level for level in range((length - 1).bit_length())]
    up = [(range(stride - 1, length - stride, 2 * stride), stride, True) for stride in strides]
    down = [(range(2 * stride - 1, length - stride, 2 * stride), stride, False) for stride in reversed(strides)]
    for older, stride, upwards in up + down:
        if older:
            yield *step_slices(older, stride, length, back), upwards


def step_slices(older: range, ahead: int, length: int, back: bool) -> tuple[slice, slice]:
    """The steps in `older`, and the steps that are `ahead` of them, as slices; `back` counts from the end."""
    if back:
        older, ahead = range(length - 1 - older[-1], length - older[0], older.step), -ahead
    first, last = older[0], older[-1] + 1
    return slice(first, last, older.step), slice(first + ahead, last + ahead, older.step)
