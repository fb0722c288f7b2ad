// A made-up libcuda: GPUs whose memory is the host's and whose kernels are those of the shim, so
// that everything between an operation and the driver is tested without a GPU.
//
// What a stream is told waits until somebody waits for it, so that memory which is changed or given
// back too early gives wrong numbers. A kernel alone starts at once, after all before it: only the
// real driver knows the sizes of its parameters, and copies them. A context that is given back with
// anything left in it ends the program.
//
// MADE_UP_DRIVER   the version, then the compute capability of each GPU: `13000 9.0 7.5`; a version
//                  below zero is the error that the library answers with instead
// MADE_UP_KERNELS  libraries of the shim, separated by `:`, one for each module, in their order
// MADE_UP_TAKEN    bytes of each GPU's memory that somebody else has
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, NO_IMAGE = 200, NOT_FOUND = 500 };
enum { GPUS = 8, LIBRARIES = 64, ALIGNMENT = 256 };
static const size_t MEMORY = (size_t)256 << 20;

typedef struct { int capability, held; long left; size_t used; } Gpu;
typedef struct Stream Stream;
// Where it was recorded, until that is reached; and how many still name it.
typedef struct { Stream* on; int named; Gpu* gpu; } Event;
typedef struct { char* to; const char* from; size_t bytes; Event* event; int waits; } Step;
struct Stream { Gpu* gpu; Step* steps; size_t first, count, room; };
typedef struct { Gpu* gpu; void* library; } Module;

static Gpu gpus[GPUS];
static int version = -1, gpu_count;
static void* libraries[LIBRARIES];
static int library_count;
static unsigned loaded;
static uint64_t launches;
static size_t taken;
static __thread Gpu* current;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
#define LOCKED(body) \
    pthread_mutex_lock(&lock); int result = OK; body; pthread_mutex_unlock(&lock); return result

static void die(const char* why) {
    fprintf(stderr, "made-up driver: %s\n", why);
    abort();
}

static void read_environment(void) {
    const char* told = getenv("MADE_UP_DRIVER");
    char* rest;
    version = told ? (int)strtol(told, &rest, 10) : 13000;
    for (gpu_count = 0; told && *rest && gpu_count < GPUS; gpu_count++) {
        long major = strtol(rest + 1, &rest, 10), minor = strtol(rest + 1, &rest, 10);
        gpus[gpu_count].capability = (int)(10 * major + minor);
    }
    taken = getenv("MADE_UP_TAKEN") ? strtoul(getenv("MADE_UP_TAKEN"), NULL, 10) : 0;
    char* names = getenv("MADE_UP_KERNELS") ? strdup(getenv("MADE_UP_KERNELS")) : NULL;
    for (char* name = names ? strtok(names, ":") : NULL; name; name = strtok(NULL, ":")) {
        if (library_count == LIBRARIES) die("too many libraries");
        libraries[library_count] = dlopen(name, RTLD_NOW | RTLD_LOCAL);
        if (!libraries[library_count++]) die(dlerror());
    }
}

int cuDriverGetVersion(int* out) {
    read_environment();
    *out = version;
    return version < 0 ? -version : OK;
}
int cuInit(unsigned flags) { return flags ? INVALID : gpu_count ? OK : NO_DEVICE; }
int cuGetErrorString(int error, const char** out) {
    static __thread char text[32];
    snprintf(text, sizeof text, "made-up error %d", error);
    return *out = text, OK;
}

int cuDeviceGetCount(int* out) { return *out = gpu_count, OK; }
int cuDeviceGet(int* out, int number) { return *out = number, number < gpu_count ? OK : INVALID; }
int cuDeviceGetName(char* out, int room, int gpu) {
    return snprintf(out, (size_t)room, "Made-up %d", gpus[gpu].capability), OK;
}
int cuDeviceTotalMem_v2(size_t* out, int gpu) { return (void)gpu, *out = MEMORY, OK; }
int cuDeviceGetAttribute(int* out, int which, int gpu) {
    int capability = gpus[gpu].capability;
    *out = which == 75 ? capability / 10 : capability % 10;
    return which == 75 || which == 76 ? OK : INVALID;
}

int cuDevicePrimaryCtxRetain(void** out, int gpu) { LOCKED(gpus[gpu].held++; *out = &gpus[gpu]); }
int cuDevicePrimaryCtxRelease_v2(int gpu) {
    LOCKED(if (--gpus[gpu].held == 0 && gpus[gpu].left) die("something is left in a context"));
}
int cuCtxSetCurrent(void* context) { return current = context, OK; }

static int put(void** out, size_t bytes) {
    if (!current || !current->held) die("no context");
    current->left++;
    return *out = calloc(1, bytes), OK;
}
static void take(Gpu* gpu, void* thing) {
    if (gpu != current) die("a thing of another context");
    gpu->left--;
    free(thing);
}

static void unname(Event* event) {
    if (--event->named == 0) free(event);
}
// Does what waits in a stream, to its end or until an event; what it waits for in others is done.
static void drain(Stream* stream, const Event* until) {
    while (stream->first < stream->count) {
        Step step = stream->steps[stream->first++];
        if (step.event && step.waits) {
            if (step.event->on == stream) die("a stream waits for itself");
            if (step.event->on) drain(step.event->on, step.event);
            unname(step.event);
        } else if (step.event) {
            int last = step.event == until;
            step.event->on = NULL;
            unname(step.event);
            if (last) return;
        } else if (step.from) memcpy(step.to, step.from, step.bytes);
        else memset(step.to, 0, step.bytes);
    }
    stream->first = stream->count = 0;
}
static void push(Stream* stream, Step step) {
    if (!current || stream->gpu != current) die("a stream of another context");
    if (stream->count == stream->room) {
        stream->room = 2 * stream->room + 16;
        stream->steps = realloc(stream->steps, stream->room * sizeof step);
    }
    stream->steps[stream->count++] = step;
}

int cuStreamCreate(Stream** out, unsigned flags) {
    if (flags != 1) return INVALID;
    LOCKED(put((void**)out, sizeof **out); (*out)->gpu = current);
}
int cuStreamSynchronize(Stream* stream) { LOCKED(drain(stream, NULL)); }
int cuStreamDestroy_v2(Stream* stream) {
    LOCKED(drain(stream, NULL); free(stream->steps); take(stream->gpu, stream));
}

int cuEventCreate(Event** out, unsigned flags) {
    (void)flags;
    LOCKED(put((void**)out, sizeof **out); (*out)->gpu = current; (*out)->named = 1);
}
int cuEventRecord(Event* event, Stream* stream) {
    Step step = {NULL, NULL, 0, event, 0};
    LOCKED(if (event->on) die("an event is recorded twice");
           event->on = stream; event->named++; push(stream, step));
}
int cuStreamWaitEvent(Stream* stream, Event* event, unsigned flags) {
    Step step = {NULL, NULL, 0, event, 1};
    if (flags) return INVALID;
    LOCKED(if (event->on && event->on != stream) { event->named++; push(stream, step); });
}
int cuEventSynchronize(Event* event) { LOCKED(if (event->on) drain(event->on, event)); }
int cuEventDestroy_v2(Event* event) {
    LOCKED(event->gpu->left--; unname(event));
}

// Before what is allocated stands how much it is.
int cuMemAlloc_v2(uint64_t* out, size_t bytes) {
    pthread_mutex_lock(&lock);
    int result = bytes == 0 ? INVALID : current->used + taken + bytes > MEMORY ? OUT_OF_MEMORY : OK;
    if (result == OK) {
        size_t whole = (bytes + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        char* memory = aligned_alloc(ALIGNMENT, whole);
        memset(memory, 0xff, bytes + ALIGNMENT);
        memcpy(memory, &bytes, sizeof bytes);
        current->used += bytes;
        current->left++;
        *out = (uint64_t)(memory + ALIGNMENT);
    }
    pthread_mutex_unlock(&lock);
    return result;
}
int cuMemFree_v2(uint64_t at) {
    char* memory = (char*)at - ALIGNMENT;
    size_t bytes;
    memcpy(&bytes, memory, sizeof bytes);
    LOCKED(memset(memory, 0xff, bytes + ALIGNMENT); current->used -= bytes; take(current, memory));
}
int cuMemGetInfo_v2(size_t* unused, size_t* all) {
    return *unused = MEMORY - taken - current->used, *all = MEMORY, OK;
}
int cuMemHostAlloc(void** out, size_t bytes, unsigned flags) {
    (void)flags;
    LOCKED(put(out, bytes));
}
int cuMemFreeHost(void* memory) { LOCKED(take(current, memory)); }

static int step(Stream* stream, void* to, const void* from, size_t bytes) {
    Step step = {to, from, bytes, NULL, 0};
    LOCKED(push(stream, step));
}
int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, Stream* stream) {
    return value ? INVALID : step(stream, (void*)to, NULL, bytes);
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, Stream* stream) {
    return step(stream, (void*)to, from, bytes);
}
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, Stream* stream) {
    return step(stream, to, (const void*)from, bytes);
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, Stream* stream) {
    return step(stream, (void*)to, (const void*)from, bytes);
}

int cuMemcpyAsync(uint64_t to, uint64_t from, size_t bytes, Stream* stream) {
    return step(stream, (void*)to, (const void*)from, bytes);
}
int cuDeviceCanAccessPeer(int* out, int gpu, int other) { return *out = gpu != other, OK; }
int cuCtxEnablePeerAccess(void* other, unsigned flags) {
    return flags || other == current || !current ? INVALID : OK;
}

int cuModuleLoadData(Module** out, const void* image) {
    // How a fat binary begins.
    if ((uintptr_t)image % 8 || memcmp(image, "\x50\xed\x55\xba", 4)) return NO_IMAGE;
    LOCKED(put((void**)out, sizeof **out); (*out)->gpu = current;
           if (library_count) (*out)->library = libraries[loaded++ % (unsigned)library_count]);
}
int cuModuleUnload(Module* module) { LOCKED(take(module->gpu, module)); }
int cuModuleGetFunction(void** out, Module* module, const char* name) {
    char entry[256];
    snprintf(entry, sizeof entry, "shim_launch_%s", name);
    *out = module->library ? dlsym(module->library, entry) : NULL;
    return *out ? OK : NOT_FOUND;
}
int cuFuncSetAttribute(void* function, int which, int value) {
    // The most dynamic shared memory; an H100 has 227 KiB.
    return function && which == 8 && value <= 232448 ? OK : INVALID;
}
int cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned width,
                   unsigned height, unsigned depth, unsigned shared, Stream* stream,
                   void** parameters, void** extra) {
    int (*enter)(const unsigned*, const unsigned*, unsigned, void* const*, const char*, uint64_t);
    memcpy(&enter, &function, sizeof enter);
    unsigned grid[] = {x, y, z}, block[] = {width, height, depth};
    if (extra || stream->gpu != current) return INVALID;
    LOCKED(drain(stream, NULL);
           result = enter(grid, block, shared, parameters, NULL, ++launches) ? INVALID : OK);
}
