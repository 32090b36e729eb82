"""What can be said about a study: params.yaml as strict, frozen models. `ssmlab.project.params_file` reads the file."""

from ssmlab.params.attack import (
    AttackBase,
    AttackParams,
    AttackSpec,
    AutoAttackParams,
    FgsmParams,
    PgdParams,
    ScreenedAutoAttackParams,
)
from ssmlab.params.base import IMPORTED, NAME, Device, Epsilon, ImageCount, Norm, Positive, Seed, Strict, Which
from ssmlab.params.data import DataParams
from ssmlab.params.grid import GridParams, GridRun
from ssmlab.params.model import CONVOLUTIONS, AdsParams, MegaParams, ModelParams, S4dParams
from ssmlab.params.probe import ProbeParams
from ssmlab.params.seeds import seed_groups
from ssmlab.params.study import AnalyzeParams, ClaimParams, Params, ReportParams, RunParams
from ssmlab.params.train import (
    AdversaryParams,
    AugmentParams,
    AveragingParams,
    AwpParams,
    FgsmAtParams,
    FreeParams,
    JacobianParams,
    MartParams,
    OptimizerParams,
    RegimeName,
    SelectionParams,
    TradesParams,
    TrainParams,
    YopoParams,
)

__all__ = [
    "CONVOLUTIONS",
    "IMPORTED",
    "NAME",
    "AdsParams",
    "AdversaryParams",
    "AnalyzeParams",
    "AttackBase",
    "AttackParams",
    "AttackSpec",
    "AugmentParams",
    "AutoAttackParams",
    "AveragingParams",
    "AwpParams",
    "ClaimParams",
    "DataParams",
    "Device",
    "Epsilon",
    "FgsmAtParams",
    "FgsmParams",
    "FreeParams",
    "GridParams",
    "GridRun",
    "ImageCount",
    "JacobianParams",
    "MartParams",
    "MegaParams",
    "ModelParams",
    "Norm",
    "OptimizerParams",
    "Params",
    "PgdParams",
    "Positive",
    "ProbeParams",
    "RegimeName",
    "ReportParams",
    "RunParams",
    "S4dParams",
    "ScreenedAutoAttackParams",
    "Seed",
    "SelectionParams",
    "Strict",
    "TradesParams",
    "TrainParams",
    "Which",
    "YopoParams",
    "seed_groups",
]
