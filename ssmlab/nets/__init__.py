"""The models: one file per mixer, and the classifier around them."""

from ssmlab.nets.build import build
from ssmlab.nets.classifier import Classifier, ssm_parameters

__all__ = ["Classifier", "build", "ssm_parameters"]
