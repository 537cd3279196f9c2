/* Loaded before all other libraries: makes the k-th allocation fail, and counts the bytes in use. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stddef.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t), __libc_free(void *);

/* set by the test; calls of at least so many bytes since then; whether one has failed; bytes in use */
long fail_at, at_least, seen, failed, live;

static int refused(size_t size) {
    if (!fail_at || size < (size_t) at_least || __atomic_add_fetch(&seen, 1, __ATOMIC_RELAXED) != fail_at)
        return 0;
    failed = 1;
    errno = ENOMEM;
    return 1;
}

static void *counted(void *p) {
    __atomic_add_fetch(&live, (long) malloc_usable_size(p), __ATOMIC_RELAXED);
    return p;
}

void *malloc(size_t size) { return refused(size) ? NULL : counted(__libc_malloc(size)); }

void *calloc(size_t n, size_t size) { return refused(n * size) ? NULL : counted(__libc_calloc(n, size)); }

void *memalign(size_t to, size_t size) { return refused(size) ? NULL : counted(__libc_memalign(to, size)); }

void *aligned_alloc(size_t to, size_t size) { return memalign(to, size); }

int posix_memalign(void **p, size_t to, size_t size) {
    void *found = memalign(to, size);
    if (!found)
        return ENOMEM;
    *p = found;
    return 0;
}

void *realloc(void *p, size_t size) {
    long before = malloc_usable_size(p);
    void *found;
    if (refused(size))
        return NULL;
    found = __libc_realloc(p, size);
    if (found || !size)
        __atomic_add_fetch(&live, (long) malloc_usable_size(found) - before, __ATOMIC_RELAXED);
    return found;
}

void free(void *p) {
    __atomic_sub_fetch(&live, (long) malloc_usable_size(p), __ATOMIC_RELAXED);
    __libc_free(p);
}
