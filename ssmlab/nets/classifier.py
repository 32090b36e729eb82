"""The classifier around the mixers (Qi et al. 2024, section 3 and the published code).

    tokens -> linear embedding -> LayerNorm -> layers h = LayerNorm(h + mixer(h)) -> mean over L -> linear head

Mega's layers contain residuals and norms already, so they are used unchanged and there is no LayerNorm before the first
layer. `norm: none` leaves out every LayerNorm: h = h + mixer(h). With a linear mixer, the whole model is then affine in
the image.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ssmlab.core.errors import UserError
from ssmlab.nets.mixer import Mixer, frozen
from ssmlab.nets.shapes import BatchFirst, Images, Logits
from ssmlab.nets.tokens import Tokens


class Residual(Mixer):
    """h <- norm(h + mixer(h)), (B, L, D) -> (B, L, D)."""

    def __init__(self, mixer: Mixer, norm: nn.Module):
        super().__init__()
        self.mixer = mixer
        self.norm = norm

    def ssm_parameters(self) -> list[nn.Parameter]:
        return self.mixer.ssm_parameters()

    def forward(self, h: BatchFirst) -> BatchFirst:
        return self.norm(h + self.mixer(h))  # type: ignore[no-any-return]


class Classifier(nn.Module):
    """Images (B, C, H, W) in [0, 1] -> logits (B, classes). `ssmlab.nets.build` builds it.

    It accepts images of one shape only, `image_shape` (C, H, W), and raises a UserError for others. DSS's kernels and
    Mega's biases depend on the length of the sequence, so another image size would mean another model.
    """

    def __init__(
        self,
        tokens: Tokens,
        image_shape: tuple[int, int, int],
        length: int,
        embed: nn.Linear,
        norm: nn.Module,
        layers: Sequence[Mixer],
        head: nn.Linear,
    ):
        super().__init__()
        self.image_shape = image_shape
        self.length = length
        self.tokens = tokens
        self.embed = embed
        self.norm = norm
        self.layers = nn.ModuleList(layers)
        self.head = head

    def stem(self, x: Images) -> BatchFirst:
        """Images x (B, C, H, W) as embedded tokens (B, L, D).

        Raises:
            UserError: the images do not have the model's shape; the message names both.
        """
        if x.shape[1:] != self.image_shape:
            taken, given = (" x ".join(map(str, shape)) for shape in (self.image_shape, x.shape[1:]))
            raise UserError(f"this model takes images of shape {taken} (channels x height x width), not {given}")
        return self.embed(self.tokens(x))  # type: ignore[no-any-return]

    def trunk(self, h: BatchFirst) -> Logits:
        """Logits (B, classes) of embedded tokens h (B, L, D)."""
        h = self.norm(h)
        for layer in self.layers if h.shape[0] else ():  # no layer takes an empty batch
            h = layer(h)
        mean = h.sum(1) / h.shape[1]  # (B, D); faster than `mean`, whose backward pass divides for every token
        return self.head(mean)  # type: ignore[no-any-return]

    def forward(self, x: Images) -> Logits:
        """Logits (B, classes) of images x (B, C, H, W): `trunk(stem(x))`.

        Raises:
            UserError: the images do not have the model's shape.
        """
        return self.trunk(self.stem(x))

    def freeze(self) -> nn.Module:
        """The same function of x in evaluation mode; everything that depends only on parameters is computed once.

        Parameters get no gradients, and dropout is off. The weights share this model's memory, but values that were
        computed from them are not updated when the weights change: call `freeze` again then.
        """
        return frozen(self, self.length)


def ssm_parameters(model: nn.Module) -> list[nn.Parameter]:
    """dt, A, B (also S4's P, and Mega's alpha, delta, beta) of every layer: they have their own learning rate."""
    return [p for layer in getattr(model, "layers", ()) for p in layer.ssm_parameters()]
