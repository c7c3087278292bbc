#pragma once
/* The one table of outcomes: every way a fetch or a step of it can end. Records (`error_code`), counters, documentation
 * and retry decisions all come from these rows. Fallible functions return `enum outcome` and are must_check. */

#include <stdbool.h>
#include <stddef.h>

#define must_check __attribute__((warn_unused_result))

/* What a retry of this outcome would need. */
enum retry {
    RETRY_NEVER,          /* the same request would end the same way */
    RETRY_OTHER_ADDRESS,  /* the address did not answer: dial another one (E2) */
    RETRY_NEW_CONNECTION, /* the connection failed: a new one may do (E4) */
    RETRY_AFTER_WAIT,     /* the server or this machine asks for time (E5) */
};

/* Who is counted as the cause. */
enum blame {
    BLAME_NONE,
    BLAME_INPUT,
    BLAME_DNS,
    BLAME_ADDRESS,
    BLAME_CONNECTION,
    BLAME_SERVER,
    BLAME_POLICY,
    BLAME_SELF
};

/* X(id, name, retry, tries_max, window_ms, blame, sentence)
 * tries_max: attempts in all that this outcome may use up; window_ms: no further attempt starts later than this after
 * the first one. Both apply beside the options max_retries and total_timeout; the smaller wins. */
#define OUTCOME_TABLE(X)                                                                                               \
    X(OK, "ok", RETRY_NEVER, 1, 0, BLAME_NONE, "the request was answered")                                             \
    X(INVALID_URL, "invalid-url", RETRY_NEVER, 1, 0, BLAME_INPUT, "the line is not a valid http or https URL")         \
    X(INVALID_HOST, "invalid-host", RETRY_NEVER, 1, 0, BLAME_INPUT, "the host name is not valid")                      \
    X(DNS_NXDOMAIN, "dns-nxdomain", RETRY_NEVER, 1, 0, BLAME_DNS, "the host name does not exist or has no address")    \
    X(DNS_SERVFAIL, "dns-servfail", RETRY_NEVER, 1, 0, BLAME_DNS, "the name servers could not answer")                 \
    X(DNS_TIMEOUT, "dns-timeout", RETRY_NEVER, 1, 0, BLAME_DNS, "the name servers did not answer in time")             \
    X(CONNECTION_REFUSED, "connection-refused", RETRY_OTHER_ADDRESS, 4, 15000, BLAME_ADDRESS,                          \
      "the server refused the connection or could not be reached")                                                     \
    X(CONNECTION_TIMEOUT, "connection-timeout", RETRY_OTHER_ADDRESS, 3, 15000, BLAME_ADDRESS,                          \
      "the TCP connection was not made in time")                                                                       \
    X(CONNECTION_CLOSED, "connection-closed", RETRY_NEW_CONNECTION, 4, 10000, BLAME_CONNECTION,                        \
      "the server closed the connection before the answer was complete")                                               \
    X(CONNECTION_BROKEN, "connection-broken", RETRY_NEW_CONNECTION, 4, 10000, BLAME_CONNECTION,                        \
      "the connection was reset before the answer was complete")                                                       \
    X(TLS_ERROR, "tls-error", RETRY_NEVER, 1, 0, BLAME_SERVER, "the TLS handshake or a TLS record failed")             \
    X(TLS_TIMEOUT, "tls-timeout", RETRY_OTHER_ADDRESS, 3, 15000, BLAME_ADDRESS,                                        \
      "the TLS handshake was not finished in time")                                                                    \
    X(CERT_INVALID, "cert-invalid", RETRY_NEVER, 1, 0, BLAME_SERVER, "the server's certificate was not accepted")      \
    X(REQUEST_TIMEOUT, "request-timeout", RETRY_NEVER, 1, 0, BLAME_SERVER, "the answer was not complete in time")      \
    X(DEADLINE, "deadline", RETRY_NEVER, 1, 0, BLAME_NONE, "the time for the URL with all its retries was used up")    \
    X(ACQUIRE_TIMEOUT, "acquire-timeout", RETRY_NEVER, 1, 0, BLAME_SELF, "no connection became free in time")          \
    X(PROTOCOL_ERROR, "protocol-error", RETRY_NEVER, 1, 0, BLAME_SERVER, "the answer breaks the HTTP protocol")        \
    X(TOO_LARGE, "too-large", RETRY_NEVER, 1, 0, BLAME_SERVER, "the answer is larger than a limit")                    \
    X(IP_BLOCKED, "ip-blocked", RETRY_NEVER, 1, 0, BLAME_ADDRESS, "the address is blocked for this host")              \
    X(IP_EXHAUSTED, "ip-exhausted", RETRY_NEVER, 1, 0, BLAME_ADDRESS, "no usable address of the host is left")         \
    X(VALIDATION_FAILED, "validation-failed", RETRY_NEVER, 1, 0, BLAME_SERVER, "the connection did not pass its test") \
    X(RATE_LIMITED, "rate-limited", RETRY_AFTER_WAIT, 5, 30000, BLAME_SERVER, "the server asked for fewer requests")   \
    X(ROBOTS_DENIED, "robots-denied", RETRY_NEVER, 1, 0, BLAME_POLICY, "robots.txt forbids the URL")                   \
    X(ADDRESS_DENIED, "address-denied", RETRY_NEVER, 1, 0, BLAME_POLICY,                                               \
      "the host's address is private, loopback or reserved; --allow-private permits it")                               \
    X(TOO_MANY_REDIRECTS, "too-many-redirects", RETRY_NEVER, 1, 0, BLAME_SERVER, "the chain of redirects is too long") \
    X(RETRIES_EXHAUSTED, "retries-exhausted", RETRY_NEVER, 1, 0, BLAME_NONE, "every attempt was lost")                 \
    X(RESOURCE_EXHAUSTED, "resource-exhausted", RETRY_AFTER_WAIT, 5, 30000, BLAME_SELF,                                \
      "this machine has no descriptor, port or memory left")                                                           \
    /* From here on: signals between functions, never in a record. */                                                  \
    X(AGAIN, "again", RETRY_NEVER, 1, 0, BLAME_NONE, "not ready yet")                                                  \
    X(FULL, "full", RETRY_NEVER, 1, 0, BLAME_NONE, "no room")                                                          \
    X(AT_LIMIT, "at-limit", RETRY_NEVER, 1, 0, BLAME_SELF, "a limit on connections is reached")                        \
    X(NOT_FOUND, "not-found", RETRY_NEVER, 1, 0, BLAME_NONE, "no such entry")                                          \
    X(CORRUPT, "corrupt", RETRY_NEVER, 1, 0, BLAME_SELF, "shared data does not make sense")                            \
    X(SYSTEM, "system", RETRY_NEVER, 1, 0, BLAME_SELF, "a system call failed")

#define OUTCOME_ID(id, name, retry, tries, window, blame, text) OUTCOME_##id,
enum outcome { OUTCOME_TABLE(OUTCOME_ID) OUTCOME_COUNT };
#undef OUTCOME_ID

/* The last row that may stand in a record. */
#define OUTCOME_RECORD_LAST OUTCOME_RESOURCE_EXHAUSTED

struct outcome_row {
    const char *name; /* the record's error_code, the counter's label */
    const char *text; /* one clause, no capital, no full stop */
    enum retry retry;
    unsigned tries_max;
    unsigned window_ms;
    enum blame blame;
};

/* The row of `o`; out of range gives the row of OUTCOME_SYSTEM, so that a number from shared memory is safe. */
const struct outcome_row *outcome_row(enum outcome o);
const char *outcome_name(enum outcome o);
/* Whether a request with this method may be sent twice (RFC 9110 9.2.2). */
bool outcome_method_idempotent(const char *method, size_t len);
