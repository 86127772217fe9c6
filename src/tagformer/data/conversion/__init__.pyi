from .converter import Conversion as Conversion
from .converter import convert as convert
from .converter import write_dataset as write_dataset
