from ._common.format import Format as Format
from ._common.writer import Item as Item
from ._common.writer import Job as Job
from ._common.writer import Part as Part
from ._common.writer import TextPart as TextPart
from ._common.writer import Writer as Writer
