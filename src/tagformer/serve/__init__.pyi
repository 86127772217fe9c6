from .app import create_app as create_app
from .engine import Engine as Engine
from .hooks import AnnotationEvent as AnnotationEvent
from .hooks import CountingHooks as CountingHooks
from .hooks import LoopHooks as LoopHooks
from .settings import LabelStudioSettings as LabelStudioSettings
from .settings import ServeSettings as ServeSettings
