"""The section `probe`: on how many images, and under which attack, the trained models are probed."""

from __future__ import annotations

from ssmlab.params.adversary import AdversaryParams
from ssmlab.params.base import Device, Positive, Seed, Strict


class ProbeParams(Strict):
    """What the stage `probe` is given.

    images: the first so many of the test images and of the training images, or as many as there are.
    adversary: the attack whose errors are followed through the layers; its eps is the one that bounds are judged at.
    """

    device: Device
    images: Positive
    adversary: AdversaryParams
    seed: Seed
