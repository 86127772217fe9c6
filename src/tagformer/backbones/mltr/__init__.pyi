from .attention import CrossWindowAttention as CrossWindowAttention
from .attention import WindowAttention as WindowAttention
from .network import MlTrBackbone as MlTrBackbone
from .variants import VARIANTS as VARIANTS
from .variants import create_mltr as create_mltr
