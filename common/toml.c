/* Reads TOML documents line by line: tables, keys, and the rule that each is defined once. */
#include "common/toml.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/toml_reader.h"
#include "common/utf8.h"

/* Bounds that no configuration comes near; they keep the search for duplicates cheap on any input. */
#define KEY_PARTS_MAX  16
#define KEY_BYTES_MAX  1024
#define NAMES_MAX      10000
#define TEXT_BYTES_MAX (256u << 20)

/* A dotted name: its parts with a NUL behind each, so that "a.b" and a.b differ. */
struct key_path {
    char bytes[KEY_BYTES_MAX];
    size_t ends[KEY_PARTS_MAX]; /* of each part, behind its NUL */
    size_t count;
};

enum name_kind {
    NAME_VALUE,
    NAME_HEADER,  /* a table with a [header] of its own */
    NAME_IMPLIED, /* a table known only as the parent of a [header] */
    NAME_DOTTED,  /* a table made by a dotted key */
};

struct name {
    size_t offset, len; /* in document.name_bytes */
    uint32_t hash;
    unsigned header; /* NAME_DOTTED: the number of the header under which it was made */
    enum name_kind kind;
};

struct document {
    struct toml_reader reader;
    struct key_path table;    /* of the current header */
    struct key_path key;      /* of the current line, with the table's parts in front */
    struct buffer names;      /* struct name */
    struct buffer name_bytes; /* the paths of the names */
    unsigned header;          /* number of headers so far */
    toml_on_table on_table;
    toml_on_value on_value;
    void *user;
};

bool toml_fail(struct toml_reader *r, struct toml_place place, const char *format, ...)
{
    va_list args;

    r->error->line = place.line;
    r->error->column = place.column;
    va_start(args, format);
    vsnprintf(r->error->message, sizeof r->error->message, format, args);
    va_end(args);
    return false;
}

bool toml_is_control(int c)
{
    return (c >= 0 && c < 0x20 && c != '\t') || c == 0x7f;
}

bool toml_pass_newline(struct toml_reader *r)
{
    size_t n = toml_peek(r, 0) == '\n' ? 1 : toml_peek(r, 0) == '\r' && toml_peek(r, 1) == '\n' ? 2 : 0;

    if (!n)
        return false;
    r->pos += n;
    r->line_start = r->pos;
    r->line++;
    return true;
}

void toml_skip_blanks(struct toml_reader *r)
{
    while (toml_peek(r, 0) == ' ' || toml_peek(r, 0) == '\t')
        r->pos++;
}

bool toml_skip_comment(struct toml_reader *r)
{
    toml_skip_blanks(r);
    if (toml_peek(r, 0) != '#')
        return true;
    while (r->pos < r->len && toml_peek(r, 0) != '\n' && !(toml_peek(r, 0) == '\r' && toml_peek(r, 1) == '\n')) {
        if (toml_is_control(toml_peek(r, 0)))
            return toml_fail(r, toml_here(r), "a comment holds a control character; remove it");
        r->pos++;
    }
    return true;
}

static bool text_check(struct toml_reader *r)
{
    struct toml_reader at = *r;

    if (r->len > TEXT_BYTES_MAX)
        return toml_fail(r, toml_here(r), "the text is larger than 256 MiB");
    while (at.pos < at.len) {
        if (toml_pass_newline(&at))
            continue;
        size_t n = utf8_char_len(at.text + at.pos, at.len - at.pos);
        if (n == 0)
            return toml_fail(r, toml_here(&at), "a byte is not valid UTF-8; save the file as UTF-8");
        at.pos += n;
    }
    return true;
}

static bool is_bare_key_char(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static bool path_append(struct toml_reader *r, struct toml_place place, struct key_path *path, const char *part,
                        size_t len)
{
    size_t used = path->count ? path->ends[path->count - 1] : 0;

    if (memchr(part, 0, len))
        return toml_fail(r, place, "a key holds a NUL character; remove it");
    if (path->count == KEY_PARTS_MAX || len >= KEY_BYTES_MAX - used)
        return toml_fail(r, place, "a key is longer than %d parts or %d bytes", KEY_PARTS_MAX, KEY_BYTES_MAX);
    memcpy(path->bytes + used, part, len);
    path->bytes[used + len] = '\0';
    path->ends[path->count++] = used + len + 1;
    return true;
}

static bool key_part_read(struct toml_reader *r, struct key_path *path)
{
    struct toml_place place = toml_here(r);
    size_t start = r->pos;

    if (toml_peek(r, 0) == '"' || toml_peek(r, 0) == '\'') {
        buffer_clear(&r->strings);
        buffer_reserve(&r->strings, 1);
        return toml_string_read(r, false, &r->strings) && path_append(r, place, path, r->strings.data, r->strings.len);
    }
    while (is_bare_key_char(toml_peek(r, 0)))
        r->pos++;
    if (r->pos == start)
        return toml_fail(r, place, "a key is expected here: letters, digits, '_' and '-', or a quoted string");
    return path_append(r, place, path, r->text + start, r->pos - start);
}

/* Appends the dotted key at the position to `path`, with the blanks behind it. */
static bool key_read(struct toml_reader *r, struct key_path *path)
{
    for (;;) {
        if (!key_part_read(r, path))
            return false;
        toml_skip_blanks(r);
        if (toml_peek(r, 0) != '.')
            return true;
        r->pos++;
        toml_skip_blanks(r);
    }
}

/* The first `parts` parts of `path` as people write them. */
static void path_print(const struct key_path *path, size_t parts, char out[KEY_BYTES_MAX])
{
    size_t len = parts ? path->ends[parts - 1] : 1;

    out[0] = '\0';
    if (parts)
        memcpy(out, path->bytes, len);
    for (size_t i = 0; i + 1 < len; i++) {
        if (out[i] == '\0')
            out[i] = '.';
    }
}

static uint32_t bytes_hash(const char *bytes, size_t len)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 16777619u;
    return hash;
}

static struct name *name_find(const struct document *d, const struct key_path *path, size_t parts)
{
    struct name *names = (struct name *)(void *)d->names.data;
    size_t len = path->ends[parts - 1];
    uint32_t hash = bytes_hash(path->bytes, len);

    for (size_t i = 0; i < d->names.len / sizeof *names; i++) {
        if (names[i].hash == hash && names[i].len == len &&
            memcmp(d->name_bytes.data + names[i].offset, path->bytes, len) == 0)
            return &names[i];
    }
    return NULL;
}

static bool name_add(struct document *d, struct toml_place place, const struct key_path *path, size_t parts,
                     enum name_kind kind)
{
    size_t len = path->ends[parts - 1];
    struct name name = {d->name_bytes.len, len, bytes_hash(path->bytes, len), d->header, kind};

    if (d->names.len / sizeof name >= NAMES_MAX)
        return toml_fail(&d->reader, place, "the text defines more than %d keys and tables", NAMES_MAX);
    buffer_append(&d->names, &name, sizeof name);
    buffer_append(&d->name_bytes, path->bytes, len);
    return true;
}

static bool name_refuse(struct document *d, struct toml_place place, const struct key_path *path, size_t parts,
                        const char *why)
{
    char text[KEY_BYTES_MAX];

    path_print(path, parts, text);
    return toml_fail(&d->reader, place, "\"%.100s\" %s", text, why);
}

static bool table_define(struct document *d, struct toml_place place)
{
    size_t count = d->table.count;

    d->header++;
    for (size_t parts = 1; parts < count; parts++) {
        struct name *name = name_find(d, &d->table, parts);
        if (name && name->kind == NAME_VALUE)
            return name_refuse(d, place, &d->table, parts, "is a value already; it cannot be a table too");
        if (!name && !name_add(d, place, &d->table, parts, NAME_IMPLIED))
            return false;
    }
    struct name *name = name_find(d, &d->table, count);
    if (!name)
        return name_add(d, place, &d->table, count, NAME_HEADER);
    if (name->kind != NAME_IMPLIED)
        return name_refuse(d, place, &d->table, count, "is defined twice; keep one of the two");
    name->kind = NAME_HEADER;
    return true;
}

static bool key_define(struct document *d, struct toml_place place)
{
    size_t count = d->key.count;

    for (size_t parts = d->table.count + 1; parts < count; parts++) {
        struct name *name = name_find(d, &d->key, parts);
        if (!name && !name_add(d, place, &d->key, parts, NAME_DOTTED))
            return false;
        if (name && name->kind == NAME_VALUE)
            return name_refuse(d, place, &d->key, parts, "is a value already; it cannot be a table too");
        if (name && (name->kind == NAME_HEADER || (name->kind == NAME_DOTTED && name->header != d->header)))
            return name_refuse(d, place, &d->key, parts, "is a table defined elsewhere; put the key there");
        if (name && name->kind == NAME_IMPLIED) {
            name->kind = NAME_DOTTED;
            name->header = d->header;
        }
    }
    if (name_find(d, &d->key, count))
        return name_refuse(d, place, &d->key, count, "is defined twice; keep one of the two");
    return name_add(d, place, &d->key, count, NAME_VALUE);
}

static bool header_read(struct document *d)
{
    struct toml_reader *r = &d->reader;
    struct toml_place place = toml_here(r);

    r->pos++;
    if (toml_peek(r, 0) == '[')
        return toml_fail(r, place, "arrays of tables, [[name]], are not supported; use [name]");
    toml_skip_blanks(r);
    d->table.count = 0;
    if (!key_read(r, &d->table))
        return false;
    if (toml_peek(r, 0) != ']')
        return toml_fail(r, toml_here(r), "']' is expected at the end of a table's name");
    r->pos++;
    if (!table_define(d, place))
        return false;
    char table[KEY_BYTES_MAX];
    path_print(&d->table, d->table.count, table);
    const char *refused = d->on_table ? d->on_table(d->user, table, place.line, place.column) : NULL;
    return !refused || toml_fail(r, place, "%s", refused);
}

static bool assignment_read(struct document *d)
{
    struct toml_reader *r = &d->reader;
    struct toml_place place = toml_here(r);
    struct toml_value value = {0};
    char table[KEY_BYTES_MAX];

    d->key = d->table;
    if (!key_read(r, &d->key) || !key_define(d, place))
        return false;
    if (toml_peek(r, 0) != '=')
        return toml_fail(r, toml_here(r), "'=' is expected after a key");
    r->pos++;
    toml_skip_blanks(r);
    if (!toml_value_read(r, &value))
        return false;
    size_t parents = d->key.count - 1;
    path_print(&d->key, parents, table);
    const char *key = d->key.bytes + (parents ? d->key.ends[parents - 1] : 0);
    const char *refused = d->on_value(d->user, table, key, place.line, place.column, &value);
    if (refused)
        return toml_fail(r, (struct toml_place){value.line, value.column}, "%s", refused);
    return true;
}

static bool line_read(struct document *d)
{
    struct toml_reader *r = &d->reader;

    toml_skip_blanks(r);
    int c = toml_peek(r, 0);
    if (c == '[' && !header_read(d))
        return false;
    if (c >= 0 && c != '[' && c != '#' && c != '\n' && c != '\r' && !assignment_read(d))
        return false;
    if (!toml_skip_comment(r))
        return false;
    if (r->pos < r->len && !toml_pass_newline(r))
        return toml_fail(r, toml_here(r), "the line should end here; put what follows on a line of its own");
    return true;
}

bool toml_read(const char *text, size_t len, toml_on_value on_value, void *user, struct toml_error *error_out)
{
    return toml_read_tables(text, len, NULL, on_value, user, error_out);
}

bool toml_read_tables(const char *text, size_t len, toml_on_table on_table, toml_on_value on_value, void *user,
                      struct toml_error *error_out)
{
    struct document d = {.on_table = on_table, .on_value = on_value, .user = user};
    bool good = true;

    d.reader = (struct toml_reader){.text = text, .len = len, .line = 1, .error = error_out};
    *error_out = (struct toml_error){0};
    /* Editors of some systems put a byte order mark in front. */
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        d.reader.pos = d.reader.line_start = 3;
    good = text_check(&d.reader);
    while (good && d.reader.pos < len)
        good = line_read(&d);
    buffer_fini(&d.reader.strings);
    buffer_fini(&d.reader.items);
    buffer_fini(&d.names);
    buffer_fini(&d.name_bytes);
    return good;
}
