/* Any bytes as a URL, alone and relative to some bases: what is accepted must be consistent and its own canonical form.
 */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "common/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_fields(const struct url *url)
{
    size_t scheme_len = url->scheme == URL_HTTPS ? 8 : 7;

    assert(url->len <= URL_LEN_MAX && url->len > scheme_len);
    assert(memcmp(url->text, url->scheme == URL_HTTPS ? "https://" : "http://", scheme_len) == 0);
    assert(url->host_offset == scheme_len);
    assert(url->host_len > 0 && url->host_len <= URL_HOST_MAX);
    assert(url->path_offset >= url->host_offset + url->host_len);
    assert(url->path_offset < url->len && url->text[url->path_offset] == '/');
    assert(url->path_len > 0 && url->path_offset + url->path_len <= url->len);
    assert(url->port != 0);
    if (url->port_is_default) {
        assert(url->path_offset == url->host_offset + url->host_len);
        assert(url->port == (url->scheme == URL_HTTPS ? 443 : 80));
    } else {
        assert(url->text[url->host_offset + url->host_len] == ':');
    }
    if (url->path_offset + url->path_len < url->len)
        assert(url->text[url->path_offset + url->path_len] == '?');
    assert(!memchr(url->text + url->path_offset, '?', url->path_len));
    for (size_t i = 0; i < url->len; i++)
        assert(url->text[i] > ' ' && url->text[i] < 0x7f && url->text[i] != '#');
}

static void check_canonical(const struct url *url)
{
    struct buffer again_out = {0};
    struct url again;
    const char *reason;

    enum outcome outcome = url_parse(url->text, url->len, NULL, &again_out, &again, &reason);
    assert(outcome == OUTCOME_OK);
    assert(again.len == url->len && memcmp(again.text, url->text, url->len) == 0);
    assert(again.host_len == url->host_len && again.host_is_ip == url->host_is_ip);
    assert(again.port == url->port && again.path_offset == url->path_offset && again.path_len == url->path_len);
    buffer_fini(&again_out);
}

static void check_parse(const char *input, size_t len, const struct url *base)
{
    struct buffer out = {0};
    struct url url;
    const char *reason;
    enum outcome outcome = url_parse(input, len, base, &out, &url, &reason);

    if (outcome == OUTCOME_OK) {
        assert(!reason);
        check_fields(&url);
        check_canonical(&url);
    } else {
        assert(outcome == OUTCOME_INVALID_URL || outcome == OUTCOME_INVALID_HOST);
        assert(reason && *reason);
    }
    buffer_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const bases[] = {"http://example.org/foo/bar?q", "https://u:p@[2001:db8::1]:8443//a/b/"};
    struct buffer base_out = {0};
    struct url base;
    const char *reason;

    check_parse((const char *)data, size, NULL);
    for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++) {
        enum outcome outcome = url_parse(bases[i], strlen(bases[i]), NULL, &base_out, &base, &reason);
        assert(outcome == OUTCOME_OK);
        check_parse((const char *)data, size, &base);
    }
    buffer_fini(&base_out);
    return 0;
}
