"""The nodes, each a thin layer over ``cat_core``."""

from .compare import CATPruningCompare
from .demo import CATPruningDemoLoader
from .patch import CATPruning
from .report import CATPruningReport
from .settings import CATPruningSettings
from .tune import CATPruningTune

NODES = [CATPruning, CATPruningSettings, CATPruningReport, CATPruningCompare, CATPruningTune, CATPruningDemoLoader]
