"""What the HTTP/2 origin answers, by the first segment of the path. Query parameters set the details."""
import asyncio
import json
import struct
from urllib.parse import parse_qs, urlsplit

from answers import body_of

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED = 0x1, 0x4, 0x8
ANSWERS = {}


def answer(function):
    ANSWERS[function.__name__.rstrip("_").replace("_", "-")] = function
    return function


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def goaway_frame(last_stream, code):
    return frame(GOAWAY, 0, 0, struct.pack("!II", last_stream, code))


def settings_frame(code, value):
    return frame(SETTINGS, 0, 0, struct.pack("!HI", code, value))


def literal(name, value):
    """One field as HPACK literal, without indexing and without Huffman: nothing is slow about a large one."""
    return b"\x00" + encode_integer(len(name), 7) + name.encode() + encode_integer(len(value), 7) + value.encode()


def encode_integer(number, bits):
    """RFC 7541 5.1, the bits before it zero."""
    most = (1 << bits) - 1
    if number < most:
        return bytes([number])
    out, number = bytes([most]), number - most
    while number >= 128:
        out, number = out + bytes([number % 128 + 128]), number // 128
    return out + bytes([number])


class Stream:
    """One request, and the ways of answering it."""

    def __init__(self, session, number, headers):
        self.session, self.id, self.headers, self.body = session, number, list(headers), b""
        fields = dict(headers)
        self.method, self.target = fields.get(":method", ""), fields.get(":path", "")
        parts = urlsplit(self.target)
        self.path = parts.path
        self.segments = parts.path.strip("/").split("/")
        self.query = {k: v[-1] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}

    def number(self, name, fallback):
        return int(self.query.get(name, fallback))

    def argument(self, fallback=""):
        return self.segments[1] if len(self.segments) > 1 else fallback

    def over(self):
        """Before the last frame is on the wire: the client may open its next stream as soon as it sees that."""
        self.session.streams.pop(self.id, None)

    async def head(self, *fields, status=200, end=False):
        if end:
            self.over()
        self.session.h2.send_headers(self.id, [(":status", str(status)), ("content-type", "text/plain"),
                                               ("server", "h2origin"), *fields], end_stream=end)
        await self.session.flush()

    async def data(self, body, end=True):
        """Sends at the client's pace: never beyond its windows."""
        session = self.session
        while body:
            room = min(session.h2.local_flow_control_window(self.id), session.h2.max_outbound_frame_size, len(body))
            if room <= 0:
                session.window_opened.clear()
                await session.window_opened.wait()
                continue
            session.h2.send_data(self.id, body[:room])
            body = body[room:]
            await session.flush()
        if end:
            self.over()
            session.h2.end_stream(self.id)
            await session.flush()

    async def whole(self, *fields, status=200, body=b"ok"):
        if self.method == "HEAD" or status in (204, 304):
            await self.head(*fields, status=status, end=True)
            return
        await self.head(("content-length", str(len(body))), *fields, status=status)
        await self.data(body)

    async def raw(self, *frames):
        await self.session.raw(*frames)

    def block(self, fields):
        """A header block by the connection's own encoder, so that its table stays true."""
        return self.session.h2.encoder.encode(fields)

    def raw_headers(self, fields, flags=END_HEADERS, stream=None):
        return frame(HEADERS, flags, self.id if stream is None else stream, self.block(fields))

    def times_before(self):
        return self.session.ledger.count("h2 " + self.target)


async def respond(stream):
    await ANSWERS.get(stream.segments[0], not_found)(stream)


async def not_found(x):
    await x.whole(status=404, body=b"no such answer")


# Good answers: /ok /bytes/N /echo /status/N /slow?ms= /no-length/N /trailers /interim/N /padded /unknown-frame /empty-data


@answer
async def ok(x):
    await x.whole()


@answer
async def bytes_(x):
    await x.whole(body=body_of(int(x.argument("0"))))


@answer
async def no_length(x):
    await x.head()
    await x.data(body_of(int(x.argument("0"))))


@answer
async def echo(x):
    told = {"method": x.method, "target": x.target, "headers": x.headers, "body": x.body.decode("latin-1"),
            "conn": x.session.connection.number, "sni": x.session.connection.sni}
    await x.whole(body=json.dumps(told).encode())


@answer
async def status(x):
    await x.whole(status=int(x.argument("200")))


@answer
async def slow(x):
    await asyncio.sleep(x.number("ms", 100) / 1000)
    await x.whole()


@answer
async def trailers(x):
    await x.head()
    await x.data(b"wiki", end=False)
    x.session.h2.send_headers(x.id, [("x-sum", "17")], end_stream=True)
    await x.session.flush()


@answer
async def interim(x):
    for _ in range(int(x.argument("1"))):
        await x.raw(x.raw_headers([(":status", "103"), ("link", "</style.css>; rel=preload")]))
    await x.whole()


@answer
async def padded(x):
    await x.head(("content-length", "4"))
    await x.raw(frame(DATA, END_STREAM | PADDED, x.id, b"\x10wiki" + b"\0" * 16))


@answer
async def unknown_frame(x):
    await x.raw(frame(0xBE, 0xFF, x.id, b"to be ignored"), frame(0xBF, 0, 0, b"this too"))
    await x.whole()


@answer
async def empty_data(x):
    await x.head(("content-length", "4"))
    await x.raw(*[frame(DATA, 0, x.id)] * 20)
    await x.data(b"wiki")


@answer
async def redirect(x):
    left = int(x.argument("1"))
    await x.whole(("location", f"/redirect/{left - 1}" if left > 1 else "/ok"), status=302)


@answer
async def limit(x):
    if x.times_before() >= x.number("n", 1):
        await x.whole()
    else:
        fields = [("retry-after", x.query["after"])] if "after" in x.query else []
        await x.whole(*fields, status=int(x.argument("429")))


# Ends: /goaway?last=&code=&n= /goaway-then-answer /rst?code=&n= /rst-in-body?code= /cut /close /reset /stall /silent
# /upload-stall (no WINDOW_UPDATE) /refused-and-answered


@answer
async def goaway(x):
    """GOAWAY as if nothing above `last` had been seen, then the end; after n times an answer."""
    if x.times_before() >= x.number("n", 1):
        await x.whole()
        return
    await x.raw(goaway_frame(x.number("last", 0), x.number("code", 0)))
    x.session.end()


@answer
async def goaway_then_answer(x):
    """A graceful end: this stream is still answered, no further one is taken."""
    await x.raw(goaway_frame(x.id, 0))
    await asyncio.sleep(0.05)
    await x.whole()
    await asyncio.sleep(0.2)
    x.session.end()


@answer
async def rst(x):
    if x.times_before() >= x.number("n", 1000000):
        await x.whole()
        return
    await x.raw(frame(RST_STREAM, 0, x.id, struct.pack("!I", x.number("code", 2))))


@answer
async def rst_in_body(x):
    await x.head(("content-length", "100"))
    await x.data(body_of(50), end=False)
    await x.raw(frame(RST_STREAM, 0, x.id, struct.pack("!I", x.number("code", 2))))


@answer
async def cut(x):
    """Half a body, then FIN without close_notify and without GOAWAY."""
    await x.head(*([("content-length", "100")] if x.argument() != "no-length" else []))
    await x.data(body_of(50), end=False)
    await asyncio.sleep(0.02)
    x.session.end("cut")


@answer
async def close(x):
    await x.head(("content-length", "100"))
    await x.data(body_of(50), end=False)
    x.session.end()


@answer
async def reset(x):
    await x.head(("content-length", "100"))
    await x.data(body_of(50), end=False)
    await asyncio.sleep(0.02)
    x.session.end("reset")


@answer
async def stall(x):
    await x.head()
    await x.data(body_of(50), end=False)
    await asyncio.sleep(3600)


@answer
async def silent(x):
    await asyncio.sleep(3600)


@answer
async def drip(x):
    await x.head()
    while True:
        await x.data(b"x", end=False)
        await asyncio.sleep(x.number("ms", 1000) / 1000)


@answer
async def upload_stall(x):
    await asyncio.sleep(3600)


# Wrong lengths: /length/short|long|end-in-head|letters|differing


@answer
async def length(x):
    kind = x.argument()
    value = {"letters": "5x"}.get(kind, "100")
    fields = [(":status", "200"), ("content-length", value)]
    if kind == "differing":
        fields.append(("content-length", "50"))
    if kind == "end-in-head":
        await x.raw(x.raw_headers(fields, END_HEADERS | END_STREAM))
        return
    size = {"short": 50, "long": 150}.get(kind, 100)
    await x.raw(x.raw_headers(fields), frame(DATA, END_STREAM, x.id, body_of(size)))


# Bombs and floods: /bomb/table|continuation|fields|giant /beyond-window /ping-flood /settings-flood /interim-endless
# /empty-flood


@answer
async def bomb(x):
    kind = x.argument()
    if kind == "table":
        # One large field put into the table, then named thousands of times by one byte each: 80 KB become 312 MB.
        first = x.block([(":status", "200"), ("x-bomb", "a" * 3900)])
        await x.raw(frame(HEADERS, END_STREAM, x.id, first),
                    *[frame(CONTINUATION, END_HEADERS if i == 4 else 0, x.id, b"\xbe" * 16000) for i in range(5)])
    elif kind == "continuation":
        await x.raw(frame(HEADERS, 0, x.id, x.block([(":status", "200")])))
        while True:
            await x.raw(frame(CONTINUATION, 0, x.id, literal("x-a", "a" * 256)))
    elif kind == "empty-continuation":
        await x.raw(frame(HEADERS, 0, x.id, x.block([(":status", "200")])))
        while True:
            await x.raw(frame(CONTINUATION, 0, x.id) * 100)
    elif kind == "fields":
        await big_head(x, b"".join(literal(f"x-{i}", "y" * 20) for i in range(5000)))
    elif kind == "giant":
        await big_head(x, literal("x-giant", "a" * 1000000))


async def big_head(x, fields):
    block = x.block([(":status", "200")]) + fields
    parts = [block[i:i + 16000] for i in range(0, len(block), 16000)]
    frames = [frame(HEADERS if i == 0 else CONTINUATION, END_HEADERS if i == len(parts) - 1 else 0, x.id, part)
              for i, part in enumerate(parts)]
    await x.raw(*frames)
    await x.raw(frame(DATA, END_STREAM, x.id, b"ok"))


@answer
async def beyond_window(x):
    """100 MiB of DATA without ever looking at the client's windows."""
    await x.head()
    for _ in range(6400):
        await x.raw(frame(DATA, 0, x.id, body_of(16384)))


@answer
async def ping_flood(x):
    for _ in range(200):
        await x.raw(frame(PING, 0, 0, b"01234567") * 100)
    await x.whole()


@answer
async def settings_flood(x):
    for _ in range(200):
        await x.raw(frame(SETTINGS, 0, 0) * 100)
    await x.whole()


@answer
async def empty_flood(x):
    """Empty DATA frames for ever: traffic without progress."""
    await x.head()
    while True:
        await x.raw(frame(DATA, 0, x.id) * 100)


@answer
async def interim_endless(x):
    while True:
        await x.raw(x.raw_headers([(":status", "100")]))


# Frames that break RFC 9113: /bad/KIND


BAD_FRAMES = {
    "data-on-stream-0": lambda x: [frame(DATA, 0, 0, b"wiki")],
    "data-before-headers": lambda x: [frame(DATA, END_STREAM, x.id, b"wiki")],
    "headers-on-even-stream": lambda x: [x.raw_headers([(":status", "200")], stream=2)],
    "headers-on-idle-stream": lambda x: [x.raw_headers([(":status", "200")], stream=x.id + 1000)],
    "push-promise": lambda x: [frame(PUSH_PROMISE, END_HEADERS, x.id, struct.pack("!I", 2) + x.block(
        [(":method", "GET"), (":path", "/pushed"), (":scheme", "https"), (":authority", "pushed.test")]))],
    "window-update-0": lambda x: [frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", 0))],
    "window-overflow": lambda x: [frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", 0x7FFFFFFF))] * 2,
    "frame-too-big": lambda x: [x.raw_headers([(":status", "200")]), frame(DATA, END_STREAM, x.id, b"a" * 2000000)],
    "padding-too-long": lambda x: [x.raw_headers([(":status", "200")]), frame(DATA, PADDED, x.id, b"\xffwiki")],
    "settings-odd-length": lambda x: [frame(SETTINGS, 0, 0, b"12345")],
    "settings-ack-with-payload": lambda x: [frame(SETTINGS, 1, 0, b"\0\4\0\0\0\1")],
    "ping-short": lambda x: [frame(PING, 0, 0, b"1234")],
    "continuation-alone": lambda x: [frame(CONTINUATION, END_HEADERS, x.id, b"")],
    "hpack-index-0": lambda x: [frame(HEADERS, END_HEADERS, x.id, b"\x80")],
    "hpack-index-beyond-table": lambda x: [frame(HEADERS, END_HEADERS, x.id, b"\xff\xff\xff\x0f")],
    "uppercase-name": lambda x: [x.raw_headers([(":status", "200"), ("X-Upper", "1")], END_HEADERS | END_STREAM)],
    "no-status": lambda x: [x.raw_headers([("x-a", "1")], END_HEADERS | END_STREAM)],
    "two-statuses": lambda x: [x.raw_headers([(":status", "200"), (":status", "404")], END_HEADERS | END_STREAM)],
    "status-letters": lambda x: [x.raw_headers([(":status", "abc")], END_HEADERS | END_STREAM)],
    "pseudo-after-field": lambda x: [x.raw_headers([("x-a", "1"), (":status", "200")], END_HEADERS | END_STREAM)],
    "request-pseudo": lambda x: [x.raw_headers([(":status", "200"), (":path", "/")], END_HEADERS | END_STREAM)],
    "connection-field": lambda x: [x.raw_headers([(":status", "200"), ("connection", "close")],
                                                 END_HEADERS | END_STREAM)],
    "newline-in-value": lambda x: [x.raw_headers([(":status", "200"), ("x-a", "1\r\nx-b: 2")],
                                                 END_HEADERS | END_STREAM)],
    "trailers-without-end": lambda x: [x.raw_headers([(":status", "200")]), x.raw_headers([("x-sum", "1")])],
}


@answer
async def bad(x):
    await x.raw(*BAD_FRAMES[x.argument()](x))
    await asyncio.sleep(3600)

