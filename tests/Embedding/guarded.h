/* Memory whose last byte is followed by a page that nobody may touch, and whose first is preceded by bytes that must stay. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, CANARY = 0xA5, UNWRITTEN = 0x7F };

typedef struct guarded {
    uint8_t *base, *data;
    int64_t bytes;
} guarded;

static inline guarded guard(int64_t bytes) {
    int64_t size = (bytes + PAGE) / PAGE * PAGE; /* at least one byte of canary */
    uint8_t *base = mmap(NULL, (size_t)(size + PAGE), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + size, PAGE, PROT_NONE) != 0)
        abort();
    memset(base, CANARY, (size_t)size);
    return (guarded){ base, base + size - bytes, bytes };
}

static inline int is_intact(const guarded *memory) {
    for (const uint8_t *p = memory->base; p < memory->data; p++)
        if (*p != CANARY)
            return 0;
    return 1;
}
