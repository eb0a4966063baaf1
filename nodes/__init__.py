"""The nodes, each a thin layer over ``cat_core``."""

from ..cat_core.host.raylight import is_installed
from .compare import CATPruningCompare
from .demo import CATPruningDemoLoader
from .patch import CATPruning
from .raylight import CATPruningRaylight, CATPruningReportRaylight
from .report import CATPruningReport
from .settings import CATPruningSettings
from .tune import CATPruningTune

NODES = [CATPruning, CATPruningSettings, CATPruningReport, CATPruningCompare, CATPruningTune, CATPruningDemoLoader]
if is_installed():
    NODES += [CATPruningRaylight, CATPruningReportRaylight]
