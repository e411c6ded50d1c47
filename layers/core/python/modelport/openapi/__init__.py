"""What a version answers, for people and for machines: OpenAPI 3.1 and a page that shows it.

Made from signature, goldens and description, and from nothing else: it wakes no model, reads no
file, and needs the standard library only. Router and runtime import it when somebody asks, never
before. The page is drawn from the document, so the two cannot disagree.
"""

from modelport.openapi.about import About, Place
from modelport.openapi.document import model_document, server_document
from modelport.openapi.page import PAGE_HEADERS, model_page, server_page

__all__ = [
    "PAGE_HEADERS",
    "About",
    "Place",
    "model_document",
    "model_page",
    "server_document",
    "server_page",
]
