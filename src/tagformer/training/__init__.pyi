from .fit import Fitted as Fitted
from .fit import Listener as Listener
from .fit import fit as fit
