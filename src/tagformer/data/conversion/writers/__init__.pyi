from .base import Job as Job
from .base import Part as Part
from .base import Writer as Writer
from .registry import WRITERS as WRITERS
