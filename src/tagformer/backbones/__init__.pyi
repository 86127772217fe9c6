from .base import Backbone as Backbone
from .base import batch_norms as batch_norms
from .base import has_folded_norms as has_folded_norms
from .mltr.network import MlTrBackbone as MlTrBackbone
from .registry import create_backbone as create_backbone
from .timm import TINY as TINY
from .timm import TimmBackbone as TimmBackbone
from .tiny import TinyBackbone as TinyBackbone
