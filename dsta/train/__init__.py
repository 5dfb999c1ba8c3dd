"""From labelled clips to a checkpoint."""

from dsta.train.config import SMALL_RECIPE, ReferenceConfig, TrainConfig
from dsta.train.fit import TrainingRun, fit
from dsta.train.loop import Compute

__all__ = ["SMALL_RECIPE", "Compute", "ReferenceConfig", "TrainConfig", "TrainingRun", "fit"]
