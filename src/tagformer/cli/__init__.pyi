from .commands import app as app
from .program import main as main
