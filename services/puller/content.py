"""What a file is, by its bytes.

QuickBooks passes on what the uploading program declared, which may be anything, and a host in trouble may
send a page that says so in place of the file.
"""

import re

import filetype

HTML, XML, UNKNOWN = "text/html", "application/xml", "application/octet-stream"

_MARKED_UP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<")
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_DECLARED = re.compile(r"[/+](?:x?html|xml)\b", re.IGNORECASE)
_FAULT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?<Error\b")
"""How an object store refuses."""
_BEGINNING = 1024
"""Bytes that tell markup."""


def true_type(data: bytes) -> str:
    """The media type of the bytes; UNKNOWN where no signature tells."""
    beginning = data[:_BEGINNING]
    if (known := filetype.guess_mime(data)) is not None:
        return str(known)
    if _MARKED_UP.match(beginning):
        return HTML if _HTML.search(beginning) else XML
    return UNKNOWN


def is_page(data: bytes, name: str, declared: str) -> bool:
    """Whether the bytes are a page about the file instead of the file.

    Markup is a file in its own right where it was attached as markup: an electronic invoice, a saved page.
    """
    if true_type(data) not in {HTML, XML}:
        return False
    expected = name.lower().endswith((".xml", ".html", ".htm", ".xhtml", ".svg")) or _DECLARED.search(declared)
    return not expected or _FAULT.match(data[:_BEGINNING]) is not None
