"""The endings of the image files that can be read here, which depends on the installed Pillow and on pillow-heif."""

from __future__ import annotations

from PIL import features

HEIC = frozenset({".heic", ".heif"})


def _heif_opener_registered() -> bool:
    """Whether pillow-heif is installed; Pillow then reads HEIC through it."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _readable() -> frozenset[str]:
    extensions = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
    if "avif" in features.modules and features.check_module("avif"):
        extensions.add(".avif")
    if features.check_codec("jpg_2000"):
        extensions |= {".jp2", ".j2k", ".jpx"}
    return frozenset(extensions | (HEIC if _heif_opener_registered() else set()))


EXTENSIONS = _readable()
