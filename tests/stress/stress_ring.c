/* Stress of the ring. `threads`: producer and consumer as threads, with sleeping and waking, for TSan. `processes`: the
 * producer is a process killed at random moments; what it published must arrive whole, in order, and nothing else.
 * `bench`: ns a message. Usage: stress_ring [threads|processes|bench] [--seconds S] [--kills N] [--seed N] */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "shm/ring.h"

#define CAPACITY       65536u
#define LONG_MAX_BYTES 12000u
#define WAKE_SECONDS   10
#define DAWDLERS       4 /* one producer in so many rests amid its messages, where a kill then finds it */
#define BENCH_MESSAGES 2000000u
#define BENCH_ROUNDS   5

/* All that the two sides share. The counters are the ground truth of `processes`: `intended` is raised before messages
 * are published, `done` after, so the consumer must find a number between them. */
struct shared {
    _Atomic uint64_t intended, done;
    _Atomic uint32_t writing; /* the producer is amid a message's bytes */
    _Atomic uint32_t asleep, ended;
    sem_t wake;
    _Alignas(64) uint8_t ring[sizeof(struct ring_header) + CAPACITY];
};

static struct shared *shared;
static uint64_t rng_state = 1;

__attribute__((format(printf, 1, 2), noreturn)) static void violation(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("stress_ring: VIOLATION: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

/* splitmix64 */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static uint32_t random_below(uint64_t *state, uint32_t n)
{
    *state = mix(*state);
    return (uint32_t)(*state % n);
}

/* Both sides work out a message from its number alone: mostly short, one in 32 long. */
static uint32_t message_len(uint64_t epoch, uint64_t seq)
{
    uint64_t x = mix(epoch << 40 ^ seq);

    return x % 32 == 0 ? (uint32_t)(x >> 8) % LONG_MAX_BYTES : 16 + (uint32_t)(x >> 8) % 300;
}

static void message_write(uint8_t *out, uint32_t len, uint64_t epoch, uint64_t seq)
{
    uint64_t start = mix(epoch ^ seq << 20);

    for (uint32_t i = 0; i < len; i++)
        out[i] = (uint8_t)(start + i * UINT64_C(7));
}

static void message_check(const uint8_t *bytes, uint32_t len, uint64_t epoch, uint64_t seq)
{
    uint64_t start = mix(epoch ^ seq << 20);

    if (len != message_len(epoch, seq))
        violation("epoch %lu message %lu has %u bytes, not %u", epoch, seq, len, message_len(epoch, seq));
    for (uint32_t i = 0; i < len; i++)
        if (bytes[i] != (uint8_t)(start + i * UINT64_C(7)))
            violation("epoch %lu message %lu differs at byte %u of %u", epoch, seq, i, len);
}

/* Writes message `seq`, often into a reservation larger than needed; false when the ring is full. */
static bool produce_one(struct ring *ring, uint64_t epoch, uint64_t seq)
{
    uint32_t len = message_len(epoch, seq);
    uint8_t *room = ring_reserve(ring, len + (uint32_t)(seq % 3) * 100);

    if (!room)
        return false;
    atomic_store_explicit(&shared->writing, 1, memory_order_relaxed);
    message_write(room, len / 2, epoch, seq);
    if (epoch % DAWDLERS == 1)
        usleep(20);
    message_write(room, len, epoch, seq);
    atomic_store_explicit(&shared->writing, 0, memory_order_relaxed);
    ring_commit(ring, len);
    return true;
}

static void publish(struct ring *ring, uint64_t seq)
{
    atomic_store(&shared->intended, seq);
    ring_publish(ring);
    atomic_store(&shared->done, seq);
    if (atomic_exchange(&shared->asleep, 0))
        sem_post(&shared->wake);
}

/* Produces until `until_us`, in batches of random size. */
static void produce(uint64_t epoch, uint64_t until_us)
{
    struct ring ring;
    uint64_t rng = mix(epoch ^ rng_state);
    uint64_t seq = 0;

    ring_attach_producer(&ring, shared->ring, CAPACITY);
    while (clock_us() < until_us) {
        for (uint32_t batch = 1 + random_below(&rng, 16); batch > 0; batch--) {
            if (!produce_one(&ring, epoch, seq)) {
                publish(&ring, seq);
                sched_yield();
                break;
            }
            seq++;
        }
        publish(&ring, seq);
        /* A consumer that was not woken would sleep on here, for nobody publishes further. */
        if (epoch == 0 && random_below(&rng, 4) == 0)
            while (ring_has_message(&ring))
                sched_yield();
    }
    atomic_store(&shared->ended, 1);
    if (atomic_exchange(&shared->asleep, 0))
        sem_post(&shared->wake);
}

/* Takes what is there, releasing after a random number of messages; returns the next sequence number. */
static uint64_t drain(struct ring *ring, uint64_t epoch, uint64_t seq, uint64_t *rng)
{
    for (;;) {
        for (uint32_t batch = 1 + random_below(rng, 24); batch > 0; batch--) {
            const void *message;
            uint32_t len;
            enum outcome outcome = ring_peek(ring, &message, &len);
            if (outcome == OUTCOME_CORRUPT)
                violation("epoch %lu: the ring is corrupt after message %lu", epoch, seq);
            if (outcome == OUTCOME_AGAIN) {
                ring_release(ring);
                return seq;
            }
            message_check(message, len, epoch, seq);
            ring_advance(ring);
            seq++;
        }
        ring_release(ring);
    }
}

static void sleep_until_woken(struct ring *ring)
{
    struct timespec until;

    atomic_exchange(&shared->asleep, 1);
    if (ring_has_message(ring) || atomic_load(&shared->ended)) {
        atomic_exchange(&shared->asleep, 0);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAKE_SECONDS;
    while (sem_timedwait(&shared->wake, &until) != 0)
        if (errno == ETIMEDOUT)
            violation("nobody woke the consumer in %d s; a message waits: %d", WAKE_SECONDS, ring_has_message(ring));
}

static void shared_reset(void)
{
    atomic_store(&shared->intended, 0);
    atomic_store(&shared->done, 0);
    atomic_store(&shared->writing, 0);
    atomic_store(&shared->asleep, 0);
    atomic_store(&shared->ended, 0);
    ring_init(shared->ring, CAPACITY);
}

static void *producer_thread(void *until_us)
{
    produce(0, *(const uint64_t *)until_us);
    return NULL;
}

static void run_threads(unsigned seconds)
{
    struct ring ring;
    pthread_t thread;
    uint64_t rng = rng_state;
    uint64_t seq = 0;
    uint64_t sleeps = 0;
    uint64_t until_us = clock_us() + seconds * 1000000ull;

    shared_reset();
    ring_attach_consumer(&ring, shared->ring, CAPACITY);
    if (pthread_create(&thread, NULL, producer_thread, &until_us) != 0)
        violation("no thread");
    while (!atomic_load(&shared->ended)) {
        seq = drain(&ring, 0, seq, &rng);
        sleep_until_woken(&ring);
        sleeps++;
    }
    pthread_join(thread, NULL);
    seq = drain(&ring, 0, seq, &rng);
    if (seq != atomic_load(&shared->done) || seq == 0)
        violation("%lu messages arrived of %lu", seq, atomic_load(&shared->done));
    printf("threads: %lu messages in order and whole, %lu sleeps, none overslept\n", seq, sleeps);
}

static pid_t start_producer(uint64_t epoch)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid < 0)
        violation("fork: %s", strerror(errno));
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent)
        produce(epoch, clock_us() + 20 * 1000000ull);
    _exit(0);
}

/* One life of a producer, ended by kill -9 after a random time. Returns the number of messages that came. */
static uint64_t run_one_life(uint64_t epoch, uint64_t *rng, unsigned *torn_count)
{
    struct ring ring;
    uint64_t seq = 0;
    uint64_t until_us = clock_us() + random_below(rng, 3000);

    shared_reset();
    ring_attach_consumer(&ring, shared->ring, CAPACITY);
    pid_t pid = start_producer(epoch);
    /* Now and then nobody drains, so that the end also comes upon a full ring. */
    bool idle = random_below(rng, 8) == 0;
    while (clock_us() < until_us || atomic_load(&shared->intended) == 0) {
        if (clock_us() > until_us + WAKE_SECONDS * 1000000ull)
            violation("epoch %lu: the producer does nothing", epoch);
        if (!idle)
            seq = drain(&ring, epoch, seq, rng);
        sched_yield();
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    *torn_count += atomic_load(&shared->writing);
    seq = drain(&ring, epoch, seq, rng);
    uint64_t done = atomic_load(&shared->done);
    uint64_t intended = atomic_load(&shared->intended);
    if (seq < done || seq > intended)
        violation("epoch %lu: %lu messages came; %lu were published, %lu at most", epoch, seq, done, intended);
    return seq;
}

static void run_processes(unsigned kills)
{
    uint64_t rng = rng_state;
    uint64_t messages = 0;
    unsigned torn = 0;

    for (uint64_t epoch = 1; epoch <= kills; epoch++)
        messages += run_one_life(epoch, &rng, &torn);
    printf("processes: %u producers killed, %u of them amid a message; %lu messages published, all came in order "
           "and whole, no other did\n",
           kills, torn, messages);
    if (kills >= 200 && torn == 0)
        violation("no producer was killed amid a message: this run has shown little");
}

/* Messages of 64-300 bytes through `produced` and `consumed`; the payload is copied in and read on the way out. */
static void bench_produce(struct ring *ring, uint32_t count)
{
    static const uint8_t payload[512];

    for (uint32_t i = 0; i < count; i++) {
        uint32_t len = 64 + (i * 37u) % 237u;
        void *room;
        while (!(room = ring_reserve(ring, len))) {
            ring_publish(ring);
            sched_yield();
        }
        memcpy(room, payload, len);
        ring_commit(ring, len);
        if (i % 16 == 15)
            ring_publish(ring);
    }
    ring_publish(ring);
}

static uint64_t bench_consume(struct ring *ring, uint32_t count)
{
    uint8_t copy[512];
    uint64_t sum = 0;

    for (uint32_t i = 0; i < count;) {
        const void *message;
        uint32_t len;
        enum outcome outcome = ring_peek(ring, &message, &len);
        if (outcome == OUTCOME_AGAIN) {
            ring_release(ring);
            sched_yield();
            continue;
        }
        if (outcome != OUTCOME_OK || len > sizeof copy)
            violation("bench: %s, %u bytes", outcome_name(outcome), len);
        memcpy(copy, message, len);
        sum += copy[len - 1];
        ring_advance(ring);
        if (++i % 16 == 0)
            ring_release(ring);
    }
    ring_release(ring);
    return sum;
}

/* Producer and consumer in two processes; wall time a message. */
static double bench_across(void)
{
    struct ring ring;

    shared_reset();
    ring_attach_consumer(&ring, shared->ring, CAPACITY);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        ring_attach_producer(&ring, shared->ring, CAPACITY);
        bench_produce(&ring, BENCH_MESSAGES);
        _exit(0);
    }
    uint64_t start_us = clock_us();
    bench_consume(&ring, BENCH_MESSAGES);
    uint64_t took_us = clock_us() - start_us;
    waitpid(pid, NULL, 0);
    return (double)took_us * 1000 / BENCH_MESSAGES;
}

/* Both sides in turn in one process: the work alone, without the traffic between cores. */
static double bench_alone(void)
{
    struct ring out, in;

    shared_reset();
    ring_attach_producer(&out, shared->ring, CAPACITY);
    ring_attach_consumer(&in, shared->ring, CAPACITY);
    uint64_t start_us = clock_us();
    for (uint32_t i = 0; i < BENCH_MESSAGES / 64; i++) {
        bench_produce(&out, 64);
        bench_consume(&in, 64);
    }
    return (double)(clock_us() - start_us) * 1000 / BENCH_MESSAGES;
}

static void run_bench(void)
{
    double across = 1e9;
    double alone = 1e9;

    for (int i = 0; i < BENCH_ROUNDS; i++) {
        double a = bench_across();
        double b = bench_alone();
        across = a < across ? a : across;
        alone = b < alone ? b : alone;
    }
    printf("bench: 64-300 byte messages, best of %d: %.1f ns between two processes, %.1f ns both sides in one\n",
           BENCH_ROUNDS, across, alone);
}

static unsigned long number_argument(int argc, char **argv, const char *name, unsigned long fallback)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return strtoul(argv[i + 1], NULL, 10);
    return fallback;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 && argv[1][0] != '-' ? argv[1] : "all";
    unsigned seconds = (unsigned)number_argument(argc, argv, "--seconds", 1);
    unsigned kills = (unsigned)number_argument(argc, argv, "--kills", 500);

    rng_state = number_argument(argc, argv, "--seed", (unsigned long)clock_wall_us());
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || sem_init(&shared->wake, 1, 0) != 0)
        violation("no shared memory");
    printf("stress_ring %s --seconds %u --kills %u --seed %lu\n", mode, seconds, kills, rng_state);
    fflush(stdout);
    bool all = strcmp(mode, "all") == 0;
    if (strcmp(mode, "bench") == 0)
        run_bench();
    else if (!all && strcmp(mode, "threads") != 0 && strcmp(mode, "processes") != 0)
        violation("no mode \"%s\": threads, processes or bench", mode);
    if (all || strcmp(mode, "processes") == 0)
        run_processes(kills);
    if (all || strcmp(mode, "threads") == 0)
        run_threads(seconds);
    return 0;
}
