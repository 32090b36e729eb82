"""The classifier around the mixers (Qi et al. 2024, section 3 and the published code).

    tokens -> linear embedding -> LayerNorm -> layers h = LayerNorm(h + mixer(h)) -> mean over L -> linear head

Mega brings its own residuals and norms, so its layers stand bare and there is no first LayerNorm.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ssmlab.nets.mixer import Mixer, frozen
from ssmlab.nets.shapes import BatchFirst, Images, Logits
from ssmlab.nets.tokens import Tokens


class Residual(Mixer):
    """h <- LayerNorm(h + mixer(h)), (B, L, D) -> (B, L, D)."""

    def __init__(self, mixer: Mixer, width: int):
        super().__init__()
        self.mixer = mixer
        self.norm = nn.LayerNorm(width)

    def ssm_parameters(self) -> list[nn.Parameter]:
        """Those of the mixer."""
        return self.mixer.ssm_parameters()

    def forward(self, h: BatchFirst) -> BatchFirst:
        """The layer's output for h (B, L, D)."""
        return self.norm(h + self.mixer(h))  # type: ignore[no-any-return]


class Classifier(nn.Module):
    """[0, 1] images (B, C, H, W) -> logits (B, classes). Made by `ssmlab.nets.build`."""

    def __init__(
        self, tokens: Tokens, length: int, embed: nn.Linear, norm: nn.Module, layers: Sequence[Mixer], head: nn.Linear
    ):
        super().__init__()
        self.length = length
        self.tokens = tokens
        self.embed = embed
        self.norm = norm
        self.layers = nn.ModuleList(layers)
        self.head = head

    def stem(self, x: Images) -> BatchFirst:
        """Images x (B, C, H, W) as embedded tokens (B, L, D)."""
        return self.embed(self.tokens(x))  # type: ignore[no-any-return]

    def trunk(self, h: BatchFirst) -> Logits:
        """Logits (B, classes) of embedded tokens h (B, L, D)."""
        h = self.norm(h)
        for layer in self.layers:
            h = layer(h)
        return self.head(h.mean(1))  # type: ignore[no-any-return]

    def forward(self, x: Images) -> Logits:
        """Logits (B, classes) of images x (B, C, H, W): `trunk(stem(x))`."""
        return self.trunk(self.stem(x))

    def freeze(self) -> nn.Module:
        """The same function of x in evaluation mode, with all that depends on parameters alone computed once.

        No parameter takes a gradient. Weights share this model's storage, so the frozen form is stale as soon as they
        change: make a new one then. Dropout is off in it.
        """
        return frozen(self, self.length)


def ssm_parameters(model: nn.Module) -> list[nn.Parameter]:
    """dt, A, B (with S4's P; Mega's alpha, delta, beta) of every layer: the group with its own learning rate."""
    return [p for layer in getattr(model, "layers", ()) for p in layer.ssm_parameters()]
