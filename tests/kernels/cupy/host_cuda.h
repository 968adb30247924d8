// A block of CUDA threads on a CPU: each is a coroutine, which runs until it waits for others.
//
// Threads run one after another, in either order, so that a barrier that is missing shows.

#include <ucontext.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)

using std::exp, std::expm1, std::fabs, std::fmax, std::fmin, std::log, std::log1p;

namespace emulator {

constexpr int WARP = 32, MOST = 1024, STACK = 1 << 18;

struct Barrier {
    int waiting = 0, generation = 0;
};

struct Thread {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(STACK);
    bool done = false;
};

std::vector<Thread> threads;
ucontext_t scheduler;
Barrier of_block, of_warp[MOST / WARP];
alignas(16) char exchanged[MOST][16];
int current, flagged, progress;
void (*body)(void **);
void **arguments;

inline void wait(Barrier &barrier, int count) {
    const int generation = barrier.generation;
    if (++barrier.waiting == count) {
        barrier.waiting = 0;
        barrier.generation++;
        progress++;
        return;
    }
    while (barrier.generation == generation)
        swapcontext(&threads[current].context, &scheduler);
}

inline void enter() {
    body(arguments);
    threads[current].done = true;
    progress++;
    swapcontext(&threads[current].context, &scheduler);
}

}  // namespace emulator

struct Index {
    unsigned x;
} threadIdx, blockIdx;

extern unsigned char shared_memory[];

inline void __syncthreads() { emulator::wait(emulator::of_block, emulator::threads.size()); }

inline int __syncthreads_or(int flag) {
    using namespace emulator;
    flagged |= flag;
    __syncthreads();
    const int found = flagged;
    __syncthreads();
    flagged = 0;
    __syncthreads();
    return found;
}

template <class T>
T __shfl_xor_sync(unsigned, T x, int step) {
    using namespace emulator;
    const int own = current;
    Barrier &warp = of_warp[own / WARP];
    std::memcpy(exchanged[own], &x, sizeof(T));
    wait(warp, WARP);
    std::memcpy(&x, exchanged[own ^ step], sizeof(T));
    wait(warp, WARP);
    return x;
}

inline float __fdividef(float x, float y) { return x / y; }

inline double __longlong_as_double(long long bits) {
    double found;
    std::memcpy(&found, &bits, sizeof(found));
    return found;
}

namespace emulator {

template <class... A, std::size_t... I>
void call(void (*kernel)(A...), void **given, std::index_sequence<I...>) {
    kernel(*static_cast<A *>(given[I])...);
}

template <class... A>
void call(void (*kernel)(A...), void **given) {
    call(kernel, given, std::index_sequence_for<A...>());
}

// Run one block; return whether its threads waited for each other in vain.
inline bool run_block(int count, bool reversed) {
    flagged = 0;
    of_block = Barrier();
    for (auto &each : of_warp) each = Barrier();
    for (auto &each : threads) {
        each.done = false;
        getcontext(&each.context);
        each.context.uc_stack.ss_sp = each.stack.data();
        each.context.uc_stack.ss_size = STACK;
        makecontext(&each.context, enter, 0);
    }
    while (true) {
        int left = 0;
        progress = 0;
        for (int k = 0; k < count; k++) {
            current = reversed ? count - 1 - k : k;
            if (threads[current].done) continue;
            left++;
            threadIdx.x = current;
            swapcontext(&scheduler, &threads[current].context);
        }
        if (!left) return false;
        if (!progress) return true;
    }
}

inline int run(void (*kernel)(void **), int blocks, int count, int bytes, bool reversed, void **given) {
    threads.resize(count);
    body = kernel;
    arguments = given;
    for (int block = 0; block < blocks; block++) {
        blockIdx.x = block;
        std::memset(shared_memory, 0xff, bytes);  // NaN
        if (run_block(count, reversed)) return 1;
    }
    return 0;
}

}  // namespace emulator
