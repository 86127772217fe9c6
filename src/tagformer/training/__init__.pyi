from .prepare import Reporter as Reporter
from .train import Fitted as Fitted
from .train import fit as fit
