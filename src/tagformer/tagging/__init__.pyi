from .explanation import Explanation as Explanation
from .prediction import Prediction as Prediction
from .prediction import Suggestion as Suggestion
from .prediction import Tag as Tag
from .questions import expected_information_gain as expected_information_gain
from .similarity import embed as embed
from .simulation import simulate as simulate
from .tagger import Tagger as Tagger
