/* Fuzzes what makes a profile's hello of a capture: records, hexadecimal text, pcap and pcapng. What is found is a
 * ClientHello of its length, and its layout is TOML that reads, but for being larger than a layout can be. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/capture.h"
#include "common/hello_layout.h"
#include "common/profile_import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Aborts where assert() might be compiled out. */
#define CHECK(condition)  \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

static void import(const struct buffer *hello)
{
    char reason[PROFILE_IMPORT_REASON] = "";
    struct hello_layout layout;
    struct toml_error error;
    struct buffer text = {0};

    if (profile_import_hello((const uint8_t *)hello->data, hello->len, &text, reason)) {
        if (hello_layout_parse(text.data, text.len, "fuzzed", &layout, &error))
            (void)hello_layout_fault(&layout);
        else
            CHECK(strncmp(error.message, "a", 1) == 0 || strncmp(error.message, "the list is empty", 17) == 0 ||
                  strncmp(error.message, "there is no such part", 21) == 0);
    } else {
        CHECK(*reason && memchr(reason, 0, sizeof reason));
    }
    buffer_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer hello = {0};
    const char *reason = NULL;
    /* A block of the very size, so that one byte too far is seen. */
    uint8_t *block = malloc(size ? size : 1);

    if (!block)
        return 0;
    if (size)
        memcpy(block, data, size);
    if (capture_find_hello(block, size, &hello, &reason)) {
        CHECK(hello.len >= 4 && hello.data[0] == 1 && hello.len <= CAPTURE_HELLO_MAX + 4);
        import(&hello);
    } else {
        CHECK(reason && *reason && hello.len == 0);
    }
    buffer_fini(&hello);
    free(block);
    return 0;
}
