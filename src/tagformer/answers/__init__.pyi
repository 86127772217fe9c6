from .change import Change as Change
from .change import Entry as Entry
from .store import AnswerStore as AnswerStore
from .writing import Exported as Exported
from .writing import TaggedImage as TaggedImage
from .writing import export as export
