"""The section `model`: all settings of one network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ssmlab.params.base import KeyOf, Positive, Strict, check_own_sections


@dataclass(frozen=True, slots=True)
class MixerEntry:
    """A mixer in the table of mixers.

    Attributes:
        label: its name for readers.
        where: `MODULE:NAME` below ssmlab.nets, of the function (params, length) -> layer that builds one layer.
        time_invariant: whether its layer is an `SsmBlock` around a `LinearSsm` or S5, whose taps and bounds the probes
            compute.
        convolution: whether it has one convolution kernel per channel, which `bidirectional` needs.
        own_norms: whether its layers have norms of their own, so that the classifier adds none.
    """

    label: str
    where: str
    time_invariant: bool = False
    convolution: bool = False
    own_norms: bool = False


# All mixers by their name in `model.mixer`. A new one is a file in ssmlab/nets/ and a line here. If it has settings of
# its own, they are a class below and a field of `ModelParams` with the name of the mixer.
MIXERS: dict[str, MixerEntry] = {
    "s4": MixerEntry("S4", "s4:s4_layer", time_invariant=True, convolution=True),
    "s4d": MixerEntry("S4D", "s4d:s4d_layer", time_invariant=True, convolution=True),
    "dss": MixerEntry("DSS", "dss:dss_layer", time_invariant=True, convolution=True),
    "s5": MixerEntry("S5", "s5:s5_layer", time_invariant=True),
    "mamba": MixerEntry("Mamba", "mamba:mamba_layer"),
    "mega": MixerEntry("Mega", "mega:mega_layer", own_norms=True),
}


def unsaid_if_false(value: Any) -> Any:
    """Leave out a switch that is off, so that the same model always has the same fingerprint."""
    return None if value is False else value


def unsaid_if_layer(value: Any) -> Any:
    """Leave out the default, LayerNorm, because models from before this setting do not have it in their params."""
    return None if value == "layer" else value


class AdsParams(Strict):
    """Adaptive scaling (Qi et al. 2024, eq. 9): y <- act(W_s y + b_s) * y + act(W_b y + b_b).

    Attributes:
        act: the activation; the control `none` is the product without an activation.
        parts: `scale` and `bias` keep only one of the two maps. There are two controls: `constant` has both maps with
            W_s = W_b = 0; `sum` is y + act(W_s y + b_s) + act(W_b y + b_b), without the product.
    """

    act: Literal["relu", "sigmoid", "tanh", "none"]
    parts: Literal["both", "scale", "bias", "constant", "sum"]


class S4dParams(Strict):
    """The variants of S4D (Gu et al. 2022, "On the Parameterization and Initialization of Diagonal SSMs").

    Attributes:
        discretisation: zero-order hold or bilinear.
        initial: the initial eigenvalues A, S4D-Lin or S4D-Inv.
    """

    discretisation: Literal["zoh", "bilinear"]
    initial: Literal["lin", "inv"]


class MegaParams(Strict):
    """Sizes inside a Mega layer (Ma et al. 2023); `d_model` comes from the model.

    Attributes:
        z: width of the shared representation behind queries and keys.
        hidden: width of the values and of the gate.
        ffn: width of the normalised feed-forward network.
        ema: dimensions of the damped EMA per channel.
    """

    z: Positive
    hidden: Positive
    ffn: Positive
    ema: Positive


class ModelParams(Strict):
    """All settings of one model: what `ssmlab.nets.build` needs besides the image shape and the number of classes.

    Attributes:
        tokens: `raster` is the pixel order of the paper's text. `published` is the order that its code produces; for C
            > 1, a token is then C neighbouring values of one colour plane. `column`, `snake` and `permuted` are other
            orders of the same patches.
        pointwise, output: what follows the SSM; `none` and `linear` reproduce the published code. docs/deviations.md
            has the evidence.
        d_state: the size of the state; docs/models.md says what each mixer counts.
        bidirectional: a second kernel runs from the last token to the first.
        norm: `layer` (the default) or `none`, which leaves out every LayerNorm.
    """

    mixer: Annotated[str, KeyOf(MIXERS)]
    enhancement: Literal["none", "ads", "attention"]
    ads: AdsParams | None = None
    s4d: S4dParams | None = None
    mega: MegaParams | None = None
    bidirectional: Annotated[bool | None, BeforeValidator(unsaid_if_false)] = None
    norm: Annotated[Literal["none"] | None, BeforeValidator(unsaid_if_layer)] = None
    tokens: Literal["raster", "published", "column", "snake", "permuted"]
    patch: Positive
    d_model: Positive
    d_state: Annotated[int, Field(ge=2, multiple_of=2)]
    layers: Positive
    pointwise: Literal["none", "gelu"]
    output: Literal["linear", "glu"]
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)]

    @model_validator(mode="after")
    def _sections_match_their_switch(self) -> Self:
        if (self.enhancement == "ads") != (self.ads is not None):
            raise ValueError("a section `ads` is needed if `enhancement` is ads, and not allowed otherwise")
        check_own_sections(self, "mixer", MIXERS)
        if self.bidirectional and not MIXERS[self.mixer].convolution:
            convolutions = ", ".join(name for name, entry in MIXERS.items() if entry.convolution)
            raise ValueError(f"`bidirectional` is for the convolutional mixers ({convolutions})")
        if self.norm == "none" and MIXERS[self.mixer].own_norms:
            raise ValueError(f"`norm` none is not for {self.mixer}: its layers have norms of their own")
        return self

    @property
    def own_section(self) -> Strict | None:
        """The settings that only this mixer has; None for a mixer without such settings."""
        found: Strict | None = getattr(self, self.mixer) if self.mixer in type(self).model_fields else None
        return found
