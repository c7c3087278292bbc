/* Fuzzes the TOML reader: every value that it hands out is read to its last byte, and errors lie within the text. */
#include <stdlib.h>
#include <string.h>

#include "common/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Aborts where assert() might be compiled out. */
#define CHECK(condition)  \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

static size_t value_weigh(const struct toml_value *value)
{
    size_t sum = 0;

    CHECK(value->line >= 1 && value->column >= 1);
    if (value->type == TOML_STRING) {
        CHECK(value->string[value->string_len] == '\0');
        for (size_t i = 0; i < value->string_len; i++)
            sum += (unsigned char)value->string[i];
    }
    for (size_t i = 0; value->type == TOML_ARRAY && i < value->items_count; i++) {
        CHECK(value->items[i].type != TOML_ARRAY);
        sum += value_weigh(&value->items[i]);
    }
    return sum;
}

static const char *on_value(void *user, const char *table, const char *key, unsigned line, unsigned column,
                            const struct toml_value *value)
{
    size_t *sum = user;

    CHECK(line >= 1 && column >= 1);
    *sum += strlen(table) + strlen(key) + value_weigh(value);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct toml_error error;
    size_t lines = 1;
    size_t sum = 0;
    /* A block of the very size, so that one byte too far is seen. */
    char *text = malloc(size ? size : 1);

    if (!text)
        return 0;
    if (size)
        memcpy(text, data, size);
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n';
    if (!toml_read(text, size, on_value, &sum, &error)) {
        CHECK(error.line >= 1 && error.line <= lines && error.column >= 1 && error.column <= size + 1);
        CHECK(error.message[0] && memchr(error.message, 0, sizeof error.message));
    }
    free(text);
    return 0;
}
