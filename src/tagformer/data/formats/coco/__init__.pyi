from .captions import Coco1000Format as Coco1000Format
from .instances import CocoFormat as CocoFormat
from .writer import CocoWriter as CocoWriter
