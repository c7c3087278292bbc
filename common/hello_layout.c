/* Reads the layout of a ClientHello from TOML, and finds things in it. */
#include "common/hello_layout.h"

#include <stdio.h>
#include <string.h>

#define WORD_MAX 160

/* Cuts the next word of `text` at blanks; false at the end, or when it is too long. */
static bool next_word(const char **text, char word_out[WORD_MAX])
{
    const char *at = *text + strspn(*text, " ");
    size_t len = strcspn(at, " ");

    if (len == 0 || len >= WORD_MAX)
        return false;
    memcpy(word_out, at, len);
    word_out[len] = '\0';
    *text = at + len;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "GREASE" or four hexadecimal digits. */
static bool read_code(const char *word, uint16_t *code_out)
{
    unsigned code = 0;

    if (strcmp(word, "GREASE") == 0) {
        *code_out = HELLO_GREASE;
        return true;
    }
    for (size_t i = 0; i < 4; i++) {
        int digit = hex_digit(word[i]);
        if (digit < 0)
            return false;
        code = code << 4 | (unsigned)digit;
    }
    *code_out = (uint16_t)code;
    return word[4] == '\0' && code != HELLO_GREASE;
}

static bool read_number(const char *word, uint16_t *number_out)
{
    unsigned number = 0;

    for (size_t i = 0; word[i]; i++) {
        if (word[i] < '0' || word[i] > '9' || i == 5)
            return false;
        number = number * 10 + (unsigned)(word[i] - '0');
    }
    *number_out = (uint16_t)number;
    return number <= UINT16_MAX;
}

static const char *read_body(const char *text, struct hello_extension *e)
{
    char word[WORD_MAX];

    if (!next_word(&text, word))
        return NULL;
    size_t digits = strlen(word);
    if (digits % 2 || digits / 2 > HELLO_BODY_MAX || *text)
        return "a body is at most 64 bytes in hexadecimal";
    for (size_t i = 0; i < digits; i += 2) {
        int high = hex_digit(word[i]);
        int low = hex_digit(word[i + 1]);
        if (high < 0 || low < 0)
            return "a body is hexadecimal in lower case";
        e->body[e->body_len++] = (uint8_t)(high << 4 | low);
    }
    return NULL;
}

static const char *read_list(const char *text, struct hello_extension *e)
{
    char word[WORD_MAX];

    while (next_word(&text, word)) {
        if (e->list_count == HELLO_LIST_MAX || !read_code(word, &e->list[e->list_count]))
            return "a list is at most 8 times GREASE or four hexadecimal digits";
        e->list_count++;
    }
    return e->list_count ? NULL : "the list is empty";
}

static const char *read_extension(const char *text, struct hello_extension *e)
{
    static const struct {
        const char *word;
        enum hello_part part;
    } parts[] = {{"raw", HELLO_RAW},        {"copy", HELLO_COPY},         {"groups", HELLO_GROUPS},
                 {"shares", HELLO_SHARES},  {"versions", HELLO_VERSIONS}, {"ech", HELLO_ECH},
                 {"padding", HELLO_PADDING}};
    char word[WORD_MAX];

    if (strcmp(text, "grease first") == 0 || strcmp(text, "grease last") == 0) {
        e->part = text[7] == 'f' ? HELLO_GREASE_FIRST : HELLO_GREASE_LAST;
        e->body_len = e->part == HELLO_GREASE_LAST;
        return NULL;
    }
    if (!next_word(&text, word) || !read_number(word, &e->type) || !next_word(&text, word))
        return "an extension begins with its type and its part";
    size_t i = 0;
    while (i < sizeof parts / sizeof parts[0] && strcmp(word, parts[i].word) != 0)
        i++;
    if (i == sizeof parts / sizeof parts[0])
        return "there is no such part of an extension";
    e->part = (uint8_t)parts[i].part;
    if (e->part == HELLO_RAW)
        return read_body(text, e);
    return e->part == HELLO_GROUPS || e->part == HELLO_SHARES || e->part == HELLO_VERSIONS ? read_list(text, e) : NULL;
}

static const char *read_items(struct hello_layout *layout, bool ciphers, const struct toml_value *value)
{
    if (value->type != TOML_ARRAY || value->items_count == 0 ||
        value->items_count > (ciphers ? HELLO_CIPHERS_MAX : HELLO_EXTENSIONS_MAX))
        return "an array of one to 32 ciphers or 24 extensions is expected";
    for (size_t i = 0; i < value->items_count; i++) {
        const struct toml_value *item = &value->items[i];
        if (item->type != TOML_STRING)
            return "the items are strings";
        const char *wrong = NULL;
        if (!ciphers)
            wrong = read_extension(item->string, &layout->extensions[layout->extension_count++]);
        else if (!read_code(item->string, &layout->ciphers[layout->cipher_count++]))
            wrong = "a cipher is GREASE or four hexadecimal digits";
        if (wrong)
            return wrong;
    }
    return NULL;
}

static const char *read_hash(char *out, size_t size, const struct toml_value *value)
{
    if (value->type != TOML_STRING || value->string_len >= size)
        return "a hash is a short string";
    memcpy(out, value->string, value->string_len);
    return NULL;
}

const char *hello_layout_take(struct hello_layout *layout, const char *key, const struct toml_value *value)
{
    if (strcmp(key, "permute") == 0) {
        layout->permute = value->boolean;
        return value->type == TOML_BOOL ? NULL : "true or false is expected";
    }
    if (strcmp(key, "ciphers") == 0 || strcmp(key, "extensions") == 0)
        return read_items(layout, key[0] == 'c', value);
    if (strcmp(key, "ja3") == 0)
        return read_hash(layout->ja3, sizeof layout->ja3, value);
    if (strcmp(key, "ja3n") == 0)
        return read_hash(layout->ja3n, sizeof layout->ja3n, value);
    if (strcmp(key, "ja4") == 0)
        return read_hash(layout->ja4, sizeof layout->ja4, value);
    return "a layout has no such key";
}

static const char *on_value(void *user, const char *table, const char *key, unsigned line, unsigned column,
                            const struct toml_value *value)
{
    (void)line;
    (void)column;
    return *table ? "a layout has no tables" : hello_layout_take(user, key, value);
}

/* The parts that are rendered from lists or have a place of their own, by type. */
static bool has_its_part(const struct hello_extension *e)
{
    switch (e->type) {
    case 10:
        return e->part == HELLO_GROUPS;
    case 43:
        return e->part == HELLO_VERSIONS;
    case 51:
        return e->part == HELLO_SHARES;
    case 21:
        return e->part == HELLO_PADDING;
    case 41: /* pre_shared_key, early_data and cookie come and go with the connection */
    case 42:
    case 44:
        return false;
    default:
        return e->part == HELLO_RAW || e->part == HELLO_COPY || e->part == HELLO_ECH;
    }
}

const char *hello_layout_fault(const struct hello_layout *layout)
{
    size_t firsts = 0;
    size_t lasts = 0;

    if (!layout->cipher_count || !layout->extension_count)
        return "a layout has ciphers and extensions";
    for (size_t i = 0; i < layout->extension_count; i++) {
        const struct hello_extension *e = &layout->extensions[i];
        if (e->part == HELLO_GREASE_FIRST || e->part == HELLO_GREASE_LAST) {
            *(e->part == HELLO_GREASE_FIRST ? &firsts : &lasts) += 1;
            if (firsts > 1 || lasts > 1)
                return "a layout has at most one \"grease first\" and one \"grease last\"";
        } else if (!has_its_part(e)) {
            return "an extension of a layout has a part that is not for its type";
        } else if (hello_layout_find(layout, e->type) != e) {
            return "a layout has an extension twice";
        }
    }
    return NULL;
}

bool hello_layout_parse(const char *text, size_t len, const char *name, struct hello_layout *layout,
                        struct toml_error *error)
{
    *layout = (struct hello_layout){0};
    snprintf(layout->name, sizeof layout->name, "%s", name);
    if (!toml_read(text, len, on_value, layout, error))
        return false;
    if (layout->cipher_count && layout->extension_count)
        return true;
    *error = (struct toml_error){.line = 1, .column = 1, .message = "a layout has ciphers and extensions"};
    return false;
}

const struct hello_extension *hello_layout_find(const struct hello_layout *layout, uint16_t type)
{
    for (size_t i = 0; i < layout->extension_count; i++) {
        const struct hello_extension *e = &layout->extensions[i];
        if (e->type == type && e->part != HELLO_GREASE_FIRST && e->part != HELLO_GREASE_LAST)
            return e;
    }
    return NULL;
}
