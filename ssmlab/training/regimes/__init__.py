"""All regimes by their name in `train.regime`. A new regime is a file in this folder and a line here."""

from __future__ import annotations

from ssmlab.params.train import RegimeName
from ssmlab.training.regimes.base import Regime
from ssmlab.training.regimes.fgsm_at import FgsmAt
from ssmlab.training.regimes.free import Free
from ssmlab.training.regimes.jacobian import Jacobian
from ssmlab.training.regimes.mart import Mart
from ssmlab.training.regimes.pgd_at import PgdAt
from ssmlab.training.regimes.standard import Standard
from ssmlab.training.regimes.trades import Trades
from ssmlab.training.regimes.yopo import Yopo

REGIMES: dict[RegimeName, type[Regime]] = {
    "standard": Standard,
    "pgd_at": PgdAt,
    "trades": Trades,
    "mart": Mart,
    "free": Free,
    "yopo": Yopo,
    "fgsm": FgsmAt,
    "jacobian": Jacobian,
}
