/* The admin face in this process's own loop: what it answers, to whom, and that nobody can hold it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "coordinator/admin.h"

struct house {
    struct event_base *base;
    struct region region;
    struct options options;
    char dir[64], path[80];
    struct admin *admin;
};

static int house_setup(void **state)
{
    struct house *h = test_calloc(1, sizeof *h);
    struct buffer text = {0};
    const struct region_sizes sizes = {
        .workers = 1,
        .task_ring_capacity = 4096,
        .record_ring_capacity = 4096,
        .hosts_max = 16,
        .ips_max = 16,
        .ip_refs_max = 16,
    };

    h->base = event_base_new();
    options_init(&h->options);
    options_serialize(&h->options, &text);
    assert_int_equal(region_create(&h->region, &sizes, &text), OUTCOME_OK);
    buffer_fini(&text);
    snprintf(h->dir, sizeof h->dir, "/tmp/hotfleet-admin-XXXXXX");
    assert_non_null(mkdtemp(h->dir));
    snprintf(h->path, sizeof h->path, "%s/admin.sock", h->dir);
    *state = h;
    return 0;
}

static int house_teardown(void **state)
{
    struct house *h = *state;

    admin_close(h->admin);
    assert_int_not_equal(access(h->path, F_OK), 0);
    assert_int_equal(rmdir(h->dir), 0);
    region_close(&h->region);
    options_fini(&h->options);
    event_base_free(h->base);
    test_free(h);
    return 0;
}

static void open_face(struct house *h)
{
    h->admin = admin_open(h->base, &h->region, h->dir, &h->options);
    assert_non_null(h->admin);
}

static int dial(const struct house *h)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", h->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void turn(struct house *h)
{
    event_base_loop(h->base, EVLOOP_NONBLOCK);
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Turns the loop until the other side closes, for `ms` at most; closes, and returns what came. */
static const char *hear(struct house *h, int fd, unsigned ms)
{
    static char text[65536];
    size_t len = 0;
    uint64_t until = clock_us() + (uint64_t)ms * 1000;
    ssize_t n = -1;

    while (n != 0 && clock_us() < until && len < sizeof text - 1) {
        turn(h);
        n = recv(fd, text + len, sizeof text - 1 - len, 0);
        if (n > 0)
            len += (size_t)n;
        else if (n < 0 && errno != EAGAIN)
            break;
    }
    close(fd);
    text[len] = '\0';
    return n > 0 || (n < 0 && errno == EAGAIN) ? "still open" : text;
}

static const char *ask(struct house *h, const char *request)
{
    int fd = dial(h);

    say(fd, request);
    return hear(h, fd, 3000);
}

static void assert_answer(const char *answer, const char *status, const char *part)
{
    if (strncmp(answer, "HTTP/1.", 7) != 0 || strncmp(answer + 9, status, 3) != 0 || !strstr(answer, part))
        fail_msg("no %s with %s in: %s", status, part, answer);
}

static unsigned descriptors(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");

    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static void pages_are_answered_with_their_type(void **state)
{
    struct house *h = *state;

    open_face(h);
    STATS_SET(region_page(&h->region, 0), requests, 42);
    assert_answer(ask(h, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), "200",
                  "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
    assert_answer(ask(h, "GET /metrics HTTP/1.0\r\n\r\n"), "200", "\nhotfleet_requests_total 42\n");
    assert_answer(ask(h, "GET /stats HTTP/1.1\r\nHost: x\r\n\r\n"), "200", "Content-Type: application/json\r\n");
    assert_answer(ask(h, "GET /stats?x=1 HTTP/1.1\r\nHost: x\r\n\r\n"), "200", "\"requests\":42,");
    assert_answer(ask(h, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"), "503", "\"reason\":\"no connection yet\"");
    assert_answer(ask(h, "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n"), "503", "\"ready\":false");
    STATS_SET(region_page(&h->region, 0), conns_idle, 1);
    atomic_store(&h->region.header->worker[0].pid, 1);
    assert_answer(ask(h, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"), "200", "\"state\":\"HEALTHY\"");
    assert_answer(ask(h, "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n"), "200", "\"ready\":true");
}

static void head_has_the_length_and_no_body(void **state)
{
    struct house *h = *state;

    open_face(h);
    const char *answer = ask(h, "HEAD /stats HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_answer(answer, "200", "Content-Length: ");
    assert_true(strtol(strstr(answer, "Content-Length: ") + 16, NULL, 10) > 300);
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
}

static void other_paths_and_methods_are_refused(void **state)
{
    struct house *h = *state;

    open_face(h);
    assert_answer(ask(h, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "404", "Content-Type: text/plain");
    assert_answer(ask(h, "GET /stats/ HTTP/1.1\r\nHost: x\r\n\r\n"), "404", "");
    assert_answer(ask(h, "GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"), "404", "");
    assert_answer(ask(h, "POST /stats HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"), "405", "Allow: GET, HEAD");
    assert_answer(ask(h, "DELETE /stats HTTP/1.1\r\nHost: x\r\n\r\n"), "405", "Allow: GET, HEAD");
    assert_answer(ask(h, "BREW /stats HTTP/1.1\r\nHost: x\r\n\r\n"), "501", "");
    assert_answer(ask(h, "nonsense\r\n\r\n"), "400", "");
}

static void large_heads_and_bodies_are_refused(void **state)
{
    struct house *h = *state;
    char head[20000] = "GET /stats HTTP/1.1\r\nHost: x\r\nX: ";

    open_face(h);
    memset(head + strlen(head), 'x', sizeof head - 1 - strlen(head));
    assert_answer(ask(h, head), "400", "");
    assert_answer(ask(h, "POST /stats HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\nx"), "413", "");
}

static void socket_is_the_owners_alone_whatever_the_umask(void **state)
{
    struct house *h = *state;
    struct stat st;
    char path[REGION_PATH_MAX];
    mode_t before = umask(0);

    open_face(h);
    assert_int_equal(umask(before), 0);
    assert_int_equal(stat(h->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(region_admin_path(&h->region, path));
    assert_string_equal(path, h->path);
}

static void stale_socket_is_replaced_and_a_live_one_is_not(void **state)
{
    struct house *h = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", h->path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_null(admin_open(h->base, &h->region, h->dir, &h->options));
    assert_int_equal(access(h->path, F_OK), 0);
    close(fd);
    open_face(h);
    assert_answer(ask(h, "GET /stats HTTP/1.1\r\nHost: x\r\n\r\n"), "200", "\"pid\":");
}

static void file_that_is_no_socket_is_left_alone(void **state)
{
    struct house *h = *state;

    close(open(h->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_null(admin_open(h->base, &h->region, h->dir, &h->options));
    assert_int_equal(unlink(h->path), 0);
    assert_null(admin_open(h->base, &h->region, "/nonexistent/directory", &h->options));
}

static void port_in_use_is_refused(void **state)
{
    struct house *h = *state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    char listen_text[64];
    struct options_error error;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    snprintf(listen_text, sizeof listen_text, "127.0.0.1:%u", ntohs(address.sin_port));
    assert_true(options_set(&h->options, "listen", listen_text, "flag", &error));
    assert_null(admin_open(h->base, &h->region, h->dir, &h->options));
    assert_int_not_equal(access(h->path, F_OK), 0);
    close(fd);
    open_face(h);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    say(fd, "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_answer(hear(h, fd, 3000), "503", "\"ready\":false");
}

/* More of them than there are places: the oldest make room, the last is answered, and nothing is left open. */
static void silent_clients_do_not_keep_others_out(void **state)
{
    struct house *h = *state;
    int fds[80];

    open_face(h);
    unsigned before = descriptors();
    for (unsigned i = 0; i < 80; i++) {
        fds[i] = dial(h);
        say(fds[i], "GET /st");
        turn(h);
    }
    for (unsigned i = 0; i < 10; i++)
        turn(h);
    unsigned held = descriptors() - before;
    assert_in_range(held, 80 + 1, 80 + 40);
    assert_answer(ask(h, "GET /stats HTTP/1.1\r\nHost: x\r\n\r\n"), "200", "\"pid\":");
    say(fds[79], "ats HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_answer(hear(h, fds[79], 3000), "200", "\"pid\":");
    for (unsigned i = 0; i < 79; i++)
        close(fds[i]);
    /* The sweep closes them, within half a second. */
    for (uint64_t until_us = clock_us() + 5000000; descriptors() > before && clock_us() < until_us;)
        turn(h);
    assert_int_equal(descriptors(), before);
}

/* A byte now and then is no way round the time limit. */
static void trickling_client_is_cut_in_time(void **state)
{
    struct house *h = *state;
    uint64_t began = clock_us();
    char c;

    open_face(h);
    int fd = dial(h);
    say(fd, "GET /stats HTTP/1.1\r\nX: ");
    while (recv(fd, &c, 1, 0) != 0) {
        assert_true(clock_us() - began < 13000000);
        ssize_t n = send(fd, "x", 1, MSG_NOSIGNAL);
        (void)n;
        usleep(20000);
        turn(h);
    }
    assert_true(clock_us() - began > 8000000);
    close(fd);
}

static void many_requests_leave_nothing_behind(void **state)
{
    struct house *h = *state;

    open_face(h);
    ask(h, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    unsigned before = descriptors();
    for (unsigned i = 0; i < 500; i++)
        assert_answer(ask(h, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), "200", "hotfleet_");
    assert_int_equal(descriptors(), before);
}

/* With nobody asking there is no timer and nothing to wake up for. */
static void face_without_visitors_has_no_timer(void **state)
{
    struct house *h = *state;

    open_face(h);
    assert_int_equal(event_base_get_num_events(h->base, EVENT_BASE_COUNT_ADDED), 1);
    ask(h, "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n");
    uint64_t until = clock_us() + 1500000;
    while (clock_us() < until && event_base_get_num_events(h->base, EVENT_BASE_COUNT_ADDED) > 1) {
        usleep(10000);
        turn(h);
    }
    assert_int_equal(event_base_get_num_events(h->base, EVENT_BASE_COUNT_ADDED), 1);
}

static void close_with_open_connections_is_clean(void **state)
{
    struct house *h = *state;

    open_face(h);
    int fd = dial(h);
    say(fd, "GET /");
    turn(h);
    turn(h);
    admin_close(h->admin);
    h->admin = NULL;
    char c;
    assert_int_equal(recv(fd, &c, 1, 0), 0);
    close(fd);
}

#define HOUSE_TEST(f) cmocka_unit_test_setup_teardown(f, house_setup, house_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOUSE_TEST(pages_are_answered_with_their_type),
        HOUSE_TEST(head_has_the_length_and_no_body),
        HOUSE_TEST(other_paths_and_methods_are_refused),
        HOUSE_TEST(large_heads_and_bodies_are_refused),
        HOUSE_TEST(socket_is_the_owners_alone_whatever_the_umask),
        HOUSE_TEST(stale_socket_is_replaced_and_a_live_one_is_not),
        HOUSE_TEST(file_that_is_no_socket_is_left_alone),
        HOUSE_TEST(port_in_use_is_refused),
        HOUSE_TEST(silent_clients_do_not_keep_others_out),
        HOUSE_TEST(trickling_client_is_cut_in_time),
        HOUSE_TEST(many_requests_leave_nothing_behind),
        HOUSE_TEST(face_without_visitors_has_no_timer),
        HOUSE_TEST(close_with_open_connections_is_clean),
    };

    return cmocka_run_group_tests_name("admin", tests, NULL, NULL);
}
