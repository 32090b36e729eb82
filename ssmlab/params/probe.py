"""The section `probe`: on how many images, and under which attack, the trained models are probed."""

from __future__ import annotations

from ssmlab.params.adversary import AdversaryParams
from ssmlab.params.base import Device, Positive, Seed, Strict


class ProbeParams(Strict):
    """The settings of the stage `probe`.

    images: number of test images and of training images, the first ones of each; fewer if there are not so many.
    adversary: the attack whose errors are measured through the layers; the bounds are judged at its eps.
    """

    device: Device
    images: Positive
    adversary: AdversaryParams
    seed: Seed
