"""Names for the shapes of tensors.

B: batch. L: tokens. D: channels (the model's width, or Mamba's inner width Di). N: states per channel (complex states
in a complex tensor). C: colour channels of an image. H, W: height and width of an image. T: tokens in a chunk or block.
`lags` is L for a causal kernel and 2 L - 1 for a kernel with past and future. A name in braces is an argument of the
function.

At run time and for mypy each name is a plain Tensor, so it costs nothing. The tests check the shapes at every call
(tests/conftest.py); within one call, equal letters must stand for equal numbers. Float means any precision, because
autocast may produce bfloat16.
"""

from __future__ import annotations

from jaxtyping import Complex, Float, Inexact, Int
from torch import Tensor

Images = Float[Tensor, "B C H W"]  # pixels in [0, 1]
Pixels = Float[Tensor, "B *pixels"]  # inputs of any shape in [0, 1], which an attack changes
PerImage = Float[Tensor, "B *ones"]  # one number per input, with a shape that broadcasts over its pixels
Labels = Int[Tensor, "B"]
Logits = Float[Tensor, "B classes"]

Queries = Float[Tensor, "B L Z"]  # attention's queries and keys
Values = Float[Tensor, "B L V"]  # attention's values and outputs

# A batch of sequences in three memory orders.
BatchFirst = Float[Tensor, "B L D"]  # between layers
ChannelFirst = Float[Tensor, "D B L"]  # in convolutions
TokenFirst = Float[Tensor, "L B D"]  # in scans

Kernel = Float[Tensor, "D {length}"]  # the taps of a causal kernel for `length` tokens
Taps = Float[Tensor, "D lags"]  # the taps of a kernel, causal or with both sides
OneSide = Float[Tensor, "D L"]  # one side of a kernel, starting at lag 0
Spectrum = Complex[Tensor, "D frequencies"]  # the rfft of taps
ToeplitzColumns = Float[Tensor, "D rows T"]
BiasMatrix = Float[Tensor, "L L"]

PerChannel = Float[Tensor, "D"]
NewPerChannel = Float[Tensor, "{width}"]
Modes = Complex[Tensor, "D N"]  # one complex number per channel and state
RealModes = Float[Tensor, "D N"]  # one real number per channel and state
SharedModes = Complex[Tensor, "N"]  # one complex number per state, shared by all channels
Angles = Float[Tensor, "F"]
FourModes = Complex[Tensor, "D 4 N"]
FourSpectra = Complex[Tensor, "D 4 F"]
PairWeights = Float[Tensor, "D 8 N"]  # of the conjugate pairs of N modes
PairSums = Float[Tensor, "D 8 twoF"]  # real parts at F angles, then imaginary parts
Reciprocals = Float[Tensor, "D N twoF"]

AllTokens = Float[Tensor, "D tokens"]  # the tokens of all sequences
StackedWeights = Float[Tensor, "twoD D"]  # of two maps from D to D channels
StackedBiases = Float[Tensor, "twoD"]

Decays = Inexact[Tensor, "steps ..."]  # decays of a linear recurrence, broadcast to its inputs; `scan` checks `steps`
Steps = Inexact[Tensor, "L *rest"]  # inputs or states of a linear recurrence

Transition = Float[Tensor, "D N"]  # Mamba's A
TokenMaps = Float[Tensor, "L B N"]  # Mamba's B and C, which differ for every token
State = Float[Tensor, "B N D"]  # the state of a selective scan after one token
Chunk = Float[Tensor, "T B D"]  # T tokens of a sequence
ChunkMaps = Float[Tensor, "T B N"]
TokenStates = Float[Tensor, "T B N D"]  # the state after each token of a chunk

StateMatrix = Float[Tensor, "D R R"]  # for a real state of R numbers per channel
ChunkStates = Float[Tensor, "D B n R"]  # one state for each of n chunks

AnyFloat = Float[Tensor, "*shape"]
AnyComplex = Complex[Tensor, "*shape"]
Pairs = Float[Tensor, "*shape 2"]  # complex numbers as pairs of real and imaginary part
