"""Names for the shapes of tensors, so that each shape is said once.

B batch, L tokens, D channels (the model's width, or Mamba's inner width Di), N states of a channel (complex ones if the
tensor is), C colour channels of an image, H and W its sides, T tokens in a chunk or block. `lags` is L for a causal
kernel and 2 L - 1 for one with a past and a future. A name in braces is an argument of the function.

To Python and to mypy each name is a plain Tensor: it costs nothing at run time. The tests check them at every call
(tests/conftest.py), and within one call equal letters must stand for equal numbers. Float means any precision, because
autocast may give bfloat16.
"""

from __future__ import annotations

from jaxtyping import Complex, Float, Inexact, Int
from torch import Tensor

Images = Float[Tensor, "B C H W"]  # pixels in [0, 1]
Pixels = Float[Tensor, "B *pixels"]  # inputs of any shape, in [0, 1]: what an attack changes
PerImage = Float[Tensor, "B *ones"]  # one number an input, shaped to be broadcast over its pixels
Labels = Int[Tensor, "B"]
Logits = Float[Tensor, "B classes"]

Queries = Float[Tensor, "B L Z"]  # attention's queries and keys
Values = Float[Tensor, "B L V"]  # its values, and what they give

# A batch of sequences in its three memory orders.
BatchFirst = Float[Tensor, "B L D"]  # between layers
ChannelFirst = Float[Tensor, "D B L"]  # in convolutions
TokenFirst = Float[Tensor, "L B D"]  # in scans

Kernel = Float[Tensor, "D {length}"]  # the taps of a causal kernel for `length` tokens
Taps = Float[Tensor, "D lags"]  # the taps of a kernel, causal or with both sides
OneSide = Float[Tensor, "D L"]  # one side of a kernel, from the present on
Spectrum = Complex[Tensor, "D frequencies"]  # the rfft of taps
ToeplitzColumns = Float[Tensor, "D rows T"]
BiasMatrix = Float[Tensor, "L L"]

PerChannel = Float[Tensor, "D"]
NewPerChannel = Float[Tensor, "{width}"]
Modes = Complex[Tensor, "D N"]  # one complex number a channel and state
RealModes = Float[Tensor, "D N"]  # a real one
SharedModes = Complex[Tensor, "N"]  # one complex number a state, for all channels
Positions = Float[Tensor, "*broadcast L"]  # places in a sequence, the same or not for every channel and state
Angles = Float[Tensor, "F"]
FourModes = Complex[Tensor, "D 4 N"]
FourSpectra = Complex[Tensor, "D 4 F"]

Decays = Inexact[Tensor, "steps ..."]  # of a linear recurrence, broadcast over its inputs; `scan` checks their number
Steps = Inexact[Tensor, "L *rest"]  # the recurrence's inputs, or its states

Transition = Float[Tensor, "D N"]  # Mamba's A
TokenMaps = Float[Tensor, "L B N"]  # Mamba's B and C: a map of its own for every token
State = Float[Tensor, "B N D"]  # the state of a selective scan after one token
Chunk = Float[Tensor, "T B D"]  # T tokens of a sequence
ChunkMaps = Float[Tensor, "T B N"]
TokenStates = Float[Tensor, "T B N D"]  # a state for each token of a chunk

StateMatrix = Float[Tensor, "D R R"]  # of a real state of R numbers a channel
ChunkStates = Float[Tensor, "D B n R"]  # a state for each of n chunks

AnyFloat = Float[Tensor, "*shape"]
AnyComplex = Complex[Tensor, "*shape"]
Pairs = Float[Tensor, "*shape 2"]  # complex numbers as real and imaginary part
