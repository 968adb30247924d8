"""The forms that run over tiles, each forward and back."""

from __future__ import annotations

from typing import Any

from afa_core.sde import IsotropicSDE
from afa_core.streaming.isotropic import Isotropic
from afa_core.streaming.isotropic_backward import IsotropicBack

Form = Isotropic
FORMS: dict[type[Any], type[Form]] = {IsotropicSDE: Isotropic}
BACK = {IsotropicSDE: IsotropicBack}
