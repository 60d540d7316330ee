"""Making any text safe to put into HTML or SVG."""

import html
import re

NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def escape(text: str) -> str:
    """`text` for an element or a quoted attribute; what is no character (NUL, half a surrogate pair) becomes U+FFFD."""
    return html.escape(NOT_TEXT.sub("\ufffd", text))
