"""Inputs to start from: well-formed ones, so that mutations reach behind the first check."""

import io

from PIL import Image

BLANK = b"\n" * 7


def event_seeds() -> list[bytes]:
    data = (
        b'{"image_url":"https://h.example/a.png?x=1","captured_at":"2026-01-31T12:00:00Z",'
        b'"caption":"a","attributes":{"a":1,"b":-9223372036854775808,"c":1.5e300,"d":null,"e":true}}'
    )
    binary = b"application/json\n1.0\ne1\ns1\nframeloop.screenshot.v1\n2026-01-31T12:00:00Z\nkey\n"
    structured = b"application/cloudevents+json" + BLANK
    envelope = b'{"specversion":"1.0","id":"e","source":"s","type":"frameloop.screenshot.v1",'
    return [
        binary + data,
        BLANK + data[:-1] + b',"event_id":"e","source":"s","sent_at":"9998-12-31T23:59:59-14:00"}',
        structured + envelope + b'"time":"2026-01-31T12:00:00+02:00","data":' + data + b"}",
        structured + envelope + b'"data_base64":"eyJpbWFnZV91cmwiOiJ1In0="}',
    ]


def image_seeds() -> list[bytes]:
    seeds = []
    for mode in ("RGB", "L", "P", "1", "RGBA", "I;16", "CMYK"):
        picture = Image.linear_gradient("L").resize((24, 16)).convert("L")
        picture = picture.convert(mode if mode != "I;16" else "I").convert(mode)
        for name, options in (
            ("JPEG", {}),
            ("JPEG", {"progressive": True}),
            ("PNG", {}),
            ("WEBP", {"lossless": True}),
            ("WEBP", {}),
            ("GIF", {}),
            ("BMP", {}),
        ):
            packed = io.BytesIO()
            try:
                picture.save(packed, name, **options)
            except (OSError, ValueError):
                continue  # this format has no such mode
            seeds.append(packed.getvalue())
    return seeds


def url_seeds() -> list[bytes]:
    return [
        b"https://h.example:8443/a/b.png?sig=%2f#f\n../c.png",
        b"http://b\xc3\xbccher.example/\xc3\xa4\n//cdn.example/x",
        b"http://1.1.1.1/\nhttp://0x7f.1/",
        b"http://[2606:4700:4700::1111]:80/\nhttps://[::ffff:127.0.0.1]/",
        b"http://u:p@h/\n\\\\evil.example\\x",
        b"http://2130706433/",
        b"http://h.example/x%0d%0aHost:%20evil/%3fy/b.png\nc.png",
        b"http://h.example/\nhttp://[1::%\xff]:84/",
        b"http://h%2eexample/%00",
        b"http://[2606:4700:4700::1111]:8@/",
        b"http://\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1/",
    ]


SEEDS = {"event": event_seeds, "image": image_seeds, "url": url_seeds}
