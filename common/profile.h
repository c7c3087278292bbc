#pragma once
/* Browser profiles: what a browser of one version on one platform shows of itself, as data. They are compiled in from
 * common/profiles/NAME.toml, one a file, and their ClientHello layouts from common/profiles/hello/; a user's own come
 * from a folder of such files, whose layout may stand in them as the table [hello]. Read at first use, immutable from
 * then on, never freed. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/hello_layout.h"

#define PROFILE_HEADERS_MAX    16
#define PROFILE_SETTINGS_MAX   8
#define PROFILE_PRIORITIES_MAX 8

/* Of a profile whose hello is drawn anew for each connection, from the parts of its layout. */
enum profile_draw { PROFILE_FIXED, PROFILE_DRAWN, PROFILE_DRAWN_ALPN, PROFILE_DRAWN_NO_ALPN };

struct profile_header {
    char name[32]; /* as HTTP/1.1 has it; HTTP/2 in lower case (RFC 9113 8.2) */
    char value[192];
};

/* RFC 9113 6.5.1, of SETTINGS. */
struct profile_setting {
    uint16_t id;
    uint32_t value;
};

/* RFC 7540 5.3, of PRIORITY frames and of the priority in HEADERS. */
struct profile_priority {
    uint32_t stream_id; /* 0 in that of HEADERS */
    uint32_t depends_on;
    bool exclusive;
    uint16_t weight; /* 1-256; 0: none is sent */
};

struct profile_http2 {
    struct profile_setting settings[PROFILE_SETTINGS_MAX]; /* in order */
    uint8_t settings_count, priorities_count;
    uint32_t window_update; /* of the connection */
    struct profile_priority priorities[PROFILE_PRIORITIES_MAX];
    struct profile_priority request; /* what a request's HEADERS carry */
    char pseudo_headers[5];          /* m, a, s and p in order */
};

struct profile {
    char name[32], browser[16], version[8], platform[16];
    char description[96];
    char user_agent[192];
    bool recommended, safe;
    enum profile_draw draw;
    struct profile_header headers[PROFILE_HEADERS_MAX]; /* in order, User-Agent with its value among them */
    uint8_t headers_count;
    struct profile_http2 http2;
    char hello_name[24];
    const struct hello_layout *hello;
};

#define PROFILE_FAULT_MAX 512

/* Adds the profiles of DIR/NAME.toml, *.toml in the order of their names, and lets them stand for those of the same
 * name. To be called before any profile is asked for; only the first call of a process reads. False: fault_out says
 * what is wrong in which file, line and column. */
bool profile_dir_read(const char *dir, char fault_out[PROFILE_FAULT_MAX]);
size_t profile_count(void);
/* In the order of their names; `index` is below profile_count(). */
const struct profile *profile_at(size_t index);
/* NULL: there is none of that name. */
const struct profile *profile_find(const char *name);

/* Reads a profile; `hello` is left for the caller to find by its name. False: *error_out says what is wrong. */
bool profile_parse(const char *text, size_t len, struct profile *profile_out, struct toml_error *error_out);
/* The same of a document that may hold its layout itself: *layout_out has then ciphers. */
bool profile_parse_own(const char *text, size_t len, struct profile *profile_out, struct hello_layout *layout_out,
                       struct toml_error *error_out);
/* Appends the HTTP/2 fingerprint to `out`, at most `size` bytes with its NUL: SETTINGS|WINDOW_UPDATE|PRIORITY|pseudo.
 */
void profile_http2_text(const struct profile_http2 *http2, char *out, size_t size);
