#pragma once
/* The one writer of records: whole lines, in large batches, in the order in which they are finished. Never blocks on a
 * pipe; a reader that stops makes the buffer fill, and the coordinator then stops taking results. */

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/outcome.h"

struct records;

/* The output is writable again after records_flush() could not write all. */
typedef void (*records_on_writable)(void *user);

/* Opens `path` (made, and emptied unless `keep`), or standard output when it is empty. OUTCOME_SYSTEM with errno set.
 */
must_check enum outcome records_open(struct records **records_out, struct event_base *base, const char *path, bool keep,
                                     records_on_writable on_writable, void *user);
/* The descriptor, borrowed; and whether it is a regular file. */
int records_fd(const struct records *r);
bool records_to_file(const struct records *r);
/* Where the next record of a regular file will stand. */
uint64_t records_position(const struct records *r);
/* Cuts a regular file back to `bytes`, where the next record will stand. False: it is shorter, or errno says why. */
bool records_cut(struct records *r, uint64_t bytes);
/* Cuts a regular file back to its last whole line, behind which the next record will stand. False: errno says why. */
bool records_cut_torn(struct records *r);
/* Flushes what can be flushed without waiting, and closes; only for the end of a line that is partly out it waits for
 * half a second. */
void records_close(struct records *r);
/* The buffer to append a whole line to, newline included; call records_added() after it. */
struct buffer *records_buffer(struct records *r);
void records_added(struct records *r);
/* No more should be added for now. */
bool records_full(const struct records *r);
/* Enough for a write. */
bool records_due(const struct records *r);
bool records_empty(const struct records *r);
/* Writes what the output takes. OUTCOME_OK, OUTCOME_AGAIN (on_writable will be called), or OUTCOME_SYSTEM: the output
 * is gone (errno: EPIPE, ENOSPC …); then nothing more is written, and a regular file ends after its last whole line. */
must_check enum outcome records_flush(struct records *r);
/* Bytes of this run that are in the output; of a pipe as far as its reader has taken them with records_bytes_taken().
 */
unsigned long long records_bytes_written(const struct records *r);
unsigned long long records_bytes_taken(const struct records *r);
/* Bytes of all lines added in this run. */
unsigned long long records_bytes_added(const struct records *r);
/* The output is gone: lines were dropped. */
bool records_broken(const struct records *r);
/* Nobody will take what is written any more. */
bool records_reader_gone(const struct records *r);
