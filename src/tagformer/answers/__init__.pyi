from .change import Change as Change
from .change import Entry as Entry
from .store import AnswerStore as AnswerStore
