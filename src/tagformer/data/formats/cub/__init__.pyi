from .reader import CubFormat as CubFormat
