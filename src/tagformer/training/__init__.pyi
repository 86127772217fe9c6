from .fitting import fit as fit
from .prepare import Reporter as Reporter
from .train import Fitted as Fitted
