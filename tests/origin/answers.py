"""What the HTTP/1.1 origin answers, by the first segment of the path. Query parameters set the details.

Each answer is a coroutine that is given an Exchange; it returns True when the connection may serve another request, and
False when it is over (closed here, or by the answer itself in a worse way). A comment before each group lists its paths.
"""
import asyncio
import hashlib
import json
import zlib
from urllib.parse import parse_qs, urlsplit

PATTERN = b"0123456789abcdef"
ANSWERS = {}


def answer(function):
    ANSWERS[function.__name__.rstrip("_").replace("_", "-")] = function
    return function


def body_of(size):
    """The known body of `size` bytes; its hash can be worked out by a test."""
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


class Exchange:
    """One request, and the ways of answering it."""

    def __init__(self, connection, method, target, version, headers, body):
        self.connection, self.method, self.target, self.version = connection, method, target, version
        self.headers, self.body = headers, body
        parts = urlsplit(target)
        self.path = parts.path
        self.segments = parts.path.strip("/").split("/")
        self.query = {k: v[-1] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}

    def number(self, name, fallback):
        return int(self.query.get(name, fallback))

    def argument(self, fallback=""):
        return self.segments[1] if len(self.segments) > 1 else fallback

    async def send(self, data):
        await self.connection.send(data)

    async def head(self, status=200, *fields, length=None, version="1.1"):
        lines = [f"HTTP/{version} {status} Status", "Content-Type: text/plain", "Server: origin", *fields]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n")

    async def whole(self, status=200, *fields, body=b"ok"):
        """A plain good answer in one write; HEAD, 204 and 304 come without the body."""
        lines = [f"HTTP/1.1 {status} Status", "Content-Type: text/plain", "Server: origin", *fields]
        bodyless = status in (204, 304)
        if not bodyless:
            lines.append(f"Content-Length: {len(body)}")
        data = "\r\n".join(lines).encode() + b"\r\n\r\n"
        await self.send(data if bodyless or self.method == "HEAD" else data + body)
        return True

    async def ended(self):
        await self.connection.close()
        return False

    async def broken(self):
        await asyncio.sleep(0.02)
        self.connection.reset()
        return False

    async def forever(self):
        await self.connection.until_peer_closes()
        return False


async def read_request(reader):
    """The next request's head and body, or None at the end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    lines = head.decode("latin-1").split("\r\n")
    method, target, version = lines[0].split(" ", 2)
    headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:] if line]
    names = {name.lower(): value for name, value in headers}
    body = b""
    if "content-length" in names:
        body = await reader.readexactly(int(names["content-length"]))
    elif names.get("transfer-encoding", "").lower() == "chunked":
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
    return method, target, version, headers, body


async def serve_requests(connection):
    going = True
    while going:
        request = await read_request(connection.reader)
        if request is None:
            return
        exchange = Exchange(connection, *request)
        connection.requests += 1
        connection.ledger.note("request", conn=connection.number, listener=connection.listener, local=connection.local,
                               nth=connection.requests, method=exchange.method, target=exchange.target,
                               headers=exchange.headers, body_len=len(exchange.body),
                               body_sha256=hashlib.sha256(exchange.body).hexdigest(), sni=connection.sni)
        handler = ANSWERS.get(exchange.segments[0])
        going = await handler(exchange) if handler else await exchange.whole(404, body=b"no such answer")
        if going and ("connection", "close") in [(n.lower(), v.lower()) for n, v in exchange.headers]:
            going = await exchange.ended()


# Good answers: /ok /bytes/N /chunked/N?size= /trailers /echo /status/N /slow?ms= /drip/N?ms= /close-delimited/N /http10/N
# /interim/N /last (Connection: close) /chunk-extensions /lf-only


@answer
async def ok(x):
    return await x.whole()


@answer
async def bytes_(x):
    return await x.whole(body=body_of(int(x.argument("0"))))


# /coded/gzip|deflate|bare|gzip,gzip?size=&torn=&false= : a body in content codings; torn: without its last bytes;
# false: its bytes are none of the coding; zeros: that many, instead of text
@answer
async def coded(x):
    """`names` in the order in which they are applied."""
    names = x.argument("gzip")
    body = bytes(int(x.query["zeros"])) if "zeros" in x.query else body_of(int(x.query.get("size", "5000")))
    for name in names.split(","):
        bits = {"gzip": 31, "deflate": 15, "bare": -15}[name]
        packer = zlib.compressobj(9, zlib.DEFLATED, bits)
        body = packer.compress(body) + packer.flush()
    if "torn" in x.query:
        body = body[:-int(x.query["torn"])]
    if "false" in x.query:
        body = b"\xff" * len(body)
    return await x.whole(200, "Content-Encoding: " + names.replace("bare", "deflate"), body=body)


@answer
async def chunked(x):
    body, size = body_of(int(x.argument("0"))), x.number("size", 1000)
    await x.head(200, "Transfer-Encoding: chunked")
    if x.method == "HEAD":
        return True
    for start in range(0, len(body), size):
        part = body[start:start + size]
        await x.send(b"%x\r\n%s\r\n" % (len(part), part))
    await x.send(b"0\r\n\r\n")
    return True


@answer
async def trailers(x):
    await x.head(200, "Transfer-Encoding: chunked", "Trailer: X-Sum")
    await x.send(b"4\r\nwiki\r\n0\r\nX-Sum: 17\r\nX-More: yes\r\n\r\n")
    return True


@answer
async def chunk_extensions(x):
    await x.head(200, "Transfer-Encoding: chunked")
    await x.send(b'4;name=value;other="quoted"\r\nwiki\r\n0;last\r\n\r\n')
    return True


@answer
async def echo(x):
    told = {"method": x.method, "target": x.target, "version": x.version, "headers": x.headers,
            "body": x.body.decode("latin-1"), "conn": x.connection.number, "nth": x.connection.requests,
            "local": x.connection.local, "sni": x.connection.sni}
    return await x.whole(body=json.dumps(told).encode())


@answer
async def status(x):
    return await x.whole(int(x.argument("200")))


@answer
async def slow(x):
    await asyncio.sleep(x.number("ms", 100) / 1000)
    return await x.whole()


@answer
async def drip(x):
    size = int(x.argument("100"))
    await x.head(length=size)
    for i in range(size):
        await x.send(PATTERN[i % 16:i % 16 + 1])
        await asyncio.sleep(x.number("ms", 1000) / 1000)
    return True


@answer
async def close_delimited(x):
    await x.head()
    await x.send(body_of(int(x.argument("0"))))
    return await x.ended()


@answer
async def http10(x):
    await x.head(version="1.0")
    await x.send(body_of(int(x.argument("0"))))
    return await x.ended()


@answer
async def interim(x):
    for _ in range(int(x.argument("1"))):
        await x.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
    return await x.whole()


@answer
async def last(x):
    await x.whole(200, "Connection: close")
    return await x.ended()


@answer
async def lf_only(x):
    await x.send(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok")
    return True


# Silence: /silent (no answer) /stall/head /stall/body


@answer
async def silent(x):
    return await x.forever()


@answer
async def stall(x):
    if x.argument() == "head":
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    else:
        await x.head(length=1000)
        await x.send(body_of(500))
    return await x.forever()


# Broken off: /fin/none|head|body|chunks (orderly) /cut/none|head|body|until-close (no close_notify) /rst/none|head|body


async def part_of_answer(x, how_much):
    if how_much == "head":
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    elif how_much == "body":
        await x.head(length=100)
        await x.send(body_of(50))
    elif how_much == "chunks":
        await x.head(200, "Transfer-Encoding: chunked")
        await x.send(b"32\r\n" + body_of(50) + b"\r\n")
    elif how_much == "until-close":
        await x.head()
        await x.send(body_of(50))


@answer
async def fin(x):
    await part_of_answer(x, x.argument("none"))
    return await x.ended()


@answer
async def cut(x):
    await part_of_answer(x, x.argument("none"))
    await asyncio.sleep(0.02)
    x.connection.cut()
    return False


@answer
async def rst(x):
    await part_of_answer(x, x.argument("none"))
    return await x.broken()


# Wrong lengths and chunks: /length/KIND /chunks/KIND


LENGTHS = {
    "long": ("Content-Length: 50",),
    "negative": ("Content-Length: -5",),
    "letters": ("Content-Length: 5x",),
    "empty": ("Content-Length:",),
    "plus": ("Content-Length: +5",),
    "overflow": ("Content-Length: 18446744073709551621",),
    "differing": ("Content-Length: 5", "Content-Length: 50"),
    "list-differing": ("Content-Length: 5, 50",),
    "list-equal": ("Content-Length: 100, 100",),
    "beside-chunked": ("Content-Length: 5", "Transfer-Encoding: chunked"),
    "coding-unknown": ("Transfer-Encoding: gzip",),
    "coding-not-last": ("Transfer-Encoding: chunked, gzip",),
    "coding-twice": ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
}


@answer
async def length(x):
    kind = x.argument()
    await x.head(200, *LENGTHS[kind])
    await x.send(b"64\r\n" + body_of(100) + b"\r\n0\r\n\r\n" if "chunked" in "".join(LENGTHS[kind]) else body_of(100))
    return True


CHUNKS = {
    "size-letters": b"zz\r\nwiki\r\n0\r\n\r\n",
    "size-negative": b"-4\r\nwiki\r\n0\r\n\r\n",
    "size-prefixed": b"0x4\r\nwiki\r\n0\r\n\r\n",
    "size-empty": b"\r\nwiki\r\n0\r\n\r\n",
    "size-overflow": b"10000000000000004\r\nwiki\r\n0\r\n\r\n",
    "size-with-space": b"4 4\r\nwiki\r\n0\r\n\r\n",
    "no-crlf-after-data": b"4\r\nwikiXX0\r\n\r\n",
    "bare-lf": b"4\nwiki\n0\n\n",
    "data-too-long": b"4\r\nwikipedia\r\n0\r\n\r\n",
    "bad-trailer": b"4\r\nwiki\r\n0\r\nno colon here\r\n\r\n",
}


@answer
async def chunks(x):
    await x.head(200, "Transfer-Encoding: chunked")
    await x.send(CHUNKS[x.argument()])
    return await x.forever()


# Heads: /head/KIND (raw, below) /head-giant?bytes= /head-many?fields= /head-drip (for ever) /interim-endless


HEADS = {
    "garbage": b"\x00\x01\x02\x03 what is this?\r\n\r\n",
    "version-2": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "version-0.9": b"ok without any head\r\n\r\n",
    "status-text": b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok",
    "status-short": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
    "status-long": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "space-before-colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "no-colon": b"HTTP/1.1 200 OK\r\nContent-Length 2\r\n\r\nok",
    "empty-name": b"HTTP/1.1 200 OK\r\n: value\r\nContent-Length: 2\r\n\r\nok",
    "name-not-token": b"HTTP/1.1 200 OK\r\nX(Y): value\r\nContent-Length: 2\r\n\r\nok",
    "obs-fold": b"HTTP/1.1 200 OK\r\nX-Folded: one\r\n two\r\nContent-Length: 2\r\n\r\nok",
    "nul-in-value": b"HTTP/1.1 200 OK\r\nX-Nul: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    "bare-cr": b"HTTP/1.1 200 OK\r\nX-Cr: a\rb\r\nContent-Length: 2\r\n\r\nok",
}


@answer
async def head(x):
    await x.send(HEADS[x.argument()])
    return await x.forever()


@answer
async def head_giant(x):
    await x.send(b"HTTP/1.1 200 OK\r\nX-Giant: " + b"a" * x.number("bytes", 1000000) + b"\r\nContent-Length: 2\r\n\r\nok")
    return True


@answer
async def head_many(x):
    fields = b"".join(b"X-%d: y\r\n" % i for i in range(x.number("fields", 1000)))
    await x.send(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 2\r\n\r\nok")
    return True


@answer
async def head_drip(x):
    await x.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await x.send(b"X-Again: and again\r\n")
        await asyncio.sleep(x.number("ms", 10) / 1000)


@answer
async def interim_endless(x):
    while True:
        await x.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0)


# Bytes nobody asked for: /stray/beside (in one write with the answer) /stray/after?ms= (on the idle connection)
# /race (keep-alive promised, closed at once)


FAKE = b"HTTP/1.1 299 Fake\r\nContent-Length: 4\r\n\r\nfake"


@answer
async def stray(x):
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    if x.argument() == "beside":
        await x.send(good + FAKE)
        return True
    await x.send(good)
    await asyncio.sleep(x.number("ms", 50) / 1000)
    await x.send(FAKE)
    return True


@answer
async def race(x):
    await x.whole(200, "Connection: keep-alive")
    return await x.ended()


# Redirects: /redirect/N?ms= (a chain of N, then /ok) /loop /to?url=&code= /relative/up /no-location


@answer
async def redirect(x):
    left, ms = int(x.argument("1")), x.number("ms", 0)
    await asyncio.sleep(ms / 1000)
    target = f"/redirect/{left - 1}?ms={ms}" if left > 1 else "/ok"
    return await x.whole(x.number("code", 302), f"Location: {target}", body=b"moved")


@answer
async def loop(x):
    return await x.whole(302, "Location: /loop", body=b"moved")


@answer
async def to(x):
    return await x.whole(x.number("code", 302), "Location: " + x.query["url"], body=b"moved")


@answer
async def relative(x):
    return await x.whole(302, "Location: ../ok?from=relative#part", body=b"moved")


@answer
async def no_location(x):
    return await x.whole(302, body=b"moved nowhere")


# Answers that change, counted by path and query: /limit/CODE?n=&after= (n times CODE, then 200)
# /flaky/none|head|body?how=rst|fin|cut&n= (n times broken, then 200); add a parameter to count apart
# /spoils/CODE|rst|silent?n=&after= (n times 200, then that)


def times_before(x):
    return x.connection.ledger.count(x.target)


@answer
async def limit(x):
    if times_before(x) >= x.number("n", 1):
        return await x.whole()
    fields = ["Retry-After: " + x.query["after"]] if "after" in x.query else []
    return await x.whole(int(x.argument("429")), *fields, body=b"wait")


@answer
async def spoils(x):
    if times_before(x) < x.number("n", 1):
        return await x.whole(200, "Location: /somewhere", body=b"good")
    how = x.argument("rst")
    if how in ("rst", "silent"):
        return await {"rst": rst, "silent": silent}[how](x)
    fields = ["Retry-After: " + x.query["after"]] if "after" in x.query else []
    return await x.whole(int(how), *fields, body=b"wait")


@answer
async def flaky(x):
    if times_before(x) >= x.number("n", 1):
        return await x.whole()
    return await {"rst": rst, "fin": fin, "cut": cut}[x.query.get("how", "rst")](x)


# An answer by address: /guard/CODE?at=ADDRESS,ADDRESS&n= gives CODE at these addresses of the server (n times each; without
# n always), and 200 elsewhere and after that. What follows CODE in the path tells requests apart.


@answer
async def guard(x):
    local = x.connection.local
    if local not in x.query.get("at", "").split(","):
        return await x.whole()
    refused = x.connection.ledger.count(f"guard {local}")
    if "n" in x.query and refused >= x.number("n", 0):
        return await x.whole()
    return await x.whole(int(x.argument("403")), body=b"go away")
