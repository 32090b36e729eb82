"""The section `model`: one network, whole."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ssmlab.params.base import Positive, Strict

MixerName = Literal["s4", "s4d", "dss", "s5", "mamba", "mega"]
CONVOLUTIONS = ("s4", "s4d", "dss")  # the mixers that are one convolution kernel a channel


def unsaid_if_false(value: Any) -> Any:
    """A switch that is off is the same as one left out, so that one model has one fingerprint."""
    return None if value is False else value


def unsaid_if_layer(value: Any) -> Any:
    """LayerNorm is what a model has when nothing is said, and models from before the setting say nothing."""
    return None if value == "layer" else value


class AdsParams(Strict):
    """Adaptive scaling (Qi et al. 2024, eq. 9): y <- act(W_s y + b_s) * y + act(W_b y + b_b).

    parts: `scale` and `bias` keep one of the two maps. Controls: `constant` has both with W_s = W_b = 0; `sum` is
    y + act(W_s y + b_s) + act(W_b y + b_b), without the product; act `none` is the product without an activation.
    """

    act: Literal["relu", "sigmoid", "tanh", "none"]
    parts: Literal["both", "scale", "bias", "constant", "sum"]


class S4dParams(Strict):
    """What S4D leaves open (Gu et al. 2022, "On the Parameterization and Initialization of Diagonal SSMs").

    discretisation: zero-order hold or bilinear; initial: the eigenvalues A starts at, S4D-Lin or S4D-Inv.
    """

    discretisation: Literal["zoh", "bilinear"]
    initial: Literal["lin", "inv"]


class MegaParams(Strict):
    """Sizes inside a Mega layer (Ma et al. 2023); `d_model` comes from the model.

    z: width of the shared representation behind queries and keys; hidden: width of the values and of the gate;
    ffn: width of the normalised feed-forward network; ema: dimensions of the damped EMA a channel.
    """

    z: Positive
    hidden: Positive
    ffn: Positive
    ema: Positive


class ModelParams(Strict):
    """One model, whole: what `ssmlab.nets.build` needs besides the image shape and the number of classes.

    tokens: `raster` is the pixel order of the paper's text; `published` the order its code produces (for C > 1 a token
    is then C neighbouring values of one colour plane); `column`, `snake` and `permuted` are other orders of the same
    patches. pointwise and output: what follows the SSM; `none` and `linear`
    reproduce the published code. docs/deviations.md has the evidence for each. d_state: the state's size (see
    docs/models.md for what each mixer counts). bidirectional: a second kernel runs from the last token to the first.
    norm: `layer` (the default) or `none`, which leaves out every LayerNorm.
    """

    mixer: MixerName
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
            raise ValueError("a section `ads` is needed exactly when `enhancement` is ads")
        if (self.mixer == "s4d") != (self.s4d is not None):
            raise ValueError("a section `s4d` is needed exactly when `mixer` is s4d")
        if (self.mixer == "mega") != (self.mega is not None):
            raise ValueError("a section `mega` is needed exactly when `mixer` is mega")
        if self.bidirectional and self.mixer not in CONVOLUTIONS:
            raise ValueError(f"`bidirectional` is for the convolutional mixers ({', '.join(CONVOLUTIONS)})")
        if self.norm == "none" and self.mixer == "mega":
            raise ValueError("`norm` none is not for mega: its layers have norms of their own")
        return self
