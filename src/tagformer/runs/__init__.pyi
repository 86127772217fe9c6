from .run import Run as Run
from .warm_start import start_from_run as start_from_run
