from .fit import Fitted as Fitted
from .fit import fit as fit
from .prepare import Reporter as Reporter
