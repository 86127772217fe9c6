from .batches import MapBatch as MapBatch
from .batches import RememberedItems as RememberedItems
from .encoding import encoded_batches as encoded_batches
from .remember import missing_features as missing_features
from .remember import remember_features as remember_features
from .remembered import RememberedFeatures as RememberedFeatures
from .store import FeatureStore as FeatureStore
from .views import view_names as view_names
