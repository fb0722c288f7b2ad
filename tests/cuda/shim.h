// Runs CUDA kernels on the host, so that their bits and their barriers are tested without a GPU.
// The kernels' files are compiled as they are, with this file before them and one SHIM_ENTRY a
// kernel after them.
//
// A block's threads are fibers of one thread of the host. They run from barrier to barrier, each
// time in another order, all at one pace or one warp ahead of the others, and blocks follow one
// another from any of them on: what depends on an order that nothing guarantees gives other bits
// with another seed. Shared memory is filled with NaN before each block. What only a machine could
// do wrong (memory models, caches) it cannot find.
//
// Knows no kernel. Left out: atomics, textures, cooperative groups, asynchronous copies.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <link.h>
#include <sys/mman.h>
#include <type_traits>
#include <utility>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
// One copy in static storage, and `extern` may stand before it as in CUDA.
#define __shared__ thread_local

// Without CUDA's alignment, which a host compiler carries over to branches that do without it.
struct uint2 { unsigned x, y; };
struct uint3 { unsigned x, y, z; };
struct uint4 { unsigned x, y, z, w; };
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };

constexpr unsigned SHIM_SHARED = 232448, SHIM_GUARD = 4096;
// What a kernel declares as `extern __shared__ float4 shared[]`, with a guard behind it.
alignas(128) thread_local float4 shared[(SHIM_SHARED + SHIM_GUARD) / sizeof(float4)];

namespace shim {

constexpr unsigned THREADS = 1024, SHARED = SHIM_SHARED, GUARD = SHIM_GUARD;
constexpr size_t STACK = 64 << 10;
enum Fault { NONE, DIVERGENT, ARGUMENTS, OUT_OF_BOUNDS, LIMITS, REFUSED };
enum State { READY, AT_BLOCK, AT_WARP, DONE };

struct Fiber {
    uint3 thread;
    unsigned number, mask;
    int line;
    State state;
#if defined(__x86_64__)
    void* stack;
#else
    ucontext_t context;
#endif
};

static Fiber fibers[THREADS];
static Fiber* current;
static unsigned count;
static uint64_t exchanged[THREADS];
static char* stacks;
static void (*body)(void*);
static void* closure;
static uint64_t random_state;
static char message[256];
static bool is_refused;

// What is at hand of the last fiber, or of the scheduler.
#if defined(__x86_64__)
static void* scheduler;
extern "C" void shim_switch(void** from, void* to);
asm(R"(
    .text
    .type shim_switch, @function
shim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
static void leave() { shim_switch(&current->stack, scheduler); }
static void resume(Fiber& fiber) { current = &fiber; shim_switch(&scheduler, fiber.stack); }
#else
static ucontext_t scheduler;
static void leave() { swapcontext(&current->context, &scheduler); }
static void resume(Fiber& fiber) { current = &fiber; swapcontext(&scheduler, &fiber.context); }
#endif

static void begin() {
    body(closure);
    current->state = DONE;
    leave();
    __builtin_trap();
}

static void prepare(Fiber& fiber, char* stack) {
#if defined(__x86_64__)
    void** top = reinterpret_cast<void**>(stack + STACK) - 10;
    for (int i = 0; i < 10; i++) top[i] = nullptr;
    top[6] = reinterpret_cast<void*>(&begin);
    fiber.stack = top;
#else
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stack;
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, begin, 0);
#endif
}

// xorshift64*
static unsigned random_below(unsigned bound) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return unsigned((random_state * 0x2545F4914F6CDD1Dull >> 32) * bound >> 32);
}

static void shuffle(unsigned* order, unsigned items) {
    for (unsigned at = items; at > 1; at--) std::swap(order[at - 1], order[random_below(at)]);
}

// All shared memory is the thread-local storage of this library.
static char* dynamic() { return reinterpret_cast<char*>(::shared); }

struct Storage {
    const void* inside;
    char* start;
    size_t size;
};

static int find_storage(dl_phdr_info* library, size_t, void* found) {
    auto storage = static_cast<Storage*>(found);
    bool ours = false;
    size_t size = 0;
    for (int at = 0; at < library->dlpi_phnum; at++) {
        const auto& part = library->dlpi_phdr[at];
        auto start = library->dlpi_addr + part.p_vaddr;
        auto address = reinterpret_cast<uintptr_t>(storage->inside);
        ours |= part.p_type == PT_LOAD && address - start < part.p_memsz;
        if (part.p_type == PT_TLS) size = part.p_memsz;
    }
    if (ours) *storage = {nullptr, static_cast<char*>(library->dlpi_tls_data), size};
    return ours;
}

static Storage shared_storage() {
    dynamic()[0] = 0;
    Storage storage = {reinterpret_cast<const void*>(&begin), nullptr, 0};
    dl_iterate_phdr(find_storage, &storage);
    return storage;
}

static void fill_shared(const Storage& storage, unsigned shared) {
    char* after = dynamic() + SHARED + GUARD;
    memset(storage.start, 0xff, size_t(dynamic() - storage.start));
    memset(after, 0xff, size_t(storage.start + storage.size - after));
    memset(dynamic(), 0xff, shared + GUARD);
}

static bool guard_holds(unsigned shared) {
    const char* guard = dynamic() + shared;
    for (unsigned at = 0; at < GUARD; at++)
        if (guard[at] != char(0xff)) return false;
    return true;
}

// All lanes that the mask names wait at one place with the same mask.
static bool warp_is_whole(unsigned first, const Fiber& fiber) {
    for (unsigned lane = 0; lane < 32; lane++) {
        if (!(fiber.mask >> lane & 1)) continue;
        if (first + lane >= count) return false;
        const Fiber& other = fibers[first + lane];
        if (other.state != AT_WARP || other.mask != fiber.mask || other.line != fiber.line)
            return false;
    }
    return true;
}

static bool release_warps() {
    bool released = false;
    for (unsigned at = 0; at < count; at++) {
        unsigned first = at & ~31u;
        if (fibers[at].state != AT_WARP || !warp_is_whole(first, fibers[at])) continue;
        for (unsigned lane = 0, mask = fibers[at].mask; lane < 32; lane++)
            if (mask >> lane & 1) fibers[first + lane].state = READY;
        released = true;
    }
    return released;
}

static bool release_block() {
    for (unsigned at = 0; at < count; at++)
        if (fibers[at].state != AT_BLOCK || fibers[at].line != fibers[0].line) return false;
    for (unsigned at = 0; at < count; at++) fibers[at].state = READY;
    return true;
}

static Fault divergence() {
    unsigned done = 0, block = 0, warp = 0;
    const Fiber* waiting = nullptr;
    for (unsigned at = 0; at < count; at++) {
        const Fiber& fiber = fibers[at];
        done += fiber.state == DONE;
        block += fiber.state == AT_BLOCK;
        warp += fiber.state == AT_WARP;
        if (!waiting && fiber.state != DONE) waiting = &fiber;
    }
    snprintf(message, sizeof message,
             "a barrier that not all threads reach: of %u threads %u are done, %u wait for the "
             "block and %u for their warp; thread %u waits at line %d",
             count, done, block, warp, waiting->number, waiting->line);
    return DIVERGENT;
}

static void begin_block(uint3 threads) {
    for (unsigned at = 0; at < count; at++) {
        uint3 thread = {at % threads.x, at / threads.x % threads.y, at / threads.x / threads.y};
        fibers[at] = {};
        fibers[at].thread = thread;
        fibers[at].number = at;
        prepare(fibers[at], stacks + STACK * at);
    }
}

// Runs threads that can go on, in another order each time: all of them, or those of the first warp
// of `favoured` that has any, so that it gets as far ahead of the others as barriers let it.
static void run_round(const unsigned* favoured, bool all) {
    unsigned order[THREADS];
    for (unsigned at = 0; at < count; at++) order[at] = at;
    unsigned warps = (count + 31) / 32, warp = 0;
    auto is_ready = [&](unsigned at) { return fibers[at].state == READY; };
    auto has_any = [&](unsigned warp) {
        for (unsigned at = warp * 32; at < warp * 32 + 32 && at < count; at++)
            if (is_ready(at)) return true;
        return false;
    };
    while (!all && warp + 1 < warps && !has_any(favoured[warp])) warp++;
    unsigned first = all ? 0 : favoured[warp] * 32, end = all ? count : first + 32;
    end = end < count ? end : count;
    shuffle(order + first, end - first);
    for (unsigned at = first; at < end; at++)
        if (is_ready(order[at])) resume(fibers[order[at]]);
}

static Fault run_block(uint3 threads) {
    unsigned favoured[THREADS / 32];
    for (unsigned warp = 0; warp < THREADS / 32; warp++) favoured[warp] = warp;
    shuffle(favoured, (count + 31) / 32);
    bool all = random_below(2);
    begin_block(threads);
    for (;;) {
        run_round(favoured, all);
        if (is_refused) return REFUSED;
        bool may_go_on = release_warps();
        unsigned done = 0;
        for (unsigned at = 0; at < count; at++) {
            done += fibers[at].state == DONE;
            may_go_on |= fibers[at].state == READY;
        }
        if (done == count) return NONE;
        if (!may_go_on && !release_block()) return divergence();
    }
}

static void wait(State state, unsigned mask, int line) {
    current->state = state;
    current->mask = mask;
    current->line = line;
    leave();
}

// What no GPU would do: the kernel ends at the end of this round.
inline void refuse(const char* why) {
    snprintf(message, sizeof message, "%s", why);
    is_refused = true;
}

template <class T> T exchange(unsigned mask, T value, unsigned lane, int line) {
    static_assert(sizeof(T) <= 8);
    memcpy(&exchanged[current->number], &value, sizeof value);
    wait(AT_WARP, mask, line);
    memcpy(&value, &exchanged[(current->number & ~31u) + (lane & 31)], sizeof value);
    wait(AT_WARP, mask, line);
    return value;
}

}  // namespace shim

static uint3 gridDim, blockDim, blockIdx;
#define threadIdx (shim::current->thread)

inline void __syncthreads(int line = __builtin_LINE()) { shim::wait(shim::AT_BLOCK, 0, line); }
inline void __syncwarp(unsigned mask = ~0u, int line = __builtin_LINE()) {
    shim::wait(shim::AT_WARP, mask, line);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32, int line = __builtin_LINE()) {
    unsigned lane = shim::current->number & 31, base = lane & ~unsigned(width - 1);
    return shim::exchange(mask, value, base + (unsigned(from) & unsigned(width - 1)), line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32,
                   int line = __builtin_LINE()) {
    unsigned lane = shim::current->number & 31, at = (lane & unsigned(width - 1)) + by;
    return shim::exchange(mask, value, at < unsigned(width) ? lane + by : lane, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int by, int width = 32, int line = __builtin_LINE()) {
    unsigned lane = shim::current->number & 31, at = lane ^ unsigned(by);
    bool inside = (at & ~unsigned(width - 1)) <= (lane & ~unsigned(width - 1));
    return shim::exchange(mask, value, inside ? at : lane, line);
}

inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float x) { return __builtin_sqrtf(x); }
inline double __dsqrt_rn(double x) { return __builtin_sqrt(x); }
template <class To, class From> To shim_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
inline unsigned __float_as_uint(float x) { return shim_bits<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return shim_bits<float>(x); }
inline long long __double_as_longlong(double x) { return shim_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return shim_bits<double>(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }

namespace shim {

template <class T> constexpr char kind_of() {
    if (std::is_pointer<T>::value) return 'p';
    if (std::is_same<T, float>::value) return 'f';
    if (std::is_same<T, double>::value) return 'd';
    if (std::is_same<T, unsigned>::value) return 'u';
    return std::is_integral<T>::value && std::is_unsigned<T>::value && sizeof(T) == 8 ? 'l' : '?';
}

template <class... A> struct Call {
    void (*kernel)(A...);
    void* const* parameters;
    template <size_t... I> void run(std::index_sequence<I...>) const {
        kernel(*static_cast<std::remove_cv_t<A>*>(parameters[I])...);
    }
    static void start(void* call) {
        static_cast<Call*>(call)->run(std::index_sequence_for<A...>());
    }
};

static Fault run_grid(const unsigned* grid, const unsigned* block, unsigned shared) {
    uint64_t threads = uint64_t(block[0]) * block[1] * block[2];
    if (threads == 0 || threads > THREADS || block[2] > 64 || shared > SHARED || grid[0] == 0 ||
        grid[1] == 0 || grid[2] == 0 || grid[0] >> 31 || grid[1] > 65535 || grid[2] > 65535) {
        snprintf(message, sizeof message, "no GPU starts %u x %u x %u blocks of %llu threads with "
                 "%u bytes of shared memory", grid[0], grid[1], grid[2],
                 static_cast<unsigned long long>(threads), shared);
        return LIMITS;
    }
    if (!stacks) {
        void* room = mmap(nullptr, STACK * THREADS, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (room == MAP_FAILED) return snprintf(message, sizeof message, "no room"), LIMITS;
        stacks = static_cast<char*>(room);
    }
    Storage storage = shared_storage();
    count = unsigned(threads);
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    uint64_t blocks = uint64_t(grid[0]) * grid[1] * grid[2];
    // From any block on, so that none can lean on one before it.
    uint64_t first = random_below(unsigned(blocks));
    for (uint64_t at = 0; at < blocks; at++) {
        uint64_t number = (first + (blocks - at)) % blocks;
        blockIdx = {unsigned(number % grid[0]), unsigned(number / grid[0] % grid[1]),
                    unsigned(number / grid[0] / grid[1])};
        fill_shared(storage, shared);
        Fault fault = run_block(blockDim);
        if (fault) return fault;
        if (!guard_holds(shared)) {
            snprintf(message, sizeof message, "block %u, %u, %u wrote behind its %u bytes of "
                     "shared memory", blockIdx.x, blockIdx.y, blockIdx.z, shared);
            return OUT_OF_BOUNDS;
        }
    }
    return NONE;
}

template <class... A>
int enter(void (*kernel)(A...), const unsigned* grid, const unsigned* block, unsigned shared,
          void* const* parameters, const char* kinds, uint64_t seed) {
    const char declared[] = {kind_of<std::remove_cv_t<A>>()..., '\0'};
    if (strcmp(declared, kinds) != 0) {
        snprintf(message, sizeof message, "parameters are declared as `%s` and given as `%s`",
                 declared, kinds);
        return ARGUMENTS;
    }
    Call<A...> call = {kernel, parameters};
    body = Call<A...>::start;
    closure = &call;
    random_state = seed | 1;
    is_refused = false;
    return run_grid(grid, block, shared);
}

}  // namespace shim

#define SHIM_EXPORT extern "C" __attribute__((visibility("default")))
SHIM_EXPORT const char* shim_message() { return shim::message; }
#define SHIM_ENTRY(name)                                                                         \
    SHIM_EXPORT int shim_launch_##name(const unsigned* grid, const unsigned* block,              \
                                       unsigned shared, void* const* parameters,                 \
                                       const char* kinds, uint64_t seed) {                       \
        return shim::enter(name, grid, block, shared, parameters, kinds, seed);                  \
    }
