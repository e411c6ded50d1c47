"""Small real files of different types, made in code: the same bytes on every machine.

Compressed formats use stored blocks only, because compressors differ between zlib versions. No
file comes from this machine, so bundles made of them have the same digest everywhere.
"""

from __future__ import annotations

import io
import math
import struct
import wave
import zipfile
import zlib

__all__ = ["sample_files"]


def sample_files() -> dict[str, tuple[str, bytes]]:
    """File name → content type and content."""
    return {
        "gradient.png": ("image/png", png(48, 48)),
        "report.pdf": ("application/pdf", pdf()),
        "primes.py": ("text/x-python", PYTHON.encode()),
        "notes.zip": ("application/zip", archive()),
        "page.html": ("text/html", HTML.encode()),
        "tone.wav": ("audio/wav", tone()),
    }


def png(width: int, height: int) -> bytes:
    """A colour gradient."""
    rows = b"".join(
        b"\0" + bytes(v for x in range(width) for v in (5 * x % 256, 5 * y % 256, (x * y) % 256))
        for y in range(height)
    )

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows, 0))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def pdf() -> bytes:
    """One page of text, with a valid cross-reference table."""
    lines = ("Quarterly report", "Every model version keeps its own URL.", "Nothing idles.")
    text = "BT /F1 18 Tf 72 720 Td 24 TL " + " ".join(f"({line}) Tj T*" for line in lines) + " ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        " /Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(text)} >>\nstream\n{text}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    tail = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n"
    return out + (head + table + tail).encode("latin-1")


def archive() -> bytes:
    """Two text files, stored."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, text in (
            ("notes.txt", "Call by version.\n" * 12),
            ("todo.txt", "Roll back.\n" * 9),
        ):
            file.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), text)
    return buffer.getvalue()


def tone() -> bytes:
    """A twentieth of a second of 440 Hz."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        # Rounded to steps of 16, so that no platform's sine ends on the other side of one.
        samples = (16 * round(500 * math.sin(2 * math.pi * 440 * n / 16_000)) for n in range(800))
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return buffer.getvalue()


PYTHON = '''\
"""Prime numbers, by the sieve of Eratosthenes."""

from collections.abc import Iterator


def primes(limit: int) -> Iterator[int]:
    """Yield the primes below ``limit``."""
    composite = bytearray(limit)
    for number in range(2, limit):
        if composite[number]:
            continue
        yield number
        for multiple in range(number * number, limit, number):
            composite[multiple] = 1


if __name__ == "__main__":
    print(*primes(100), sep=", ")
'''

HTML = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Versions</title>
<style>
  body { font-family: sans-serif; margin: 2em; }
  table { border-collapse: collapse; }
</style>
</head>
<body>
<h1>Versions</h1>
<p>Every version of a model has a URL of its own.</p>
<table border="1">
<tr><th>version</th><th>size</th></tr>
<tr><td><a href="/v1/models/magika/versions/1">1</a></td><td>3.2&nbsp;MB</td></tr>
<tr><td><a href="/v1/models/magika/versions/2">2</a></td><td>1.6&nbsp;MB</td></tr>
</table>
</body>
</html>
"""
