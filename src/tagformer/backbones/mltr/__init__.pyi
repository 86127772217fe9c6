from .attention import CrossWindowAttention as CrossWindowAttention
from .attention import PixelAttention as PixelAttention
from .network import MlTrBackbone as MlTrBackbone
from .variants import VARIANTS as VARIANTS
from .variants import create_mltr as create_mltr
