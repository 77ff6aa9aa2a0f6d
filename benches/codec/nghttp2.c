/* The codec bench's contender from libnghttp2: both ends of a connection in memory.
 *
 *   nghttp2 CASE COUNT
 *
 * Cases are those of src/main.rs, which says what each does. Prints one line of JSON: CPU
 * nanoseconds, operations, and what came out, so that nobody wins by doing less.
 */
#include <nghttp2/nghttp2.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STREAMS = 100, TOKEN_BYTES = 64, CONNECTION_WINDOW = 1 << 20, OUT_BYTES = 1 << 20 };

struct buffer {
    uint8_t bytes[OUT_BYTES];
    size_t length;
};

/* One end, and what it has seen. */
struct end {
    nghttp2_session *session;
    struct buffer out;
    uint64_t data_bytes;
    uint64_t fields;
    uint64_t heads;
};

static uint8_t token[TOKEN_BYTES];
/* Whether a stream of the server has a token to send; by id. */
static uint8_t due[1 << 16];
static int32_t open_streams[STREAMS];
static size_t opened;

static uint64_t cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void check(int status, const char *what) {
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", what, nghttp2_strerror(status));
        exit(1);
    }
}

static ssize_t read_token(nghttp2_session *session, int32_t id, uint8_t *into, size_t room,
                          uint32_t *flags, nghttp2_data_source *source, void *user) {
    (void)session, (void)flags, (void)source, (void)user;
    if (!due[id]) return NGHTTP2_ERR_DEFERRED;
    if (room < TOKEN_BYTES) return NGHTTP2_ERR_CALLBACK_FAILURE;
    due[id] = 0;
    memcpy(into, token, TOKEN_BYTES);
    return TOKEN_BYTES;
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                    size_t length, void *user) {
    (void)session, (void)flags, (void)id, (void)bytes;
    ((struct end *)user)->data_bytes += length;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
                     void *user) {
    (void)session, (void)frame, (void)name, (void)value, (void)flags;
    ((struct end *)user)->fields += name_length + value_length;
    return 0;
}

#define FIELD(NAME, VALUE)                                                                   \
    {(uint8_t *)NAME, (uint8_t *)VALUE, sizeof(NAME) - 1, sizeof(VALUE) - 1,                 \
     NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE}
#define SECRET(NAME, VALUE)                                                                  \
    {(uint8_t *)NAME, (uint8_t *)VALUE, sizeof(NAME) - 1, sizeof(VALUE) - 1,                 \
     NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE | NGHTTP2_NV_FLAG_NO_INDEX}

static nghttp2_nv request[] = {
#include "request.inc"
};
enum { REQUEST = sizeof(request) / sizeof(request[0]) };
static nghttp2_nv response[] = {
    FIELD(":status", "200"),
    FIELD("server", "sim"),
    FIELD("content-type", "text/event-stream; charset=utf-8"),
    FIELD("cache-control", "no-cache"),
};
enum { RESPONSE = sizeof(response) / sizeof(response[0]) };

static void reply(struct end *end, nghttp2_session *session, int32_t id, int stream) {
    nghttp2_data_provider provider = {.source = {.ptr = end}, .read_callback = read_token};
    check(nghttp2_submit_response(session, id, response, RESPONSE, stream ? &provider : NULL),
          "submit_response");
}

static int streaming;

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    struct end *end = user;
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    end->heads++;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        if (streaming) open_streams[opened++] = frame->hd.stream_id;
        reply(end, session, frame->hd.stream_id, streaming);
    }
    return 0;
}

static void begin(struct end *end, int server) {
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    end->out.length = 0;
    end->data_bytes = end->fields = end->heads = 0;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_option_new(&option);
    /* Closed streams are not kept for the priority tree that RFC 9113 gave up. */
    nghttp2_option_set_no_closed_streams(option, 1);
    if (server) {
        check(nghttp2_session_server_new2(&end->session, callbacks, end, option), "server");
    } else {
        check(nghttp2_session_client_new2(&end->session, callbacks, end, option), "client");
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    check(nghttp2_submit_settings(end->session, NGHTTP2_FLAG_NONE, settings, 2), "settings");
    check(nghttp2_session_set_local_window_size(end->session, NGHTTP2_FLAG_NONE, 0,
                                                CONNECTION_WINDOW),
          "window");
}

/* Everything that an end has to say, in one buffer, to the other end. */
static void move(struct end *from, struct end *to) {
    from->out.length = 0;
    for (;;) {
        const uint8_t *bytes;
        ssize_t length = nghttp2_session_mem_send(from->session, &bytes);
        check((int)length, "mem_send");
        if (length == 0) break;
        if (from->out.length + (size_t)length > OUT_BYTES) abort();
        memcpy(from->out.bytes + from->out.length, bytes, (size_t)length);
        from->out.length += (size_t)length;
    }
    if (from->out.length) {
        ssize_t taken = nghttp2_session_mem_recv(to->session, from->out.bytes, from->out.length);
        check((int)taken, "mem_recv");
        if ((size_t)taken != from->out.length) abort();
    }
}

static void connect_ends(struct end *client, struct end *server) {
    begin(client, 0);
    begin(server, 1);
    move(client, server);
    move(server, client);
    move(client, server);
}

static void forget(struct end *client, struct end *server) {
    nghttp2_session_del(client->session);
    nghttp2_session_del(server->session);
}

/* The last two fields differ from request to request: sixteen digits of them. */
static void number_request(uint64_t number) {
    static char trace[] = "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01";
    static char id[] = "req-0000000000000000";
    uint64_t mixed = number * 0x9E3779B97F4A7C15u;
    for (int i = 0; i < 16; i++, mixed >>= 4) {
        trace[36 + i] = id[4 + i] = "0123456789abcdef"[mixed & 15];
    }
    request[REQUEST - 2].value = (uint8_t *)trace;
    request[REQUEST - 1].value = (uint8_t *)id;
}

static void ask(struct end *client, uint64_t number) {
    number_request(number);
    check(nghttp2_submit_request(client->session, NULL, request, REQUEST, NULL, NULL), "request");
}

static struct end client, server;

static uint64_t tokens(uint64_t count) {
    streaming = 1;
    connect_ends(&client, &server);
    for (size_t i = 0; i < STREAMS; i++) ask(&client, i);
    move(&client, &server);
    move(&server, &client);
    uint64_t began = cpu_ns();
    for (uint64_t sent = 0; sent < count; sent += STREAMS) {
        for (size_t i = 0; i < STREAMS; i++) {
            due[open_streams[i]] = 1;
            check(nghttp2_session_resume_data(server.session, open_streams[i]), "resume_data");
        }
        move(&server, &client);
        move(&client, &server);
    }
    return cpu_ns() - began;
}

static uint64_t steady(uint64_t count) {
    connect_ends(&client, &server);
    uint64_t began = 0;
    for (uint64_t i = 0; i < count + 100; i++) {
        if (i == 100) began = cpu_ns();
        ask(&client, i);
        move(&client, &server);
        move(&server, &client);
    }
    return cpu_ns() - began;
}

static uint64_t first(uint64_t count, int asks) {
    uint64_t began = cpu_ns();
    for (uint64_t i = 0; i < count; i++) {
        uint64_t fields = server.fields, heads = server.heads + client.heads;
        connect_ends(&client, &server);
        if (asks) {
            ask(&client, i);
            move(&client, &server);
            move(&server, &client);
        }
        forget(&client, &server);
        server.fields += fields;
        server.heads += heads;
    }
    return cpu_ns() - began;
}

static uint64_t block(nghttp2_hd_deflater *deflater, nghttp2_hd_inflater *inflater,
                      uint64_t number) {
    static uint8_t room[4096];
    uint64_t fields = 0;
    number_request(number);
    ssize_t written = nghttp2_hd_deflate_hd(deflater, room, sizeof room, request, REQUEST);
    check((int)written, "deflate");
    const uint8_t *at = room, *end = room + written;
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t taken = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, at, (size_t)(end - at), 1);
        check((int)taken, "inflate");
        at += taken;
        if (flags & NGHTTP2_HD_INFLATE_EMIT) fields += nv.namelen + nv.valuelen;
        if (flags & NGHTTP2_HD_INFLATE_FINAL) break;
    }
    nghttp2_hd_inflate_end_headers(inflater);
    return fields;
}

static uint64_t hpack(uint64_t count, int fresh) {
    nghttp2_hd_deflater *deflater = NULL;
    nghttp2_hd_inflater *inflater = NULL;
    uint64_t began = cpu_ns();
    for (uint64_t i = 0; i < count + 100; i++) {
        if (i == 100) began = cpu_ns();
        if (fresh || !deflater) {
            if (deflater) nghttp2_hd_deflate_del(deflater);
            if (inflater) nghttp2_hd_inflate_del(inflater);
            check(nghttp2_hd_deflate_new(&deflater, 4096), "deflate_new");
            check(nghttp2_hd_inflate_new(&inflater), "inflate_new");
        }
        uint64_t fields = block(deflater, inflater, i);
        if (i >= 100) server.fields += fields;
    }
    return cpu_ns() - began;
}

int main(int arguments, char **argument) {
    if (arguments != 3) {
        fprintf(stderr, "usage: nghttp2 tokens|head_steady|head_first|connect|"
                        "hpack_steady|hpack_first COUNT\n");
        return 2;
    }
    const char *name = argument[1];
    uint64_t count = strtoull(argument[2], NULL, 10), ns;
    memset(token, 'x', sizeof token);
    if (!strcmp(name, "tokens")) ns = tokens(count);
    else if (!strcmp(name, "head_steady")) ns = steady(count);
    else if (!strcmp(name, "head_first")) ns = first(count, 1);
    else if (!strcmp(name, "connect")) ns = first(count, 0);
    else if (!strcmp(name, "hpack_steady")) ns = hpack(count, 0);
    else if (!strcmp(name, "hpack_first")) ns = hpack(count, 1);
    else return 2;
    printf("{\"ns\": %llu, \"count\": %llu, \"data_bytes\": %llu, \"field_bytes\": %llu, "
           "\"version\": \"%s\"}\n",
           (unsigned long long)ns, (unsigned long long)count, (unsigned long long)client.data_bytes,
           (unsigned long long)server.fields, nghttp2_version(0)->version_str);
    return 0;
}
