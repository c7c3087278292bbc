/* Making and removing the state directory. */
#include "coordinator/statedir.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "coordinator/statedir_stale.h"

bool statedir_open(struct statedir *s, const char *path)
{
    const char *tmp = getenv("TMPDIR");

    if (*path) {
        s->temporary = false;
        return (size_t)snprintf(s->path, sizeof s->path, "%s", path) < sizeof s->path;
    }
    tmp = tmp && *tmp ? tmp : "/tmp";
    statedir_remove_stale(tmp);
    snprintf(s->path, sizeof s->path, "%s/" STATEDIR_FORM, tmp);
    s->temporary = mkdtemp(s->path) != NULL && statedir_mark(s->path);
    if (!s->temporary)
        log_event(LOG_ERROR, "no-temporary-directory", "path=\"%s\" error=\"%s\" hint=\"set TMPDIR or --state\"",
                  s->path, strerror(errno));
    return s->temporary;
}

void statedir_close(struct statedir *s)
{
    char file[PATH_MAX + 257];
    struct dirent *entry;

    if (!s->temporary)
        return;
    DIR *dir = opendir(s->path);
    while (dir && (entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(file, sizeof file, "%s/%s", s->path, entry->d_name);
        unlink(file);
    }
    if (dir)
        closedir(dir);
    rmdir(s->path);
    s->temporary = false;
}
