/* URLs against a table of cases: what must come out, or which reason is given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/url.h"

struct row {
    const char *input;
    size_t input_len;
    const char *base;   /* NULL: none */
    const char *result; /* the canonical URL, or the reason */
};

#define ROW(input, base, result)                  \
    {                                             \
        "" input, sizeof(input) - 1, base, result \
    }

#define EXAMPLE "http://example.org/foo/bar"
#define DEEP    "https://example.org:8443/a/b/c?q=1"

static const struct row plain_rows[] = {
    ROW("http://example.com", NULL, "http://example.com/"),
    ROW("http://example.com/", NULL, "http://example.com/"),
    ROW("https://example.com/a/b.html?c=d&e", NULL, "https://example.com/a/b.html?c=d&e"),
    ROW("HTTP://EXAMPLE.com/PATH", NULL, "http://example.com/PATH"),
    ROW("hTtPs://example.com", NULL, "https://example.com/"),
    ROW("http://example.com?", NULL, "http://example.com/?"),
    ROW("http://example.com?q", NULL, "http://example.com/?q"),
    ROW("http://example.com#frag", NULL, "http://example.com/"),
    ROW("http://example.com/a#frag?not=query", NULL, "http://example.com/a"),
    ROW("http://example.com/a?b#c#d", NULL, "http://example.com/a?b"),
    ROW("http://example.com/?#", NULL, "http://example.com/?"),
    ROW("  \x01 http://example.com/a \t\r\n ", NULL, "http://example.com/a"),
    ROW("ht\ntp://exa\tmple.com/a\r\nb?c\td", NULL, "http://example.com/ab?cd"),
    ROW("http://example.com/a #b", NULL, "http://example.com/a%20"),
    ROW("http:example.com", NULL, "http://example.com/"),
    ROW("http:/example.com/a", NULL, "http://example.com/a"),
    ROW("http:////example.com//a", NULL, "http://example.com//a"),
    ROW("http:\\\\example.com\\a\\b", NULL, "http://example.com/a/b"),
    ROW("https:/\\/\\example.com\\..\\b", NULL, "https://example.com/b"),
    ROW("http://example.com\\@other.example/", NULL, "http://example.com/@other.example/"),
    ROW("http:///example.com", NULL, "http://example.com/"),
};

static const struct row authority_rows[] = {
    ROW("http://user:pass@example.com/", NULL, "http://example.com/"),
    ROW("http://user@example.com", NULL, "http://example.com/"),
    ROW("http://:@example.com/", NULL, "http://example.com/"),
    ROW("http://@example.com/", NULL, "http://example.com/"),
    ROW("http://a:b@c:29/d", NULL, "http://c:29/d"),
    ROW("http://a@b@c/", NULL, "http://c/"),
    ROW("http://a:80@b:81/", NULL, "http://b:81/"),
    ROW("http://foo:[pw@example.com/x", NULL, "http://example.com/x"),
    ROW("http::@c:29", NULL, "http://c:29/"),
    ROW("http://u%40:p%3A@example.com/", NULL, "http://example.com/"),
    ROW("http://example.com/a@b:c", NULL, "http://example.com/a@b:c"),
    ROW("http://example.com?a@b", NULL, "http://example.com/?a@b"),
    ROW("http://example.com:80/", NULL, "http://example.com/"),
    ROW("http://example.com:443/", NULL, "http://example.com:443/"),
    ROW("https://example.com:443/", NULL, "https://example.com/"),
    ROW("https://example.com:80/", NULL, "https://example.com:80/"),
    ROW("http://example.com:/", NULL, "http://example.com/"),
    ROW("http://example.com:?q", NULL, "http://example.com/?q"),
    ROW("http://example.com:00000000008080/", NULL, "http://example.com:8080/"),
    ROW("http://example.com:65535/", NULL, "http://example.com:65535/"),
    ROW("http://example.com:1", NULL, "http://example.com:1/"),
};

static const struct row path_rows[] = {
    ROW("http://a/./b", NULL, "http://a/b"),
    ROW("http://a/.", NULL, "http://a/"),
    ROW("http://a/..", NULL, "http://a/"),
    ROW("http://a/b/.", NULL, "http://a/b/"),
    ROW("http://a/b/..", NULL, "http://a/"),
    ROW("http://a/b/../", NULL, "http://a/"),
    ROW("http://a/b/../c", NULL, "http://a/c"),
    ROW("http://a/b/c/../../d", NULL, "http://a/d"),
    ROW("http://a/../../../d", NULL, "http://a/d"),
    ROW("http://a/b/...", NULL, "http://a/b/..."),
    ROW("http://a/b/.c", NULL, "http://a/b/.c"),
    ROW("http://a/b/..c/", NULL, "http://a/b/..c/"),
    ROW("http://a/%2e/b", NULL, "http://a/b"),
    ROW("http://a/b/%2E%2e/c", NULL, "http://a/c"),
    ROW("http://a/b/.%2e", NULL, "http://a/"),
    ROW("http://a/b/%2e.?q", NULL, "http://a/?q"),
    ROW("http://a/%2e%2e%2e", NULL, "http://a/%2e%2e%2e"),
    ROW("http://a/%2ebc", NULL, "http://a/%2ebc"),
    ROW("http://a/b//../c", NULL, "http://a/b/c"),
    ROW("http://a//..//", NULL, "http://a//"),
    ROW("http://a/b\\..\\c", NULL, "http://a/c"),
    ROW("http://a/b/..\\?x", NULL, "http://a/?x"),
    ROW("http://a/b;x=1/../c", NULL, "http://a/c"),
    ROW("http://a/ !\"$%&'()*+,-.", NULL, "http://a/%20!%22$%&'()*+,-."),
    ROW("http://a/:;<=>@[]^_`{|}~", NULL, "http://a/:;%3C=%3E@[]%5E_%60%7B|%7D~"),
    ROW("http://a/%zz%4", NULL, "http://a/%zz%4"),
    ROW("http://a/\x7f\x01", NULL, "http://a/%7F"),
    ROW("http://a/\x01\x7fz", NULL, "http://a/%01%7Fz"),
    ROW("http://a/x\0y", NULL, "http://a/x%00y"),
    ROW("http://a/\xc3\xa4", NULL, "http://a/%C3%A4"),
    ROW("http://a/\xff\xfez", NULL, "http://a/%FF%FEz"),
    ROW("http://a/b?/../c?d", NULL, "http://a/b?/../c?d"),
    ROW("http://a/?!$%&'()*+,-./:;=?@", NULL, "http://a/?!$%&%27()*+,-./:;=?@"),
    ROW("http://a/?\"<> [\\]^_`{|}~", NULL, "http://a/?%22%3C%3E%20[\\]^_`{|}~"),
    ROW("http://a/?\xe4\xc3\xa4\x7f", NULL, "http://a/?%E4%C3%A4%7F"),
    ROW("http://a/?%2e%2e/%zz", NULL, "http://a/?%2e%2e/%zz"),
};

static const struct row host_rows[] = {
    ROW("http://EXAMPLE.Com/", NULL, "http://example.com/"),
    ROW("http://ex%61mple.com/", NULL, "http://example.com/"),
    ROW("http://%45xample.com/", NULL, "http://example.com/"),
    ROW("http://a_b.-c-.example/", NULL, "http://a_b.-c-.example/"),
    ROW("http://r3---sn-x.example/", NULL, "http://r3---sn-x.example/"),
    ROW("http://!\"$&'()*+,-.;=_`{}~/", NULL, "http://!\"$&'()*+,-.;=_`{}~/"),
    ROW("http://example.com./", NULL, "http://example.com./"),
    ROW("http://b\u00fccher.example/", NULL, "http://xn--bcher-kva.example/"),
    ROW("http://B\u00dcCHER.example/", NULL, "http://xn--bcher-kva.example/"),
    ROW("http://b%C3%BCcher.example/", NULL, "http://xn--bcher-kva.example/"),
    ROW("http://XN--BCHER-KVA.example/", NULL, "http://xn--bcher-kva.example/"),
    ROW("http://fa\u00df.example/", NULL, "http://xn--fa-hia.example/"),
    ROW("http://\u03b2\u03cc\u03bb\u03bf\u03c2.com/", NULL, "http://xn--nxasmm1c.com/"),
    ROW("http://\u4f60\u597d\u4f60\u597d/", NULL, "http://xn--6qqa088eba/"),
    ROW("http://\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444:81/\u044f", NULL,
        "http://xn--e1afmkfd.xn--p1ai:81/%D1%8F"),
    ROW("http://\uff27\uff4f.com", NULL, "http://go.com/"),
    ROW("http://www.foo\u3002bar.com", NULL, "http://www.foo.bar.com/"),
    ROW("http://a\u00adb.example/", NULL, "http://ab.example/"),
    ROW("http://\U0001f4a9.example/", NULL, "http://xn--ls8h.example/"),
    ROW("http://I\u2764.ws/", NULL, "http://xn--i-7iq.ws/"),
    ROW("http://\U0001f4a9\u3002example\uff61/", NULL, "http://xn--ls8h.example./"),
    ROW("http://xn--ls8h.example/", NULL, "http://xn--ls8h.example/"),
    ROW("http://r3---sn-x.b\u00fccher.example/", NULL, "http://r3---sn-x.xn--bcher-kva.example/"),
    ROW("http://192.0.2.1/", NULL, "http://192.0.2.1/"),
    ROW("http://192.0.2.1./", NULL, "http://192.0.2.1/"),
    ROW("http://0xC0.0.02.1", NULL, "http://192.0.2.1/"),
    ROW("http://0300.0250.0.01", NULL, "http://192.168.0.1/"),
    ROW("http://0Xc0.0250.01", NULL, "http://192.168.0.1/"),
    ROW("http://192.0x00A80001", NULL, "http://192.168.0.1/"),
    ROW("http://3221225985/", NULL, "http://192.0.2.1/"),
    ROW("http://0xffffffff/", NULL, "http://255.255.255.255/"),
    ROW("http://0/", NULL, "http://0.0.0.0/"),
    ROW("http://0x/", NULL, "http://0.0.0.0/"),
    ROW("http://0x0.0x.0/", NULL, "http://0.0.0.0/"),
    ROW("http://00000000000000000000000177.1/", NULL, "http://127.0.0.1/"),
    ROW("http://1.256/", NULL, "http://1.0.1.0/"),
    ROW("http://%30%78%63%30%2e%30%32%35%30.01", NULL, "http://192.168.0.1/"),
    ROW("http://\uff10\uff38\uff43\uff10\uff0e\uff10\uff12\uff15\uff10\uff0e\uff10\uff11", NULL, "http://192.168.0.1/"),
    ROW("http://1.2.3.4a/", NULL, "http://1.2.3.4a/"),
    ROW("http://1.2.3.0xg/", NULL, "http://1.2.3.0xg/"),
    ROW("http://[::1]:81/x", NULL, "http://[::1]:81/x"),
    ROW("http://[::]/", NULL, "http://[::]/"),
    ROW("http://[2001:DB8:0:0:1:0:0:1]/", NULL, "http://[2001:db8::1:0:0:1]/"),
    ROW("http://[1:0:0:2:0:0:0:3]", NULL, "http://[1:0:0:2::3]/"),
    ROW("http://[1:0:2:3:4:5:6:7]", NULL, "http://[1:0:2:3:4:5:6:7]/"),
    ROW("http://[1::]", NULL, "http://[1::]/"),
    ROW("http://[0001:0::]", NULL, "http://[1::]/"),
    ROW("http://[1:2:3:4:5:6:7::]", NULL, "http://[1:2:3:4:5:6:7:0]/"),
    ROW("http://[::2:3:4:5:6:7:8]", NULL, "http://[0:2:3:4:5:6:7:8]/"),
    ROW("http://[::ffff:192.0.2.1]/", NULL, "http://[::ffff:c000:201]/"),
    ROW("http://[1:2:3:4:5:6:1.2.3.4]/", NULL, "http://[1:2:3:4:5:6:102:304]/"),
    ROW("http://u:p@[::1]:80/", NULL, "http://[::1]/"),
};

static const struct row relative_rows[] = {
    ROW("", EXAMPLE, "http://example.org/foo/bar"),
    ROW("#x", DEEP, "https://example.org:8443/a/b/c?q=1"),
    ROW("  \t ", DEEP, "https://example.org:8443/a/b/c?q=1"),
    ROW("?", DEEP, "https://example.org:8443/a/b/c?"),
    ROW("?x=\"y\"#z", DEEP, "https://example.org:8443/a/b/c?x=%22y%22"),
    ROW("d", DEEP, "https://example.org:8443/a/b/d"),
    ROW("d?e", DEEP, "https://example.org:8443/a/b/d?e"),
    ROW("./d", DEEP, "https://example.org:8443/a/b/d"),
    ROW(".", DEEP, "https://example.org:8443/a/b/"),
    ROW("..", DEEP, "https://example.org:8443/a/"),
    ROW("../d", DEEP, "https://example.org:8443/a/d"),
    ROW("../../../../d", DEEP, "https://example.org:8443/d"),
    ROW("%2e%2E/d", DEEP, "https://example.org:8443/a/d"),
    ROW("/d", DEEP, "https://example.org:8443/d"),
    ROW("/", DEEP, "https://example.org:8443/"),
    ROW("\\d\\e", DEEP, "https://example.org:8443/d/e"),
    ROW("/../d/./e/..", DEEP, "https://example.org:8443/d/"),
    ROW("//other.example", DEEP, "https://other.example/"),
    ROW("//other.example:443/x?y", DEEP, "https://other.example/x?y"),
    ROW("\\\\other.example\\x", DEEP, "https://other.example/x"),
    ROW("/\\other.example", DEEP, "https://other.example/"),
    ROW("///other.example/x", DEEP, "https://other.example/x"),
    ROW("////other.example", EXAMPLE, "http://other.example/"),
    ROW("//u:p@other.example", EXAMPLE, "http://other.example/"),
    ROW("http://other.example/x", DEEP, "http://other.example/x"),
    ROW("http:other.example", DEEP, "http://other.example/"),
    ROW("https:d", DEEP, "https://example.org:8443/a/b/d"),
    ROW("https:/d", DEEP, "https://example.org:8443/d"),
    ROW("https:", DEEP, "https://example.org:8443/a/b/c?q=1"),
    ROW("https:?x", DEEP, "https://example.org:8443/a/b/c?x"),
    ROW("https://other.example", DEEP, "https://other.example/"),
    ROW("http:\\\\other.example/x", EXAMPLE, "http://other.example/x"),
    ROW("d:e", DEEP, "the scheme is neither http nor https"),
    ROW("./d:e", DEEP, "https://example.org:8443/a/b/d:e"),
    ROW("1d:e", DEEP, "https://example.org:8443/a/b/1d:e"),
    ROW(":d", DEEP, "https://example.org:8443/a/b/:d"),
    ROW("@x:y", DEEP, "https://example.org:8443/a/b/@x:y"),
    ROW("d e", DEEP, "https://example.org:8443/a/b/d%20e"),
    ROW("\xc3\xa4\xff", DEEP, "https://example.org:8443/a/b/%C3%A4%FF"),
    ROW("d", "http://[2001:db8::1]:81", "http://[2001:db8::1]:81/d"),
    ROW("d", "http://example.org?q", "http://example.org/d"),
    ROW("d", "http://example.org/a//", "http://example.org/a//d"),
    ROW("../", "http://example.org/a//b", "http://example.org/a/"),
    ROW("//", EXAMPLE, "the host is empty"),
    ROW("///?x", EXAMPLE, "the host is empty"),
    ROW("//a b/", EXAMPLE, "the host has a forbidden character"),
    ROW("//a:b/", EXAMPLE, "the port is not a number"),
    ROW("javascript:alert(1)", EXAMPLE, "the scheme is neither http nor https"),
};

static const struct row invalid_url_rows[] = {
    ROW("", NULL, "the URL is empty"),
    ROW(" \t\r\n", NULL, "the URL is empty"),
    ROW("#x", NULL, "the URL is empty"),
    ROW("example.com/", NULL, "the scheme is missing"),
    ROW("/a", NULL, "the scheme is missing"),
    ROW("//example.com", NULL, "the scheme is missing"),
    ROW("://example.com", NULL, "the scheme is missing"),
    ROW("1http://example.com", NULL, "the scheme is missing"),
    ROW("ht tp://example.com", NULL, "the scheme is missing"),
    ROW("\xef\xbb\xbfhttp://example.com", NULL, "the scheme is missing"),
    ROW("ftp://example.com/", NULL, "the scheme is neither http nor https"),
    ROW("localhost:8080/", NULL, "the scheme is neither http nor https"),
    ROW("httpss://example.com/", NULL, "the scheme is neither http nor https"),
    ROW("file:///etc/passwd", NULL, "the scheme is neither http nor https"),
    ROW("h.t+t-p1:x", NULL, "the scheme is neither http nor https"),
    ROW("http://example.com:x/", NULL, "the port is not a number"),
    ROW("http://example.com:8 0/", NULL, "the port is not a number"),
    ROW("http://example.com:-1/", NULL, "the port is not a number"),
    ROW("http://example.com:80:80/", NULL, "the port is not a number"),
    ROW("http://a:b:c/", NULL, "the port is not a number"),
    ROW("http://example.com:65536/", NULL, "the port is above 65535"),
    ROW("http://example.com:99999999999999999999999/", NULL, "the port is above 65535"),
    ROW("http://example.com:0/", NULL, "the port is 0"),
    ROW("http://example.com:000", NULL, "the port is 0"),
    ROW("http://ex ample.com:0/", NULL, "the port is 0"),
};

#define LABEL_63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct row invalid_host_rows[] = {
    ROW("http://", NULL, "the host is empty"),
    ROW("http:///", NULL, "the host is empty"),
    ROW("http:", NULL, "the host is empty"),
    ROW("https://?x", NULL, "the host is empty"),
    ROW("http://user@/x", NULL, "the host is empty"),
    ROW("http://:80/", NULL, "the host is empty"),
    ROW("http://\u00ad/", NULL, "the host is empty"),
    ROW("http://a b/", NULL, "the host has a forbidden character"),
    ROW("http://a%20b/", NULL, "the host has a forbidden character"),
    ROW("http://a<b/", NULL, "the host has a forbidden character"),
    ROW("http://a>b/", NULL, "the host has a forbidden character"),
    ROW("http://a^b/", NULL, "the host has a forbidden character"),
    ROW("http://a|b/", NULL, "the host has a forbidden character"),
    ROW("http://a[b/", NULL, "the host has a forbidden character"),
    ROW("http://a]b/", NULL, "the host has a forbidden character"),
    ROW("http://a%b/", NULL, "the host has a forbidden character"),
    ROW("http://a%zz/", NULL, "the host has a forbidden character"),
    ROW("http://a%25b/", NULL, "the host has a forbidden character"),
    ROW("http://a%2fb/", NULL, "the host has a forbidden character"),
    ROW("http://a%09b/", NULL, "the host has a forbidden character"),
    ROW("http://a%3a80/", NULL, "the host has a forbidden character"),
    ROW("http://a\x01z/", NULL, "the host has a forbidden character"),
    ROW("http://a\x7fz/", NULL, "the host has a forbidden character"),
    ROW("http://\uff05\uff14\uff11.com", NULL, "the host has a forbidden character"),
    ROW("http://a\u3000b", NULL, "the host has a forbidden character"),
    ROW("http://a\0b/", NULL, "the host has a NUL byte"),
    ROW("http://a%00b\u00fc/", NULL, "the host has a NUL byte"),
    ROW("http://a\xff/", NULL, "the host is not valid UTF-8"),
    ROW("http://a%C3/", NULL, "the host is not valid UTF-8"),
    ROW("http://\xed\xa0\x80/", NULL, "the host is not valid UTF-8"),
    ROW("http://a\ufffd/", NULL, "the host has a character that host names may not have"),
    ROW("http://a\u200d\u00e4/", NULL, "the host has a joiner or a mark where it may not stand"),
    ROW("http://xn--/", NULL, "an \"xn--\" label of the host is not valid Punycode"),
    ROW("http://xn--a/", NULL, "the host is not a valid internationalised name"),
    ROW("http://a.xn--zn7c.com/", NULL, "the host is not a valid internationalised name"),
    ROW("http://xn--a-yoc/", NULL, "a label of the host mixes right-to-left and left-to-right letters"),
    ROW("http://\U0001f4a9\uff0e\u05d0x/", NULL, "a label of the host mixes right-to-left and left-to-right letters"),
    ROW("http://\U0001f4a9\u00df/", NULL, "the host has a character that host names may not have"),
    ROW("http://\U0001f4a9\u2024\u05d0x/", NULL, "the host has a character that host names may not have"),
    ROW("http://-\u00fc/", NULL,
        "a non-ASCII label of the host has hyphens at its start, its end or its third and fourth place"),
    ROW("http://a..b/", NULL, "the host has an empty label"),
    ROW("http://.a/", NULL, "the host has an empty label"),
    ROW("http://a../", NULL, "the host has an empty label"),
    ROW("http://./", NULL, "the host has an empty label"),
    ROW("http://\u00fc..de/", NULL, "the host has an empty label"),
    ROW("http://" LABEL_63 "a.example/", NULL, "a label of the host is longer than 63 bytes"),
    ROW("http://\u00fc" LABEL_63 ".example/", NULL, "a label of the host is longer than 63 bytes"),
    ROW("http://256.256.256.256/", NULL, "a part of the IPv4 address is too large"),
    ROW("http://1.2.3.256/", NULL, "a part of the IPv4 address is too large"),
    ROW("http://1.65536.1/", NULL, "a part of the IPv4 address is too large"),
    ROW("http://4294967296/", NULL, "a part of the IPv4 address is too large"),
    ROW("http://0x100000000000000000000/", NULL, "a part of the IPv4 address is too large"),
    ROW("http://1.2.3.4.5/", NULL, "the IPv4 address has more than four parts"),
    ROW("http://1.2.3.08/", NULL, "the host ends in a number but is not an IPv4 address"),
    ROW("http://foo.0x4/", NULL, "the host ends in a number but is not an IPv4 address"),
    ROW("http://foo.09/", NULL, "the host ends in a number but is not an IPv4 address"),
    ROW("http://foo.2.", NULL, "the host ends in a number but is not an IPv4 address"),
    ROW("http://[::1/", NULL, "the IPv6 address has no closing bracket"),
    ROW("http://[/", NULL, "the IPv6 address has no closing bracket"),
    ROW("http://[::1]x/", NULL, "the IPv6 address has no closing bracket"),
    ROW("http://[]/", NULL, "the IPv6 address has fewer than eight pieces"),
    ROW("http://[1:2:3]/", NULL, "the IPv6 address has fewer than eight pieces"),
    ROW("http://[1.2.3.4]/", NULL, "the IPv6 address has fewer than eight pieces"),
    ROW("http://[1:2:3:4:5:6:7:8:9]/", NULL, "the IPv6 address has more than eight pieces"),
    ROW("http://[1:2:3:4:5:6:7:8::]/", NULL, "the IPv6 address has more than eight pieces"),
    ROW("http://[1::2::3]/", NULL, "the IPv6 address has more than one \"::\""),
    ROW("http://[:::]/", NULL, "the IPv6 address has more than one \"::\""),
    ROW("http://[:1]/", NULL, "the IPv6 address is not valid"),
    ROW("http://[1:2:]/", NULL, "the IPv6 address is not valid"),
    ROW("http://[::12345]/", NULL, "the IPv6 address is not valid"),
    ROW("http://[::g]/", NULL, "the IPv6 address is not valid"),
    ROW("http://[fe80::1%25eth0]/", NULL, "the IPv6 address is not valid"),
    ROW("http://[::1.2.3]/", NULL, "the IPv4 address inside the IPv6 address is not valid"),
    ROW("http://[::1.2.3.4.5]/", NULL, "the IPv4 address inside the IPv6 address is not valid"),
    ROW("http://[::1.2.3.256]/", NULL, "the IPv4 address inside the IPv6 address is not valid"),
    ROW("http://[::1.2.3.04]/", NULL, "the IPv4 address inside the IPv6 address is not valid"),
    ROW("http://[::.1.2.3]/", NULL, "the IPv4 address inside the IPv6 address is not valid"),
    ROW("http://[1:2:3:4:5:6:7:1.2.3.4]/", NULL, "the IPv4 address inside the IPv6 address is not valid"),
};

static struct buffer out;
static struct buffer base_out;

static enum outcome parse(const char *input, size_t len, const char *base_text, struct url *url, const char **reason)
{
    struct url base;

    if (!base_text)
        return url_parse(input, len, NULL, &out, url, reason);
    assert_int_equal(url_parse(base_text, strlen(base_text), NULL, &base_out, &base, reason), OUTCOME_OK);
    return url_parse(input, len, &base, &out, url, reason);
}

/* Parses what is expected to be fine. */
static struct url parsed(const char *input, const char *base_text)
{
    struct url url;
    const char *reason;

    enum outcome outcome = parse(input, strlen(input), base_text, &url, &reason);
    if (outcome != OUTCOME_OK)
        fail_msg("\"%s\": %s", input, reason);
    return url;
}

static void check_row(const struct row *row, enum outcome failure)
{
    struct url url;
    const char *reason = NULL;
    enum outcome outcome = parse(row->input, row->input_len, row->base, &url, &reason);
    bool want_ok = strncmp(row->result, "http", 4) == 0;

    if (outcome == OUTCOME_OK) {
        if (url.len != strlen(row->result) || memcmp(url.text, row->result, url.len) != 0)
            fail_msg("\"%s\" became \"%.*s\", not \"%s\"", row->input, (int)url.len, url.text, row->result);
        assert_null(reason);
        return;
    }
    if (want_ok || strcmp(reason, row->result) != 0)
        fail_msg("\"%s\" was refused: %s; not \"%s\"", row->input, reason, row->result);
    if (failure != OUTCOME_OK)
        assert_int_equal(outcome, failure);
    assert_null(url.text);
}

#define CHECK_ROWS(rows, failure)                               \
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows)[0]; i++) \
    check_row(&(rows)[i], failure)

static void canonical_form_is_written(void **state)
{
    (void)state;
    CHECK_ROWS(plain_rows, OUTCOME_OK);
    CHECK_ROWS(authority_rows, OUTCOME_OK);
    CHECK_ROWS(path_rows, OUTCOME_OK);
    CHECK_ROWS(host_rows, OUTCOME_OK);
}

static void references_are_resolved_against_the_base(void **state)
{
    (void)state;
    CHECK_ROWS(relative_rows, OUTCOME_OK);
}

static void invalid_urls_are_refused_with_their_reason(void **state)
{
    (void)state;
    CHECK_ROWS(invalid_url_rows, OUTCOME_INVALID_URL);
}

static void a_url_with_only_its_host_wrong_is_an_invalid_host(void **state)
{
    (void)state;
    CHECK_ROWS(invalid_host_rows, OUTCOME_INVALID_HOST);
}

static void fields_point_at_their_parts(void **state)
{
    (void)state;
    struct url url = parsed("https://user@Example.com:8443/a/../b?c=d#e", NULL);

    assert_memory_equal(url.text, "https://example.com:8443/b?c=d", url.len);
    assert_memory_equal(url.text + url.host_offset, "example.com", url.host_len);
    assert_int_equal(url.host_len, 11);
    assert_int_equal(url.port, 8443);
    assert_false(url.port_is_default);
    assert_int_equal(url.scheme, URL_HTTPS);
    assert_memory_equal(url.text + url.path_offset, "/b?c=d", 6);
    assert_int_equal(url.path_len, 2);
    assert_int_equal(url.len, 30);
    assert_true(url.has_credentials);
    assert_false(url.host_is_ip);
}

static void effective_port_comes_from_the_scheme(void **state)
{
    (void)state;
    assert_int_equal(parsed("http://a/", NULL).port, 80);
    assert_true(parsed("http://a/", NULL).port_is_default);
    assert_int_equal(parsed("https://a:443/", NULL).port, 443);
    assert_true(parsed("https://a:443/", NULL).port_is_default);
    assert_int_equal(parsed("http://b/", "https://a:8443/").port, 80);
    assert_int_equal(parsed("b", "https://a:8443/").port, 8443);
    assert_int_equal(parsed("//b", "https://a:8443/").port, 443);
}

static void addresses_are_told_from_names(void **state)
{
    (void)state;
    assert_true(parsed("http://127.1/", NULL).host_is_ip);
    assert_true(parsed("http://[::1]/", NULL).host_is_ip);
    assert_int_equal(parsed("http://[::1]:80/", NULL).host_len, 5);
    assert_false(parsed("http://127.1.example/", NULL).host_is_ip);
    assert_true(parsed("x", "http://[::1]/").host_is_ip);
}

static void empty_credentials_are_none(void **state)
{
    (void)state;
    assert_false(parsed("http://a/", NULL).has_credentials);
    assert_false(parsed("http://@a/", NULL).has_credentials);
    assert_false(parsed("http://:@a/", NULL).has_credentials);
    assert_true(parsed("http://u@a/", NULL).has_credentials);
    assert_true(parsed("http://:p@a/", NULL).has_credentials);
    assert_true(parsed("x", "http://u@a/").has_credentials);
    assert_false(parsed("//b/x", "http://u@a/").has_credentials);
}

static void canonical_form_is_its_own_canonical_form(void **state)
{
    (void)state;
    static const struct row *const tables[] = {plain_rows, authority_rows, path_rows, host_rows};
    static const size_t counts[] = {
        sizeof plain_rows / sizeof *plain_rows,
        sizeof authority_rows / sizeof *authority_rows,
        sizeof path_rows / sizeof *path_rows,
        sizeof host_rows / sizeof *host_rows,
    };

    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++) {
        for (size_t i = 0; i < counts[t]; i++) {
            const char *text = tables[t][i].result;
            struct url url = parsed(text, NULL);
            assert_int_equal(url.len, strlen(text));
            assert_memory_equal(url.text, text, url.len);
        }
    }
}

/* A name of `len` bytes in labels of 63. */
static void fill_name(char *name, size_t len)
{
    for (size_t i = 0; i < len; i++)
        name[i] = i % 64 == 63 ? '.' : 'a';
}

static void host_of_253_bytes_is_the_longest(void **state)
{
    (void)state;
    static char text[7 + 3 * 253 + 2] = "http://";
    struct url url;
    const char *reason;

    fill_name(text + 7, 254);
    assert_int_equal(parse(text, 7 + 253, NULL, &url, &reason), OUTCOME_OK);
    assert_int_equal(url.host_len, 253);
    assert_int_equal(parse(text, 7 + 254, NULL, &url, &reason), OUTCOME_INVALID_HOST);
    assert_string_equal(reason, "the host is longer than 253 bytes");
    text[7] = 'A';
    text[8] = '\xc3';
    text[9] = '\xbc';
    assert_int_equal(parse(text, 7 + 254, NULL, &url, &reason), OUTCOME_INVALID_HOST);
    for (size_t i = 0; i < 253; i++)
        snprintf(text + 7 + 3 * i, 4, "%%%02x", i % 64 == 63 ? 0x2e : 0x61);
    assert_int_equal(parse(text, 7 + 3 * 253, NULL, &url, &reason), OUTCOME_OK);
    assert_int_equal(url.host_len, 253);
}

static void url_longer_than_the_limit_is_refused(void **state)
{
    (void)state;
    static char text[URL_LEN_MAX + 2] = "http://a/";
    struct url url;
    const char *reason;

    memset(text + 9, 'x', sizeof text - 9);
    assert_int_equal(parse(text, URL_LEN_MAX, NULL, &url, &reason), OUTCOME_OK);
    assert_int_equal(url.len, URL_LEN_MAX);
    assert_int_equal(parse(text, URL_LEN_MAX + 1, NULL, &url, &reason), OUTCOME_INVALID_URL);
    assert_string_equal(reason, "the URL is longer than 65535 bytes");
    text[100] = '#';
    assert_int_equal(parse(text, URL_LEN_MAX + 1, NULL, &url, &reason), OUTCOME_OK);
    text[100] = ' ';
    assert_int_equal(parse(text, URL_LEN_MAX, NULL, &url, &reason), OUTCOME_INVALID_URL);
    assert_string_equal(reason, "the URL is longer than 65535 bytes when it is percent-encoded");
    text[100] = '\t';
    assert_int_equal(parse(text, URL_LEN_MAX, NULL, &url, &reason), OUTCOME_OK);
    assert_int_equal(url.len, URL_LEN_MAX - 1);
}

static void buffer_is_not_moved_for_urls_of_one_size(void **state)
{
    (void)state;
    const char *first = parsed("https://example.com/a/b/c?d", NULL).text;

    assert_ptr_equal(parsed("http://example.com/e/f/g?hi", NULL).text, first);
    assert_ptr_equal(out.data, first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(canonical_form_is_written),
        cmocka_unit_test(references_are_resolved_against_the_base),
        cmocka_unit_test(invalid_urls_are_refused_with_their_reason),
        cmocka_unit_test(a_url_with_only_its_host_wrong_is_an_invalid_host),
        cmocka_unit_test(fields_point_at_their_parts),
        cmocka_unit_test(effective_port_comes_from_the_scheme),
        cmocka_unit_test(addresses_are_told_from_names),
        cmocka_unit_test(empty_credentials_are_none),
        cmocka_unit_test(canonical_form_is_its_own_canonical_form),
        cmocka_unit_test(host_of_253_bytes_is_the_longest),
        cmocka_unit_test(url_longer_than_the_limit_is_refused),
        cmocka_unit_test(buffer_is_not_moved_for_urls_of_one_size),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    buffer_fini(&out);
    buffer_fini(&base_out);
    return failed;
}
