from .loader import Batch as Batch
from .loader import ImageItems as ImageItems
from .loader import ImageLoader as ImageLoader
from .loader import TrainingLoader as TrainingLoader
from .loader import evaluation_loader as evaluation_loader
