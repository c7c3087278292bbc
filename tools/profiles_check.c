/* What was caught of each profile, held against its reference field by field. */
#include "tools/profiles_check.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "common/client_hello.h"
#include "common/json.h"
#include "common/log.h"
#include "tools/profile_catch.h"

enum { GROUPS = 10, MLKEM = 0x11ec, KYBER_DRAFT = 0x6399 };

struct field {
    const char *name;
    const char *reference; /* NULL: the browser has no one value */
    char sent[256];
    bool tells_partial; /* equal even where the TLS library lacks a group */
};

struct verdict {
    struct field fields[4];
    const char *grade;
    bool as_expected;
};

static bool is_equal(const struct field *f)
{
    return !f->reference || strcmp(f->reference, f->sent) == 0;
}

/* OpenSSL from 3.5 on, unless it was built without ML-KEM. */
static bool has_mlkem(void)
{
    EVP_KEYMGMT *manager = NULL;

    if (OpenSSL_version_num() >= 0x30500000UL)
        manager = EVP_KEYMGMT_fetch(NULL, "X25519MLKEM768", NULL);
    EVP_KEYMGMT_free(manager);
    return manager != NULL;
}

/* Whether this TLS library can do all that the hello promises. */
static bool can_be_exact(const struct hello_layout *layout)
{
    const struct hello_extension *groups = hello_layout_find(layout, GROUPS);

    for (size_t i = 0; groups && i < groups->list_count; i++) {
        if (groups->list[i] == KYBER_DRAFT || (groups->list[i] == MLKEM && !has_mlkem()))
            return false;
    }
    return true;
}

static void judge(const struct profile *p, const struct profile_catch *caught, const char *http2, struct verdict *v)
{
    struct client_hello hello;
    bool all = true;
    bool partial = true;

    *v = (struct verdict){.fields = {{"ja3", p->hello->permute ? NULL : p->hello->ja3, "", false},
                                     {"ja3n", p->hello->ja3n, "", false},
                                     {"ja4", p->hello->ja4, "", true},
                                     {"http2", http2, "", true}}};
    if (client_hello_parse((const uint8_t *)caught->hello.data, caught->hello.len, &hello)) {
        client_hello_drop_padding(&hello);
        ja3_hash(&hello, false, v->fields[0].sent);
        ja3_hash(&hello, true, v->fields[1].sent);
        ja4_hash(&hello, v->fields[2].sent);
    }
    snprintf(v->fields[3].sent, sizeof v->fields[3].sent, "%s", caught->http2);
    for (size_t i = 0; i < 4; i++) {
        all &= is_equal(&v->fields[i]);
        partial &= !v->fields[i].tells_partial || is_equal(&v->fields[i]);
    }
    bool able = can_be_exact(p->hello);
    v->grade = all && able ? "exact" : partial ? "partial" : "plain";
    v->as_expected = able ? all : partial;
}

static void put_text(struct buffer *out, const struct profile *p, const struct verdict *v)
{
    buffer_printf(out, "%s: %s\n", p->name, v->grade);
    for (size_t i = 0; i < 4; i++) {
        const struct field *f = &v->fields[i];
        buffer_printf(out, "  %-5s %-9s %s\n", f->name,
                      !f->reference ? "varies"
                      : is_equal(f) ? "same"
                                    : "DIFFERENT",
                      *f->sent ? f->sent : "-");
        if (!is_equal(f))
            buffer_printf(out, "        reference %s\n", f->reference);
    }
}

static void put_json(struct buffer *out, const struct profile *p, const struct verdict *v)
{
    json_open(out);
    json_member_string(out, "name", p->name, strlen(p->name));
    json_member_string(out, "grade", v->grade, strlen(v->grade));
    for (size_t i = 0; i < 4; i++) {
        const struct field *f = &v->fields[i];
        json_put_key(out, f->name, strlen(f->name));
        json_open(out);
        json_member_string(out, "sent", f->sent, strlen(f->sent));
        if (f->reference) {
            json_member_string(out, "reference", f->reference, strlen(f->reference));
            json_member_bool(out, "same", is_equal(f));
        }
        json_close(out);
    }
    json_close(out);
    buffer_append_char(out, '\n');
}

/* Prints what comes of one profile; false: standard output can't be written. */
static bool check_one(const struct profile *p, const char *dir, bool json, bool *good_out)
{
    struct profile_catch caught;
    struct buffer out = {0};
    struct verdict v;
    const char *reason;
    char http2[256];

    *good_out = profile_catch(p, dir, &caught, &reason);
    if (*good_out) {
        profile_http2_text(&p->http2, http2, sizeof http2);
        judge(p, &caught, http2, &v);
        *good_out = v.as_expected;
        (json ? put_json : put_text)(&out, p, &v);
    } else {
        fprintf(stderr, "hotfleet: %s: %s\n", p->name, reason);
    }
    buffer_fini(&caught.hello);
    bool written = fwrite(out.data ? out.data : "", 1, out.len, stdout) == out.len && fflush(stdout) == 0;
    buffer_fini(&out);
    return written;
}

int profiles_check(const char *dir, char **names, size_t count, bool json)
{
    size_t all = count ? count : profile_count();
    bool everything = true;

    for (size_t i = 0; i < count; i++) {
        const struct profile *p = profile_find(names[i]);
        if (!p || p->draw != PROFILE_FIXED) {
            fprintf(stderr, "hotfleet: \"%s\" is no profile with a hello of its own; see hotfleet profiles list\n",
                    names[i]);
            return EXIT_USAGE;
        }
    }
    for (size_t i = 0; i < all; i++) {
        const struct profile *p = count ? profile_find(names[i]) : profile_at(i);
        bool good = true;
        if (p->draw == PROFILE_FIXED && !check_one(p, dir, json, &good)) {
            log_event(LOG_ERROR, "output-failed", "standard output could not be written");
            return EXIT_OUTPUT;
        }
        everything &= good;
    }
    return everything ? EXIT_OK : EXIT_INTERNAL;
}
