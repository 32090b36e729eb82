"""The settings of a study: params.yaml as strict, frozen models. `ssmlab.project.params_file` reads the file."""

from ssmlab.params.adversary import AdversaryParams, AwpParams, SelectionParams
from ssmlab.params.attack import LENGTHS, AttackParams
from ssmlab.params.attack_kinds import ATTACKS, AttackSpec
from ssmlab.params.attack_settings import (
    ApgdParams,
    AttackBase,
    AutoAttackParams,
    FgsmParams,
    FmnParams,
    PgdParams,
    ScreenedAutoAttackParams,
    SquareParams,
    TokenParams,
)
from ssmlab.params.base import (
    IMPORTED,
    NAME,
    NORM_NAMES,
    Device,
    Epsilon,
    ImageCount,
    Norm,
    Positive,
    Seed,
    Strict,
    Which,
)
from ssmlab.params.data import DataParams
from ssmlab.params.grid import GridParams, GridRun
from ssmlab.params.model import MIXERS, AdsParams, MegaParams, ModelParams, S4dParams
from ssmlab.params.probe import ProbeParams
from ssmlab.params.seeds import seed_groups
from ssmlab.params.study import AnalyzeParams, ClaimParams, Params, ReportParams, RunParams
from ssmlab.params.train import (
    REGIMES,
    AugmentParams,
    AveragingParams,
    FgsmAtParams,
    FreeParams,
    JacobianParams,
    MartParams,
    OptimizerParams,
    TradesParams,
    TrainParams,
    YopoParams,
)

__all__ = [
    "ATTACKS",
    "IMPORTED",
    "LENGTHS",
    "MIXERS",
    "NAME",
    "NORM_NAMES",
    "REGIMES",
    "AdsParams",
    "AdversaryParams",
    "AnalyzeParams",
    "ApgdParams",
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
    "FmnParams",
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
    "ReportParams",
    "RunParams",
    "S4dParams",
    "ScreenedAutoAttackParams",
    "Seed",
    "SelectionParams",
    "SquareParams",
    "Strict",
    "TokenParams",
    "TradesParams",
    "TrainParams",
    "Which",
    "YopoParams",
    "seed_groups",
]
