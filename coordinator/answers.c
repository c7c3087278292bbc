/* Which answers are kept and told again, and what of them. */
#include "coordinator/answers.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"

#define COMMIT_EVERY 1000 /* answers in one transaction: LMDB bounds its dirty pages */

struct answers {
    struct store *store;
    const struct options *options;
    EVP_MD *sha256;
    EVP_MD_CTX *digest;
    unsigned pending;
    bool full_told, broken;
    struct buffer text; /* a line being cut, or read from the map */
    struct buffer members;
};

static uint64_t oldest_us(const struct answers *a)
{
    uint64_t now = clock_wall_us();
    uint64_t age = a->options->cache_ttl * 1000;

    return now > age ? now - age : 0;
}

struct answers *answers_open(struct store *store, const struct options *options)
{
    if (!options->cache_fallback)
        return NULL;
    struct answers *a = calloc(1, sizeof *a);
    if (a) {
        a->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        a->digest = EVP_MD_CTX_new();
    }
    if (!a || !a->sha256 || !a->digest)
        die("out of memory: no room for the digests of kept answers");
    a->store = store;
    a->options = options;
    if (store_answer_open(store, oldest_us(a)) == OUTCOME_OK)
        return a;
    answers_close(a);
    return NULL;
}

void answers_close(struct answers *a)
{
    if (!a)
        return;
    EVP_MD_free(a->sha256);
    EVP_MD_CTX_free(a->digest);
    buffer_fini(&a->text);
    buffer_fini(&a->members);
    free(a);
}

bool answers_stand_in(enum outcome outcome)
{
    enum blame blame = outcome_row(outcome)->blame;

    return blame == BLAME_DNS || blame == BLAME_ADDRESS || blame == BLAME_CONNECTION || blame == BLAME_SERVER;
}

/* A GET without a body, for nobody in particular. */
static bool is_common(const struct answers *a, const struct task *task, struct span method)
{
    bool sends_data = *a->options->data && !task->method.data;

    if (task->method.data)
        method = task->method;
    return task->plain && !task->body_dropped && !sends_data && !*a->options->raw_request && method.len == 3 &&
           memcmp(method.data, "GET", 3) == 0;
}

static bool make_key(struct answers *a, const struct url *url, uint8_t key_out[EVP_MAX_MD_SIZE])
{
    return EVP_DigestInit_ex2(a->digest, a->sha256, NULL) == 1 &&
           EVP_DigestUpdate(a->digest, url->text, url->len) == 1 && EVP_DigestFinal_ex(a->digest, key_out, NULL) == 1;
}

/* The members of a record line from the answer's first on, without what is this line's own at the end: the log of
 * attempts and the tag. The keys looked for can't stand inside a string, where each quote has a backslash before it. */
static bool cut_answer(struct answers *a, const struct task *task, const char *line, size_t len)
{
    static const char head[] = ",\"failed\":false,";
    static const char log[] = ",\"attempt_log\":[";
    size_t tail = strlen("}\n") + (task->tag.len ? strlen(",\"tag\":") + task->tag.len : 0);
    const char *from = memmem(line, len, head, sizeof head - 1);

    if (!from || (size_t)(line + len - from) < sizeof head + tail)
        return false;
    from += sizeof head - 1;
    const char *to = line + len - tail;
    const char *log_at = a->options->attempt_log ? memmem(from, (size_t)(to - from), log, sizeof log - 1) : NULL;
    if (log_at)
        to = log_at;
    buffer_clear(&a->text);
    buffer_append_char(&a->text, '{');
    buffer_append(&a->text, from, (size_t)(to - from));
    buffer_append_char(&a->text, '}');
    return a->text.len <= STORE_ANSWER_MAX;
}

void answers_keep(struct answers *a, const struct task *task, struct span method, unsigned status, const char *line,
                  size_t len)
{
    uint8_t key[EVP_MAX_MD_SIZE];

    if (!a || a->broken || status < 200 || status > 299 || !is_common(a, task, method) ||
        !cut_answer(a, task, line, len) || !make_key(a, &task->first_url, key))
        return;
    enum outcome outcome =
        store_answer_put(a->store, key, clock_wall_us(), a->text.data, a->text.len, (uint64_t)a->options->cache_max);
    if (outcome == OUTCOME_FULL && !a->full_told) {
        log_event(LOG_WARN, "answers-full", "kept=%lld: further URLs are not kept hint=\"raise --cache-max\"",
                  (long long)a->options->cache_max);
        a->full_told = true;
    }
    a->broken = outcome == OUTCOME_SYSTEM;
    if (outcome == OUTCOME_OK && ++a->pending >= COMMIT_EVERY) {
        store_commit(a->store);
        a->pending = 0;
    }
}

static const struct {
    const char *key;
    json_type type;
} kept_members[] = {
    {"method", JSON_STRING},       {"status_code", JSON_INTEGER},
    {"content_type", JSON_STRING}, {"content_length", JSON_INTEGER},
    {"location", JSON_STRING},     {"webserver", JSON_STRING},
    {"final_url", JSON_STRING},    {"chain_status_codes", JSON_ARRAY},
    {"host_ip", JSON_STRING},      {"http_version", JSON_STRING},
    {"tls", JSON_OBJECT},          {"sni", JSON_STRING},
    {"bytes_wire", JSON_INTEGER},  {"bytes_body", JSON_INTEGER},
    {"truncated", JSON_TRUE},      {"hash", JSON_OBJECT},
};

/* Takes over the members that are the answer's, each of its type. */
static void put_members(struct buffer *out, json_t *object)
{
    for (size_t i = 0; i < sizeof kept_members / sizeof kept_members[0]; i++) {
        json_t *value = json_object_get(object, kept_members[i].key);
        if (!value || json_typeof(value) != kept_members[i].type)
            continue;
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        if (!text)
            continue;
        if (out->len)
            buffer_append_char(out, ',');
        buffer_append_char(out, '"');
        buffer_append_str(out, kept_members[i].key);
        buffer_append(out, "\":", 2);
        buffer_append_str(out, text);
        free(text);
    }
}

bool answers_find(struct answers *a, const struct task *task, struct span method, struct answer *answer_out)
{
    uint8_t key[EVP_MAX_MD_SIZE];

    if (!a || !is_common(a, task, method) || !make_key(a, &task->first_url, key) ||
        store_answer_get(a->store, key, oldest_us(a), &a->text, &answer_out->since_wall_us) != OUTCOME_OK)
        return false;
    json_t *object = json_loadb(a->text.data, a->text.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    json_int_t status = json_integer_value(json_object_get(object, "status_code"));
    buffer_clear(&a->members);
    if (status >= 200 && status <= 299)
        put_members(&a->members, object);
    json_decref(object);
    answer_out->status = (unsigned)status;
    answer_out->members = (struct span){a->members.data, a->members.len};
    return a->members.len > 0;
}
