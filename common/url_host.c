/* Hosts of URLs. A plain ASCII name is copied by a table; only names with non-ASCII characters or "xn--" labels go
 * through libidn2. Addresses are read in url_ip.c. */
#include "common/url_host.h"

#include <idn2.h>
#include <stdint.h>
#include <string.h>

#include "common/url.h"

#define LABEL_MAX      63
#define HOST_BYTES_MAX ((size_t)4 * URL_HOST_MAX) /* of a name in UTF-8, before it is mapped */

/* What may stand in a name (the complement of the forbidden domain code points): the value's bit 0x20 makes it lower
 * case, 0 is refused. "%" is refused here and decoded on the slow way. */
#define AS_IT_IS 1
#define TO_LOWER 0x21
static const uint8_t name_byte[256] = {
    ['!'] = AS_IT_IS,         ['"'] = AS_IT_IS, ['$'] = AS_IT_IS,         ['&' ... '.'] = AS_IT_IS,
    ['0' ... '9'] = AS_IT_IS, [';'] = AS_IT_IS, ['='] = AS_IT_IS,         ['A' ... 'Z'] = TO_LOWER,
    ['_'] = AS_IT_IS,         ['`'] = AS_IT_IS, ['a' ... 'z'] = AS_IT_IS, ['{'] = AS_IT_IS,
    ['}'] = AS_IT_IS,         ['~'] = AS_IT_IS,
};

static const char too_long[] = "the host is longer than 253 bytes";

/* Writes as much of `name` as is plain ASCII, in lower case; returns how much that was. */
static size_t write_plain(const char *name, size_t len, struct buffer *out)
{
    size_t i = 0;

    for (; i < len; i++) {
        uint8_t kind = name_byte[(uint8_t)name[i]];
        if (!kind)
            break;
        out->data[out->len + i] = (char)(name[i] | (kind & 0x20));
    }
    out->len += i;
    return i;
}

/* The full stops that UTS 46 maps to "." */
static bool ends_in_wide_stop(const char *text, size_t len)
{
    static const char stops[][4] = {"\u3002", "\uff0e", "\uff61"};

    for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++) {
        if (len >= 3 && memcmp(text + len - 3, stops[i], 3) == 0)
            return true;
    }
    return false;
}

/* Percent-decodes into `decoded`, so that "." is what separates labels; false when that is too small. */
static bool decode(const char *host, size_t len, char decoded[HOST_BYTES_MAX], size_t *len_out)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (n == HOST_BYTES_MAX)
            return false;
        char byte = host[i];
        if (byte == '%' && len - i > 2 && url_hex_value(host[i + 1]) >= 0 && url_hex_value(host[i + 2]) >= 0) {
            byte = (char)(url_hex_value(host[i + 1]) << 4 | url_hex_value(host[i + 2]));
            i += 2;
        }
        decoded[n++] = byte;
        if ((uint8_t)byte >= 0x80 && ends_in_wide_stop(decoded, n)) {
            n -= 3;
            decoded[n++] = '.';
        }
    }
    *len_out = n;
    return true;
}

static bool is_alabel(const char *label, size_t len)
{
    return len >= 4 && (label[0] | 0x20) == 'x' && (label[1] | 0x20) == 'n' && label[2] == '-' && label[3] == '-';
}

static bool is_ascii(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((uint8_t)text[i] >= 0x80)
            return false;
    }
    return true;
}

static const char *idn_reason(int rc)
{
    switch (rc) {
    case IDN2_ENCODING_ERROR:
        return "the host is not valid UTF-8";
    case IDN2_TOO_BIG_DOMAIN:
        return too_long;
    case IDN2_TOO_BIG_LABEL:
    case IDN2_PUNYCODE_BIG_OUTPUT:
        return "a label of the host is longer than 63 bytes";
    case IDN2_2HYPHEN:
    case IDN2_HYPHEN_STARTEND:
        return "a non-ASCII label of the host has hyphens at its start, its end or its third and fourth place";
    case IDN2_BIDI:
        return "a label of the host mixes right-to-left and left-to-right letters";
    case IDN2_CONTEXTJ:
    case IDN2_CONTEXTJ_NO_RULE:
    case IDN2_CONTEXTO:
    case IDN2_CONTEXTO_NO_RULE:
        return "the host has a joiner or a mark where it may not stand";
    case IDN2_DISALLOWED:
    case IDN2_UNASSIGNED:
        return "the host has a character that host names may not have";
    case IDN2_PUNYCODE_BAD_INPUT:
    case IDN2_PUNYCODE_OVERFLOW:
    case IDN2_INVALID_ALABEL:
    case IDN2_ALABEL_ROUNDTRIP_FAILED:
        return "an \"xn--\" label of the host is not valid Punycode";
    default:
        return "the host is not a valid internationalised name";
    }
}

/* True for the four characters that transitional processing would change. */
static bool has_deviation(const char *label)
{
    return strstr(label, "\u00df") || strstr(label, "\u03c2") || strstr(label, "\u200c") || strstr(label, "\u200d");
}

/* A name that comes from libidn2 label by label. */
struct mapped {
    char text[URL_HOST_MAX];
    size_t len;
};

static const char *append_mapped(struct mapped *m, const char *text, size_t len)
{
    if (len > sizeof m->text - m->len)
        return too_long;
    memcpy(m->text + m->len, text, len);
    m->len += len;
    return NULL;
}

/* Maps a NUL-terminated label that is not plain ASCII. */
static const char *map_label(const char *label, struct mapped *m)
{
    char *mapped = NULL;
    int rc = idn2_lookup_u8((const uint8_t *)label, (uint8_t **)&mapped, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);

    /* Symbols (emoji) are valid in UTS 46 but not in IDNA2008, which libidn2 asks for as well unless told to work
     * transitionally; for a label without one of the four deviations that maps the same. */
    if (rc == IDN2_DISALLOWED && !has_deviation(label))
        rc = idn2_lookup_u8((const uint8_t *)label, (uint8_t **)&mapped, IDN2_NFC_INPUT | IDN2_TRANSITIONAL);
    if (rc != IDN2_OK)
        return idn_reason(rc);
    const char *reason = append_mapped(m, mapped, strlen(mapped));
    idn2_free(mapped);
    return reason;
}

/* Percent-decodes the host and maps each of its labels on its own. */
static const char *map_name(const char *host, size_t host_len, struct mapped *m)
{
    char name[HOST_BYTES_MAX + 1];
    const char *reason = NULL;
    size_t len;

    m->len = 0;
    if (!decode(host, host_len, name, &len))
        return too_long;
    if (memchr(name, '\0', len))
        return "the host has a NUL byte";
    name[len] = '\0';
    for (char *label = name; label && !reason;) {
        char *dot = memchr(label, '.', len - (size_t)(label - name));
        size_t label_len = (size_t)((dot ? dot : name + len) - label);
        label[label_len] = '\0';
        if (!is_ascii(label, label_len) || is_alabel(label, label_len))
            reason = map_label(label, m);
        else
            reason = append_mapped(m, label, label_len);
        if (dot && !reason)
            reason = append_mapped(m, ".", 1);
        label = dot ? dot + 1 : NULL;
    }
    return reason;
}

/* The slow way. What is mapped goes through the table again: libidn2 lets ASCII characters pass that a URL forbids. */
static const char *write_mapped(const char *host, size_t host_len, struct buffer *out)
{
    struct mapped m;
    const char *reason = map_name(host, host_len, &m);

    if (reason)
        return reason;
    if (m.len == 0)
        return "the host is empty";
    return write_plain(m.text, m.len, out) == m.len ? NULL : "the host has a forbidden character";
}

/* The lengths that DNS asks for (RFC 1035 2.3.4), of a name that is not empty; *alabel_out: a label begins with "xn--".
 */
static const char *check_labels(const char *name, size_t len, bool *alabel_out)
{
    size_t start = 0;

    *alabel_out = false;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && name[i] != '.')
            continue;
        if (i == start && i < len)
            return "the host has an empty label";
        if (i - start > LABEL_MAX)
            return "a label of the host is longer than 63 bytes";
        *alabel_out |= is_alabel(name + start, i - start);
        start = i + 1;
    }
    return NULL;
}

static const char *write_name(const char *host, size_t len, struct buffer *out)
{
    size_t start = out->len;
    bool alabel = false;
    const char *reason = NULL;

    bool plain = len <= URL_HOST_MAX && write_plain(host, len, out) == len;
    if (plain)
        reason = check_labels(out->data + start, len, &alabel);
    if (!reason && (!plain || alabel)) {
        out->len = start;
        reason = write_mapped(host, len, out);
        if (!reason)
            reason = check_labels(out->data + start, out->len - start, &alabel);
    }
    return reason;
}

enum outcome url_host_write(const char *host, size_t len, struct buffer *out, bool *is_ip_out, const char **reason_out)
{
    size_t start = out->len;

    if (*host == '[') {
        *is_ip_out = true;
        *reason_out = url_ipv6_write(host, len, out);
    } else {
        *reason_out = write_name(host, len, out);
        *is_ip_out = !*reason_out && url_ends_in_number(out->data + start, out->len - start);
        if (*is_ip_out)
            *reason_out = url_ipv4_rewrite(out, start);
    }
    return *reason_out ? OUTCOME_INVALID_HOST : OUTCOME_OK;
}
