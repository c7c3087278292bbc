#pragma once
/* The answers that test_h1_parser.c feeds: what must be read, and as what; what must be refused, and why. */

#include <stdbool.h>
#include <stddef.h>

#include "common/outcome.h"

#define BYTES(text) (text), sizeof(text) - 1

/* What the case does after the bytes. */
enum closing { NOTHING, CLEAN, UNCLEAN };

struct answer_case {
    const char *name;
    const char *bytes;
    size_t len;
    /* What the callbacks said: "status [name=value]<framing length>body<end>", then " keep" or " close" for the
     * connection and "+N" for N bytes left over, or "!outcome". */
    const char *expected;
    bool head_request;
    enum closing closing;
};

struct bad_case {
    const char *name;
    const char *bytes;
    size_t len;
    enum outcome outcome;
    const char *reason;
};

#define OK "HTTP/1.1 200 OK\r\n"
#define TE "Transfer-Encoding: chunked\r\n"
#define CH OK TE "\r\n"
#define TC "200 [Transfer-Encoding=chunked]<chunked -1>"

static const struct answer_case good_cases[] = {
    {"length", BYTES(OK "Content-Length: 5\r\n\r\nhello"), "200 [Content-Length=5]<length 5>hello<end> keep", false,
     NOTHING},
    {"length zero", BYTES(OK "Content-Length: 0\r\n\r\n"), "200 [Content-Length=0]<length 0><end> keep", false,
     NOTHING},
    {"name in any case", BYTES(OK "cONTENT-lENGTH:1\r\n\r\na"), "200 [cONTENT-lENGTH=1]<length 1>a<end> keep", false,
     NOTHING},
    {"leading zeros", BYTES(OK "Content-Length: 0002\r\n\r\nab"), "200 [Content-Length=0002]<length 2>ab<end> keep",
     false, NOTHING},
    {"list of equal lengths", BYTES(OK "Content-Length: 2, 2\t,02\r\n\r\nab"),
     "200 [Content-Length=2, 2\t,02]<length 2>ab<end> keep", false, NOTHING},
    {"equal lengths in two fields", BYTES(OK "Content-Length: 2\r\nContent-Length: 2\r\n\r\nab"),
     "200 [Content-Length=2][Content-Length=2]<length 2>ab<end> keep", false, NOTHING},
    {"the largest length", BYTES(OK "Content-Length: 9223372036854775807\r\n\r\nab"),
     "200 [Content-Length=9223372036854775807]<length 9223372036854775807>ab", false, NOTHING},
    {"left over after a length", BYTES(OK "Content-Length: 1\r\n\r\nab"),
     "200 [Content-Length=1]<length 1>a<end> keep+1", false, NOTHING},
    {"left over after chunks", BYTES(CH "0\r\n\r\n" OK), TC "<end> keep+17", false, NOTHING},
    {"left over after HEAD", BYTES(OK "Content-Length: 2\r\n\r\nab"), "200 [Content-Length=2]<none -1><end> keep+2",
     true, NOTHING},
    {"chunked", BYTES(CH "5\r\nhello\r\n0\r\n\r\n"), TC "hello<end> keep", false, NOTHING},
    {"chunks", BYTES(CH "1\r\na\r\n0A\r\n0123456789\r\n2\r\n\r\n\r\n0\r\n\r\n"), TC "a0123456789\r\n<end> keep", false,
     NOTHING},
    {"only the last chunk", BYTES(CH "000\r\n\r\n"), TC "<end> keep", false, NOTHING},
    {"chunk size of 16 digits", BYTES(CH "0000000000000001\r\na\r\n0\r\n\r\n"), TC "a<end> keep", false, NOTHING},
    {"hex in both cases", BYTES(CH "a\r\n0123456789\r\nB\r\n0123456789A\r\n0\r\n\r\n"),
     TC "01234567890123456789A<end> keep", false, NOTHING},
    {"chunk extensions", BYTES(CH "1;a\r\nx\r\n1 ; a = b;c=\"d \\\" ;\";e\r\ny\r\n0;z=\"\"\r\n\r\n"), TC "xy<end> keep",
     false, NOTHING},
    {"trailers are not reported", BYTES(CH "1\r\na\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nConnection: close\r\n\r\n"),
     TC "a<end> keep", false, NOTHING},
    {"coding in any case", BYTES(OK "TRANSFER-ENCODING: \t Chunked \r\n\r\n0\r\n\r\n"),
     "200 [TRANSFER-ENCODING=Chunked]<chunked -1><end> keep", false, NOTHING},
    {"until close", BYTES(OK "\r\nabc"), "200 <close -1>abc<end> close", false, CLEAN},
    {"until close, empty", BYTES(OK "\r\n"), "200 <close -1><end> close", false, CLEAN},
    {"until close, keep-alive said", BYTES(OK "Connection: keep-alive\r\n\r\n"),
     "200 [Connection=keep-alive]<close -1><end> close", false, CLEAN},
    {"connection close", BYTES(OK "Content-Length: 0\r\nConnection: x, Close\r\n\r\n"),
     "200 [Content-Length=0][Connection=x, Close]<length 0><end> close", false, NOTHING},
    {"connection close in a second field",
     BYTES(OK "Connection: keep-alive\r\nConnection:close\r\nContent-Length: 0\r\n\r\n"),
     "200 [Connection=keep-alive][Connection=close][Content-Length=0]<length 0><end> close", false, NOTHING},
    {"connection close in a first field",
     BYTES(OK "Connection: close , x\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"),
     "200 [Connection=close , x][Connection=keep-alive][Content-Length=0]<length 0><end> close", false, NOTHING},
    {"version 1.0 with keep-alive in a first field",
     BYTES("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nConnection: x\r\nContent-Length: 0\r\n\r\n"),
     "200 [Connection=keep-alive][Connection=x][Content-Length=0]<length 0><end> keep", false, NOTHING},
    {"closer is not close", BYTES(OK "Connection: closer, xclose,,\r\nContent-Length: 0\r\n\r\n"),
     "200 [Connection=closer, xclose,,][Content-Length=0]<length 0><end> keep", false, NOTHING},
    {"version 1.0 closes", BYTES("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na"),
     "200 [Content-Length=1]<length 1>a<end> close", false, NOTHING},
    {"version 1.0 with keep-alive", BYTES("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\na"),
     "200 [Content-Length=1][Connection=Keep-Alive]<length 1>a<end> keep", false, NOTHING},
    {"version 1.0 with both", BYTES("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive,close\r\n\r\n"),
     "200 [Content-Length=0][Connection=keep-alive,close]<length 0><end> close", false, NOTHING},
    {"version 1.0 and chunked is odd",
     BYTES("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" TE "\r\n1\r\na\r\n0\r\n\r\n"),
     "200 [Connection=keep-alive][Transfer-Encoding=chunked]<chunked -1>a<end> close", false, NOTHING},
    {"HEAD with length", BYTES(OK "Content-Length: 5\r\n\r\n"), "200 [Content-Length=5]<none -1><end> keep", true,
     NOTHING},
    {"HEAD chunked", BYTES(CH), "200 [Transfer-Encoding=chunked]<none -1><end> keep", true, NOTHING},
    {"HEAD without framing", BYTES(OK "\r\n"), "200 <none -1><end> keep", true, NOTHING},
    {"204", BYTES("HTTP/1.1 204 No Content\r\n\r\n"), "204 <none -1><end> keep", false, NOTHING},
    {"204 with length zero", BYTES("HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\n"),
     "204 [Content-Length=0]<none -1><end> keep", false, NOTHING},
    {"204 with a length is odd", BYTES("HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n"),
     "204 [Content-Length=3]<none -1><end> close", false, NOTHING},
    {"204 chunked is odd", BYTES("HTTP/1.1 204 No\r\n" TE "\r\n"),
     "204 [Transfer-Encoding=chunked]<none -1><end> close", false, NOTHING},
    {"304 with length", BYTES("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
     "304 [Content-Length=9]<none -1><end> keep", false, NOTHING},
    {"304 chunked", BYTES("HTTP/1.1 304 x\r\n" TE "\r\n"), "304 [Transfer-Encoding=chunked]<none -1><end> keep", false,
     NOTHING},
    {"205 has a length", BYTES("HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n"),
     "205 [Content-Length=0]<length 0><end> keep", false, NOTHING},
    {"interim answers are silent",
     BYTES("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n" OK "Content-Length: 1\r\n\r\na"),
     "200 [Content-Length=1]<length 1>a<end> keep", false, NOTHING},
    {"interim length is not the answer's", BYTES("HTTP/1.1 100 C\r\nContent-Length: 0\r\n\r\n" CH "0\r\n\r\n"),
     TC "<end> keep", false, NOTHING},
    {"interim length above zero is odd",
     BYTES("HTTP/1.1 100 C\r\nContent-Length: 7\r\n\r\n" OK "Content-Length: 0\r\n\r\n"),
     "200 [Content-Length=0]<length 0><end> close", false, NOTHING},
    {"interim before HEAD", BYTES("HTTP/1.1 199 x\r\n\r\n" OK "Content-Length: 5\r\n\r\n"),
     "200 [Content-Length=5]<none -1><end> keep", true, NOTHING},
    {"interim keep-alive is not the answer's",
     BYTES("HTTP/1.1 100 C\r\nConnection: keep-alive\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
     "200 [Content-Length=0]<length 0><end> close", false, NOTHING},
    {"no reason phrase", BYTES("HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n"),
     "404 [Content-Length=0]<length 0><end> keep", false, NOTHING},
    {"no space before no reason", BYTES("HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n"),
     "404 [Content-Length=0]<length 0><end> keep", false, NOTHING},
    {"any bytes as reason", BYTES("HTTP/1.1 999 \t caf\xe9: \"x\"\r\nContent-Length: 0\r\n\r\n"),
     "999 [Content-Length=0]<length 0><end> keep", false, NOTHING},
    {"bare LF in the head", BYTES("HTTP/1.1 200 OK\nA: b\nContent-Length: 1\r\n\na"),
     "200 [A=b][Content-Length=1]<length 1>a<end> keep", false, NOTHING},
    {"values are trimmed", BYTES(OK "A: \t b  c\t \r\nB:\r\nC: \r\nContent-Length: 0\r\n\r\n"),
     "200 [A=b  c][B=][C=][Content-Length=0]<length 0><end> keep", false, NOTHING},
    {"every token byte in a name", BYTES(OK "!#$%&'*+-.^_`|~09azAZ: v\r\nContent-Length: 0\r\n\r\n"),
     "200 [!#$%&'*+-.^_`|~09azAZ=v][Content-Length=0]<length 0><end> keep", false, NOTHING},
    {"obs-text in a value", BYTES(OK "A: \x80\xff:\r\nContent-Length: 0\r\n\r\n"),
     "200 [A=\x80\xff:][Content-Length=0]<length 0><end> keep", false, NOTHING},
    {"close in the status line", BYTES("HTTP/1.1 20"), "!connection-closed", false, CLEAN},
    {"close in the head", BYTES(OK "A: b\r\n"), "200 [A=b]!connection-closed", false, CLEAN},
    {"close after an interim answer", BYTES("HTTP/1.1 100 C\r\n\r\n"), "!connection-closed", false, CLEAN},
    {"close in a body", BYTES(OK "Content-Length: 5\r\n\r\nhell"),
     "200 [Content-Length=5]<length 5>hell!connection-closed", false, CLEAN},
    {"close in a chunk", BYTES(CH "5\r\nhell"), TC "hell!connection-closed", false, CLEAN},
    {"close in a chunk's end", BYTES(CH "5\r\nhello\r"), TC "hello!connection-closed", false, CLEAN},
    {"close between chunks", BYTES(CH "5\r\nhello\r\n"), TC "hello!connection-closed", false, CLEAN},
    {"close in a chunk size", BYTES(CH "5"), TC "!connection-closed", false, CLEAN},
    {"close before the last CRLF", BYTES(CH "1\r\na\r\n0\r\n"), TC "a!connection-closed", false, CLEAN},
    {"close in the trailers", BYTES(CH "0\r\nA: b\r\n"), TC "!connection-closed", false, CLEAN},
    {"unclean end of a close-delimited body", BYTES(OK "\r\nabc"), "200 <close -1>abc!connection-closed", false,
     UNCLEAN},
};

#define PROTO    OUTCOME_PROTOCOL_ERROR
#define START    "the answer does not start with HTTP/1."
#define NO_CODE  "the status line has no status code of three digits"
#define NUMBER   "Content-Length is not a number"
#define BIG      "Content-Length does not fit 63 bits"
#define DIFFERS  "Content-Length is given twice and differs"
#define BESIDE   "Content-Length stands beside Transfer-Encoding"
#define ALONE    "Transfer-Encoding is not chunked alone"
#define CONTROL  "a field value has a control byte"
#define TOKEN    "a field name is not a token"
#define NAME_WS  "a field name is followed by white space"
#define FOLD     "a field line starts with white space"
#define NO_CR    "a line of the chunked coding ends without CR"
#define NO_SIZE  "a chunk size is missing"
#define AFTER    "a chunk size is followed by something that is no extension"
#define NO_CRLF  "a chunk is not followed by CRLF"
#define END      "\r\n\r\n"
#define CL(text) BYTES(OK "Content-Length:" text END)

static const struct bad_case bad_cases[] = {
    {"empty line first", BYTES("\r\n" OK END), PROTO, START},
    {"LF first", BYTES("\n" OK END), PROTO, START},
    {"another protocol", BYTES("SSH-2.0-x"), PROTO, START},
    {"TLS alert", BYTES("\x15\x03\x01\x00\x02\x02\x46"), PROTO, START},
    {"NUL first", BYTES("\0HTTP/1.1 200 OK" END), PROTO, START},
    {"version in lower case", BYTES("http/1.1 200 OK" END), PROTO, START},
    {"version 2", BYTES("HTTP/2.0 200 OK" END), PROTO, START},
    {"version 1.2", BYTES("HTTP/1.2 200 OK" END), PROTO, "the version is not HTTP/1.0 or HTTP/1.1"},
    {"version cut short", BYTES("HTTP/1.\r\n"), PROTO, "the version is not HTTP/1.0 or HTTP/1.1"},
    {"version 1.10", BYTES("HTTP/1.10 200 OK" END), PROTO, NO_CODE},
    {"no status", BYTES("HTTP/1.1\r\n"), PROTO, NO_CODE},
    {"status of two digits", BYTES("HTTP/1.1 20\r\n"), PROTO, NO_CODE},
    {"status of four digits", BYTES("HTTP/1.1 2000 OK\r\n"), PROTO, "the status code is not followed by a space"},
    {"status with a sign", BYTES("HTTP/1.1 +20 OK\r\n"), PROTO, NO_CODE},
    {"status after two spaces", BYTES("HTTP/1.1  200 OK\r\n"), PROTO, NO_CODE},
    {"status after a tab", BYTES("HTTP/1.1\t200 OK\r\n"), PROTO, NO_CODE},
    {"status below 100", BYTES("HTTP/1.1 099 x\r\n"), PROTO, "the status code is below 100"},
    {"status then tab", BYTES("HTTP/1.1 200\tOK\r\n"), PROTO, "the status code is not followed by a space"},
    {"bare CR in the reason", BYTES("HTTP/1.1 200 O\rK\r\n"), PROTO, "the reason phrase has a control byte"},
    {"two CR at the line end", BYTES("HTTP/1.1 200 OK\r\r\n"), PROTO, "the reason phrase has a control byte"},
    {"CR after the status", BYTES("HTTP/1.1 200\r\r\n"), PROTO, "the status code is not followed by a space"},
    {"NUL in the reason", BYTES("HTTP/1.1 200 O\0K\r\n"), PROTO, "the reason phrase has a control byte"},
    {"101", BYTES("HTTP/1.1 101 Switching\r\nUpgrade: h2c" END), PROTO,
     "101 switches to a protocol that was not asked for"},
    {"no colon", BYTES(OK "Server\r\n"), PROTO, "a field line has no colon"},
    {"empty name", BYTES(OK ": v\r\n"), PROTO, "a field has an empty name"},
    {"space before the colon", BYTES(OK "Content-Length : 5\r\n"), PROTO, NAME_WS},
    {"tab before the colon", BYTES(OK "Transfer-Encoding\t: chunked\r\n"), PROTO, NAME_WS},
    {"space in a name", BYTES(OK "Content Length: 5\r\n"), PROTO, NAME_WS},
    {"obs-fold", BYTES(OK "A: b\r\n c\r\n"), PROTO, FOLD},
    {"obs-fold with a tab", BYTES(OK "A: b\r\n\tTransfer-Encoding: chunked\r\n"), PROTO, FOLD},
    {"obs-fold before the coding", BYTES(OK "Transfer-Encoding:\r\n\tchunked\r\n"), PROTO, ALONE},
    {"space before the first field", BYTES(OK " A: b\r\n"), PROTO, FOLD},
    {"a line of spaces", BYTES(OK "A: b\r\n  \r\n"), PROTO, FOLD},
    {"name with a bracket", BYTES(OK "A(b): c\r\n"), PROTO, TOKEN},
    {"name with obs-text", BYTES(OK "A\xe9: c\r\n"), PROTO, TOKEN},
    {"name with NUL", BYTES(OK "A\0: c\r\n"), PROTO, TOKEN},
    {"name with DEL", BYTES(OK "A\x7f: c\r\n"), PROTO, TOKEN},
    {"name with CR for a hyphen", BYTES(OK "Content\rLength: 5\r\n"), PROTO, TOKEN},
    {"CR before the empty line's CR", BYTES(OK "\r\r\n"), PROTO, TOKEN},
    {"bare CR in a value", BYTES(OK "A: b\rContent-Length: 5\r\n"), PROTO, CONTROL},
    {"two CR after a value", BYTES(OK "A: b\r\r\n"), PROTO, CONTROL},
    {"NUL in a value", BYTES(OK "A: b\0c\r\n"), PROTO, CONTROL},
    {"vertical tab in a value", BYTES(OK "A: b\vc\r\n"), PROTO, CONTROL},
    {"form feed around chunked", BYTES(OK "Transfer-Encoding: \fchunked\r\n"), PROTO, CONTROL},
    {"DEL in a value", BYTES(OK "A: b\x7f\r\n"), PROTO, CONTROL},
    {"escape in a value", BYTES(OK "A: \x1b[31m\r\n"), PROTO, CONTROL},
    {"length empty", CL(""), PROTO, NUMBER},
    {"length with a plus", CL("+5"), PROTO, NUMBER},
    {"length with a minus", CL("-5"), PROTO, NUMBER},
    {"length with a space inside", CL("5 5"), PROTO, NUMBER},
    {"length in hex", CL("0x5"), PROTO, NUMBER},
    {"length with a letter", CL("5a"), PROTO, NUMBER},
    {"length with a fraction", CL("5.0"), PROTO, NUMBER},
    {"length in quotes", CL("\"5\""), PROTO, NUMBER},
    {"length of 2^63", CL("9223372036854775808"), PROTO, BIG},
    {"length of 2^64+5", CL("18446744073709551621"), PROTO, BIG},
    {"length of many digits", CL("100000000000000000000000000000000005"), PROTO, BIG},
    {"length list differs", CL("5, 6"), PROTO, DIFFERS},
    {"length list ends in a comma", CL("5,"), PROTO, NUMBER},
    {"length list starts with a comma", CL(",5"), PROTO, NUMBER},
    {"length list with a hole", CL("5,,5"), PROTO, NUMBER},
    {"lengths differ", BYTES(OK "Content-Length: 5\r\nContent-Length: 6\r\n"), PROTO, DIFFERS},
    {"lengths differ by case", BYTES(OK "content-length: 0\r\nCONTENT-LENGTH: 1\r\n"), PROTO, DIFFERS},
    {"length, then chunked", BYTES(OK "Content-Length: 5\r\n" TE "\r\n"), PROTO, BESIDE},
    {"chunked, then length", BYTES(OK TE "Content-Length: 0\r\n\r\n"), PROTO, BESIDE},
    {"both on version 1.0", BYTES("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n" TE "\r\n"), PROTO, BESIDE},
    {"both on 304", BYTES("HTTP/1.1 304 x\r\nContent-Length: 5\r\n" TE "\r\n"), PROTO, BESIDE},
    {"both on an interim answer", BYTES("HTTP/1.1 100 x\r\nContent-Length: 5\r\n" TE "\r\n"), PROTO, BESIDE},
    {"coding list", BYTES(OK "Transfer-Encoding: gzip, chunked\r\n"), PROTO, ALONE},
    {"chunked not last", BYTES(OK "Transfer-Encoding: chunked, identity\r\n"), PROTO, ALONE},
    {"chunked in a list of its own", BYTES(OK "Transfer-Encoding: chunked,chunked\r\n"), PROTO, ALONE},
    {"chunked and a comma", BYTES(OK "Transfer-Encoding: chunked,\r\n"), PROTO, ALONE},
    {"chunked with a parameter", BYTES(OK "Transfer-Encoding: chunked;q=1\r\n"), PROTO, ALONE},
    {"chunked in quotes", BYTES(OK "Transfer-Encoding: \"chunked\"\r\n"), PROTO, ALONE},
    {"xchunked", BYTES(OK "Transfer-Encoding: xchunked\r\n"), PROTO, ALONE},
    {"chunke", BYTES(OK "Transfer-Encoding: chunke\r\n"), PROTO, ALONE},
    {"deflate", BYTES(OK "Transfer-Encoding: deflate\r\n"), PROTO, ALONE},
    {"identity", BYTES(OK "Transfer-Encoding: identity\r\n"), PROTO, ALONE},
    {"coding empty", BYTES(OK "Transfer-Encoding:\r\n"), PROTO, ALONE},
    {"coding twice", BYTES(OK TE TE), PROTO, "Transfer-Encoding is given twice"},
    {"chunk size empty", BYTES(CH "\r\n"), PROTO, NO_SIZE},
    {"chunk size not hex", BYTES(CH "g\r\n"), PROTO, NO_SIZE},
    {"chunk size with a sign", BYTES(CH "+5\r\n"), PROTO, NO_SIZE},
    {"chunk size negative", BYTES(CH "-1\r\n"), PROTO, NO_SIZE},
    {"chunk size with a prefix", BYTES(CH "0x5\r\n"), PROTO, AFTER},
    {"chunk size after a space", BYTES(CH " 5\r\n"), PROTO, NO_SIZE},
    {"chunk size then a space", BYTES(CH "5 \r\n"), PROTO, AFTER},
    {"chunk size then a CR", BYTES(CH "5\r\r\n"), PROTO, AFTER},
    {"chunk size with an underscore", BYTES(CH "1_0\r\n"), PROTO, AFTER},
    {"chunk size of 17 digits", BYTES(CH "00000000000000005\r\n"), PROTO, "a chunk size has more than 16 digits"},
    {"chunk size overflows", BYTES(CH "10000000000000005\r\n"), PROTO, "a chunk size has more than 16 digits"},
    {"chunk size of 2^63", BYTES(CH "8000000000000000\r\n"), PROTO, "a chunk size does not fit 63 bits"},
    {"chunk size of 2^64-1", BYTES(CH "ffffffffffffffff\r\n"), PROTO, "a chunk size does not fit 63 bits"},
    {"chunk size line with LF only", BYTES(CH "5\nhello\r\n"), PROTO, NO_CR},
    {"last chunk with LF only", BYTES(CH "0\n\r\n"), PROTO, NO_CR},
    {"extension without a name", BYTES(CH "5;\r\n"), PROTO, AFTER},
    {"extension without a value", BYTES(CH "5;a=\r\n"), PROTO, AFTER},
    {"extension value after spaces only", BYTES(CH "5;a= \r\n"), PROTO, AFTER},
    {"extension not quoted to the end", BYTES(CH "5;a=\"b\r\n"), PROTO, AFTER},
    {"extension that ends in a backslash", BYTES(CH "5;a=\"b\\\r\n"), PROTO, AFTER},
    {"extension with text after quotes", BYTES(CH "5;a=\"b\"c\r\n"), PROTO, AFTER},
    {"extension then a space", BYTES(CH "5;a \r\n"), PROTO, AFTER},
    {"extension with a bare CR", BYTES(CH "5;a=\"\r\"\r\n"), PROTO, AFTER},
    {"extension with NUL", BYTES(CH "5;a=\"\0\"\r\n"), PROTO, AFTER},
    {"extension that ends in LF", BYTES(CH "5;a\n"), PROTO, NO_CR},
    {"chunk longer than its size", BYTES(CH "2\r\nabc\r\n"), PROTO, NO_CRLF},
    {"chunk ended by LF", BYTES(CH "2\r\nab\n0\r\n\r\n"), PROTO, NO_CRLF},
    {"chunk ended by CR alone", BYTES(CH "2\r\nab\r0\r\n\r\n"), PROTO, NO_CRLF},
    {"chunk without an end", BYTES(CH "2\r\nab0\r\n\r\n"), PROTO, NO_CRLF},
    {"trailer with LF only", BYTES(CH "0\r\nA: b\n\r\n"), PROTO, NO_CR},
    {"trailers ended by LF only", BYTES(CH "0\r\n\n"), PROTO, NO_CR},
    {"trailer without a colon", BYTES(CH "0\r\nHTTP/1.1 200 OK\r\n"), PROTO, TOKEN},
    {"trailer folded", BYTES(CH "0\r\nA: b\r\n c\r\n"), PROTO, FOLD},
    {"trailer with NUL", BYTES(CH "0\r\nA: \0\r\n"), PROTO, CONTROL},
    {"bad field in an interim answer", BYTES("HTTP/1.1 100 C\r\nA : b\r\n"), PROTO, NAME_WS},
    {"interim answer that runs on", BYTES("HTTP/1.1 100 C\r\n\r\nhello"), PROTO, START},
    {"too many interim answers",
     BYTES("HTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 102 C\r\n"), OUTCOME_TOO_LARGE,
     "too many interim answers"},
    {"too many fields",
     BYTES(OK "a:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\n"
              "b:\r\n"),
     OUTCOME_TOO_LARGE, "too many fields"},
};
