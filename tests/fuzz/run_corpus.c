/* Runs a fuzz target over every file of the directories given, so that a normal test run replays the corpus. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/buffer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct buffer content = {0};
    size_t n;

    if (!file) {
        perror(path);
        exit(1);
    }
    do {
        buffer_reserve(&content, 65536);
        n = fread(content.data + content.len, 1, 65536, file);
        content.len += n;
    } while (n > 0);
    fclose(file);
    /* A block of exactly its size, so that a sanitizer sees a read beyond the end. */
    uint8_t *data = malloc(content.len ? content.len : 1);
    if (!data)
        abort();
    memcpy(data, content.data, content.len);
    fprintf(stderr, "%s\n", path);
    LLVMFuzzerTestOneInput(data, content.len);
    free(data);
    buffer_fini(&content);
}

/* Returns how many files there were. */
static unsigned run_directory(const char *directory)
{
    DIR *dir = opendir(directory);
    unsigned files = 0;
    struct dirent *entry;

    if (!dir) {
        perror(directory);
        exit(1);
    }
    while ((entry = readdir(dir))) {
        char path[4096];
        struct stat st;
        int n = snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (n < 0 || (size_t)n >= sizeof path || stat(path, &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        run_file(path);
        files++;
    }
    closedir(dir);
    return files;
}

int main(int argc, char **argv)
{
    unsigned files = 0;

    for (int i = 1; i < argc; i++)
        files += run_directory(argv[i]);
    if (files == 0) {
        fprintf(stderr, "%s: no file in the directories given\n", argv[0]);
        return 1;
    }
    return 0;
}
