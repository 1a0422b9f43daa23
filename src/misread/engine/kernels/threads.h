// How an engine's threads share the work of a call and wait for one another.
#pragma once
#include <atomic>
#include <cstdint>

#include "simd.h"

// The whole numbers from `from` up to, not including, `to`.
struct Range {
    int64_t from, to;
};

// One thread's part of n things. The parts follow one another and differ by at most one in size.
INLINE Range share(int64_t n, int thread, int64_t threads) {
    return {n * thread / threads, n * (thread + 1) / threads};
}

// The threads of one engine. A call goes: `open`, then on every thread `enter`, the work with its barriers, and out.
class Team {
    static constexpr int CANCELLED = -1;
    std::atomic<int> entered{CANCELLED};  // threads that called `enter`, or CANCELLED
    std::atomic<int> arrived{0};          // threads at the barrier
    std::atomic<uint32_t> passed{0};      // barriers so far; wraps around

  public:
    int threads = 1;

    // Before the threads of a call start.
    void open() { entered.store(0, std::memory_order_release); }

    // Wait until all threads are here. False: no call is open, or it was cancelled, and no thread may work. All get the
    // same answer.
    bool enter() {
        int count = entered.load(std::memory_order_acquire);
        do {
            if (count == CANCELLED || count == threads) return false;
        } while (!entered.compare_exchange_weak(count, count + 1, std::memory_order_acq_rel));
        if (count + 1 == threads) entered.notify_all();
        while ((count = entered.load(std::memory_order_acquire)) != threads) {
            if (count == CANCELLED) return false;
            wait_for_change(entered, count);
        }
        return true;
    }

    // Send the threads that wait in `enter` home, because another could not be started. Once all have entered, the call
    // is past cancelling and this does nothing.
    void cancel() {
        int count = entered.load(std::memory_order_acquire);
        do {
            if (count == threads) return;
        } while (!entered.compare_exchange_weak(count, CANCELLED, std::memory_order_acq_rel));
        entered.notify_all();
    }

    // Wait until all threads are here. What each wrote before, all can read after.
    void barrier() {
        uint32_t turn = passed.load(std::memory_order_relaxed);
        if (arrived.fetch_add(1, std::memory_order_acq_rel) == threads - 1) {
            arrived.store(0, std::memory_order_relaxed);
            passed.store(turn + 1, std::memory_order_release);
            passed.notify_all();
            return;
        }
        wait_for_change(passed, turn);
    }

  private:
    // Spin through a short wait and sleep through a longer one: another program may want the core, or the very thread
    // that this one waits for.
    template <class T> static void wait_for_change(const std::atomic<T> &value, T from) {
        for (int spins = 0; value.load(std::memory_order_acquire) == from; spins++) {
            if (spins > 400) value.wait(from, std::memory_order_acquire);
            else relax();
        }
    }

    // Tell the processor that this is a spinning loop.
    static void relax() {
#if defined(__SSE__)
        _mm_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }
};

// GOMP_parallel: runs work(data) on so many threads of OpenMP, this one included, and returns when all are done.
typedef void Parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags);

// work(part) for all parts, on the threads of OpenMP. PyTorch computes on these threads; threads of our own would wait
// for a processor, because OpenMP's spin for a while after each piece of work. Without `parallel` on this thread alone.
template <class Work> void for_parts(Parallel *parallel, int64_t parts, Work work) {
    struct Job {
        Work work;
        int64_t parts;
        std::atomic<int64_t> taken{0};
    } job{work, parts};
    auto run = [](void *data) {
        FlushTiny flush;
        Job &job = *(Job *)data;
        for (int64_t part; (part = job.taken++) < job.parts;) job.work(part);
    };
    if (parallel && parts > 1) parallel(run, &job, parts, 0);
    else run(&job);
}
