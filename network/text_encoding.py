"""Text of files that people make with other programs, which do not say how it is encoded."""

import codecs
from contextlib import suppress

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark begins it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

CODE_PAGES = (
    *("gb18030", "cp950", "cp932", "cp949"),  # Chinese, Japanese, Korean
    *(f"cp{number}" for number in (874, *range(1250, 1259))),
)
"""What Windows, and Excel's plain "CSV", write in the countries of the world; GB 18030 has GBK."""


def possible_texts(data: bytes) -> list[str]:
    """The text of a file; several where only its words can tell which is right.

    Unicode tells itself: by its mark, by the zeros of UTF-16, or because text of another encoding
    is almost never valid UTF-8.

    Raises:
        ValueError: it is cut off, or no text at all.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return [data.decode(encoding)]
    if b"\0" in data:  # its second or its first bytes are those of separators and line ends
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
