"""The models: one mixer a file, and the classifier around them."""

from ssmlab.nets.build import build
from ssmlab.nets.classifier import Classifier, ssm_parameters

__all__ = ["Classifier", "build", "ssm_parameters"]
