"""Decoding of text files that do not say how they are encoded."""

import codecs
from contextlib import suppress

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, since it begins with the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

CODE_PAGES = (
    *("gb18030", "cp950", "cp932", "cp949"),  # Chinese, Japanese, Korean
    *(f"cp{number}" for number in (874, *range(1250, 1259))),
)
"""Encodings that Windows, and Excel's plain "CSV", use around the world; GB 18030 includes GBK."""


def possible_texts(data: bytes) -> list[str]:
    """Decode the bytes of a text file, in several ways if the encoding is uncertain.

    Unicode is recognized with certainty: by its byte order mark, by the zeros of UTF-16, or because
    text in another encoding is almost never valid UTF-8. All other encodings that fit give one text
    each, and only the words can tell which is right.

    Raises:
        ValueError: the text is cut off, or the bytes are no text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return [data.decode(encoding)]
    if b"\0" in data:  # in UTF-16, one of the two bytes of a separator or a line end is zero
        is_little = data[1::2].count(0) > data[::2].count(0)
        return [data.decode("utf-16-le" if is_little else "utf-16-be")]
    with suppress(UnicodeDecodeError):
        return [data.decode()]
    texts = []
    for encoding in CODE_PAGES:
        with suppress(UnicodeDecodeError):
            texts.append(data.decode(encoding))
    if not texts:
        raise ValueError("text of no encoding")
    return list(dict.fromkeys(texts))
