/* Whole files: read at once, or written beside the target, synced, and renamed over it. */
#ifndef ESKER_BASE_FILE_H
#define ESKER_BASE_FILE_H

#include <stdio.h>
#include <esker/status.h>

/**
 * Read all of `path` into *out_data (esker__free it), with a zero byte after the end that is not counted.
 * Errors     ESKER_ERR_IO with errno's text; ESKER_ERR_LIMIT over `max_bytes`; ESKER_ERR_NO_MEMORY.
 */
esker_status esker__file_read(const char *path, size_t max_bytes, unsigned char **out_data, size_t *out_bytes);

/**
 * A file being written: nothing appears under `path` until commit, and an existing one, whose mode is kept, stays whole
 * until then. What exists and is no regular file (/dev/null, a pipe) is written to directly.
 */
typedef struct esker__file_writer {
    FILE *file;
    char *path, *temporary; /* the target, links followed; the file beside it, NULL when writing directly */
} esker__file_writer;

esker_status esker__file_writer_open(esker__file_writer *writer, const char *path);
esker_status esker__file_writer_write(esker__file_writer *writer, const void *data, size_t n_bytes);
/** Flush, fsync, rename over the target and sync its folder; fails if any write before did. The writer is finished whether or not it succeeds. */
esker_status esker__file_writer_commit(esker__file_writer *writer);
/** Commit if what came before was ESKER_OK, else drop what was written; returns what became of it. */
esker_status esker__file_writer_close(esker__file_writer *writer, esker_status before);
/** Drop what was written; accepts a writer that was never opened (all zero) or is already committed. */
void esker__file_writer_abort(esker__file_writer *writer);
/** Open, write all of it, and commit. */
esker_status esker__file_write(const char *path, const void *data, size_t n_bytes);

#endif
