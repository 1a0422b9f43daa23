// One allocation for all arrays of an engine.
//
// First every layer plans its arrays: it names the pointer and the shape. Then `allocate` makes one block of zeros and
// sets the pointers. Sizes that overflow, or that this machine cannot hold, are found before anything is allocated.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <vector>
#if __has_include(<unistd.h>)
#include <unistd.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#define POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONS 1
#endif
#endif
#if defined(POISONS)
#include <sanitizer/asan_interface.h>
#endif

class Arena {
    struct Array {
        void *pointer;  // the address of the pointer to set, which must not move before `allocate`
        int64_t offset, end;
    };
    std::vector<Array> arrays;
    int64_t size = 0;
    bool overflow = false;
    void *block = nullptr;
    static constexpr int64_t LINE = 64;      // bytes of a cache line and of the widest vector
    static constexpr int64_t OVERREAD = 64;  // a kernel may load, but not use, up to a vector past an array's end
#if defined(POISONS)
    static constexpr int64_t RED_ZONE = 256;  // the address sanitizer reports any access to it
#else
    static constexpr int64_t RED_ZONE = 0;
#endif

  public:
    enum Result { DONE, OVERFLOWS, TOO_LARGE, REFUSED };

    Arena() = default;
    Arena(const Arena &) = delete;
    Arena &operator=(const Arena &) = delete;
    ~Arena() {
#if defined(POISONS)
        if (block) ASAN_UNPOISON_MEMORY_REGION(block, size + LINE);
#endif
        free(block);
    }

    // The array will have this shape, be aligned to a cache line, and hold zeros.
    template <class T> void plan(T *&pointer, std::initializer_list<int64_t> shape) {
        int64_t bytes = sizeof(T), end = 0;
        for (int64_t n : shape) overflow |= __builtin_mul_overflow(bytes, n, &bytes);
        overflow |= __builtin_add_overflow(size, bytes, &end);
        overflow |= end > INT64_MAX - 4096;  // room for what follows
        if (overflow) return;
        arrays.push_back({&pointer, size, end});
        size = (end + OVERREAD + RED_ZONE + LINE - 1) / LINE * LINE;
    }

    Result allocate() {
        if (overflow) return OVERFLOWS;
        if (size > memory()) return TOO_LARGE;
        block = calloc(size + LINE, 1);  // large blocks are zero without being touched
        if (!block) return REFUSED;
        char *first = (char *)(((uintptr_t)block + LINE - 1) / LINE * LINE);
        for (const Array &array : arrays) {
            char *start = first + array.offset;
            memcpy(array.pointer, &start, sizeof start);
#if defined(POISONS)
            ASAN_POISON_MEMORY_REGION(first + (array.end + OVERREAD + 7) / 8 * 8, RED_ZONE - 8);
#endif
        }
        return DONE;
    }

    int64_t bytes() const { return size; }

    // Of this machine, in bytes.
    static int64_t memory() {
#if defined(_SC_PHYS_PAGES)
        int64_t pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
        if (pages > 0 && page > 0) return pages * page;
#endif
        return INT64_MAX;
    }
};
