/* 64-bit hashing of bytes: for tables and cache keys, not against an adversary. */
#ifndef ESKER_BASE_HASH_H
#define ESKER_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ESKER__HASH_START 0xcbf29ce484222325u

/** FNV-1a over `n_bytes`, continuing from `hash`, with a final mix so that low bits are usable. */
static inline uint64_t esker__hash(uint64_t hash, const void *bytes, size_t n_bytes)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n_bytes; i++) hash = (hash ^ p[i]) * 0x100000001b3u;
    hash ^= hash >> 32;
    return hash * 0xd6e8feb86659fd93u;
}

/** The same for whole words, about ten times as fast; another value. */
static inline uint64_t esker__hash_words(uint64_t hash, const uint64_t *words, size_t n_words)
{
    for (size_t i = 0; i < n_words; i++) {
        hash = (hash ^ words[i]) * 0xd6e8feb86659fd93u;
        hash ^= hash >> 32;
    }
    return hash;
}

/** For files and sources: by words, then what is left by bytes. Another value again. */
static inline uint64_t esker__hash_long(uint64_t hash, const void *bytes, size_t n_bytes)
{
    const unsigned char *p = bytes;
    for (; n_bytes >= 8; p += 8, n_bytes -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        hash = esker__hash_words(hash, &word, 1);
    }
    return esker__hash(hash, p, n_bytes);
}

static inline uint64_t esker__hash_text(uint64_t hash, const char *text)
{
    return esker__hash(hash, text, strlen(text) + 1);
}

#endif
