"""The images of a request: its body, or the files of a form. Nothing that a client sends is used as a path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.requests import Request

from tagformer.errors import TagformerError

FIELD = "image"
MOST_FIELDS, LONGEST_FIELD = 16, 1 << 20
FORM = "multipart/form-data"
WRONG_TYPES = ("application/json", "text/html", "application/xml")


@dataclass(frozen=True)
class Upload:
    """An image that a client sent.

    Attributes:
        place: where it was in the request, for messages.
        data: the encoded image.

    >>> from tagformer.serve.http.uploads import Upload
    >>> str(Upload("2 of the request", b"GIF89a"))
    '2 of the request'
    """

    place: str
    data: bytes

    def read(self) -> bytes:
        """The bytes."""
        return self.data

    def __str__(self) -> str:
        return self.place


@dataclass(frozen=True)
class Uploaded:
    """The images of a request, and the other fields of its form."""

    images: list[Upload]
    fields: Mapping[str, list[str]]


async def read_uploads(request: Request, most_images: int) -> Uploaded:
    """Read the images of a request.

    Raises:
        TagformerError: it has none.
        HTTPException: it has too many, or the form is damaged.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == FORM:
        return await _read_form(request, most_images)
    if kind in WRONG_TYPES:
        raise TagformerError(f"the request is of the type {kind}: send the bytes of an image, or {FORM}.")
    data = await request.body()
    if not data:
        raise TagformerError(f"the request has no image: send its bytes as the body, or in {FORM} as '{FIELD}'.")
    return Uploaded([Upload("in the request", data)], {})


async def _read_form(request: Request, most_images: int) -> Uploaded:
    data: list[bytes] = []
    fields: dict[str, list[str]] = {}
    async with request.form(max_files=most_images, max_fields=MOST_FIELDS, max_part_size=LONGEST_FIELD) as form:
        for name, value in form.multi_items():
            if (name == FIELD) != isinstance(value, UploadFile):
                wrong = "a text: send a file" if name == FIELD else f"a file: only '{FIELD}' may be one"
                raise TagformerError(
                    f"the field '{name[:80]}' of the form is {wrong}, as in curl -F {FIELD}=@photo.jpg."
                )
            if isinstance(value, UploadFile):
                data.append(await value.read())
            else:
                fields.setdefault(name, []).append(value)
    if not data:
        raise TagformerError(f"the form has no image: send a file as '{FIELD}'.")
    single = len(data) == 1
    places = ["in the request"] if single else [f"{number} of the request" for number in range(1, len(data) + 1)]
    return Uploaded([Upload(place, content) for place, content in zip(places, data, strict=True)], fields)
