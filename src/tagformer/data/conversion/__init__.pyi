from .convert import Conversion as Conversion
from .convert import convert as convert
from .convert import write_dataset as write_dataset
