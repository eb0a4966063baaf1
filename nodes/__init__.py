"""The nodes, each a thin layer over ``cat_core``."""

from .compare import CATPruningCompare
from .demo import CATPruningDemoLoader
from .patch import CATPruning
from .report import CATPruningReport
from .settings import CATPruningSettings

NODES = [CATPruning, CATPruningSettings, CATPruningReport, CATPruningCompare, CATPruningDemoLoader]
