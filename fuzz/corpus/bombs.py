"""Writes pictures/ beside this file: small files whose headers claim more than an upload may have. Each
is a picture of the tests with other numbers for its sides.

    python bombs.py
"""

import pathlib
import struct
import zlib

HERE = pathlib.Path(__file__).resolve().parent
PICTURES = HERE.parent.parent / "shared/models/tests/fixtures/pictures"


def sized(name, at, layout, across, down):
    file = bytearray((PICTURES / name).read_bytes())
    struct.pack_into(layout, file, at(bytes(file)) if callable(at) else at, across, down)
    if name.endswith(".png"):
        struct.pack_into(">I", file, 29, zlib.crc32(file[12:29]))
    (HERE / "pictures" / f"{across}x{down}-{name}").write_bytes(file)


def jpeg_frame(file):
    return next(at + 5 for at in range(len(file)) if file[at : at + 2] in (b"\xff\xc0", b"\xff\xc2"))


(HERE / "pictures").mkdir(exist_ok=True)
sized("palette2.png", 16, ">II", 0x7FFFFFFF, 0x7FFFFFFF)
sized("grey16.png", 16, ">II", 20_001, 1)
sized("transparent.gif", 6, "<HH", 65_535, 65_535)
sized("bilevel.bmp", 18, "<ii", 60_000, -60_000)
sized("photo_few_scans.jpg", jpeg_frame, ">HH", 65_500, 65_500)
sized("lossy.webp", lambda file: file.index(b"\x9d\x01\x2a") + 3, "<HH", 16_383, 16_383)
