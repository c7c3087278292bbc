/* SETTINGS, WINDOW_UPDATE, PRIORITY and the first HEADERS of a client. */
#include "tools/h2_frames.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>

#include "common/cursor.h"

static void take_settings(struct h2_frames *f, struct cursor c)
{
    while (c.left >= 6) {
        unsigned id = cursor_u16(&c);
        buffer_printf(&f->settings, "%s%u:%u", f->settings.len ? ";" : "", id, cursor_number(&c, 4));
    }
}

static void take_priority(struct h2_frames *f, unsigned stream_id, struct cursor c)
{
    uint32_t on = cursor_number(&c, 4);
    unsigned weight = cursor_u8(&c) + 1u;

    buffer_printf(&f->priorities, "%s%u:%u:%u:%u", f->priorities.len ? "," : "", stream_id, on >> 31, on & 0x7fffffff,
                  weight);
}

static bool is_printable(const uint8_t *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] < 0x20 || text[i] == 0x7f)
            return false;
    }
    return len > 0;
}

static void take_field(struct h2_frames *f, const nghttp2_nv *field)
{
    if (field->namelen > 1 && field->name[0] == ':') {
        buffer_printf(&f->pseudo, "%s%c", f->pseudo.len ? "," : "", field->name[1]);
    } else if (is_printable(field->name, field->namelen) && is_printable(field->value, field->valuelen)) {
        buffer_append(&f->fields, field->name, field->namelen);
        buffer_append(&f->fields, ": ", 2);
        buffer_append(&f->fields, field->value, field->valuelen);
        buffer_append_char(&f->fields, '\n');
    }
}

static void take_headers(struct h2_frames *f, unsigned flags, struct cursor c)
{
    nghttp2_hd_inflater *inflater;
    nghttp2_nv field;
    int done = 0;

    size_t padding = flags & NGHTTP2_FLAG_PADDED ? cursor_u8(&c) : 0;
    if (flags & NGHTTP2_FLAG_PRIORITY) {
        uint32_t on = cursor_number(&c, 4);
        unsigned weight = cursor_u8(&c) + 1u;
        snprintf(f->request_priority, sizeof f->request_priority, "%u:%u:%u", on & 0x7fffffff, on >> 31, weight);
    }
    f->has_request = true;
    if (c.bad || padding > c.left || nghttp2_hd_inflate_new(&inflater) != 0)
        return;
    c.left -= padding;
    while (!(done & NGHTTP2_HD_INFLATE_FINAL)) {
        ssize_t n = nghttp2_hd_inflate_hd2(inflater, &field, &done, c.at, c.left, 1);
        if (n < 0 || (n == 0 && !(done & (NGHTTP2_HD_INFLATE_EMIT | NGHTTP2_HD_INFLATE_FINAL))))
            break;
        cursor_take(&c, (size_t)n);
        if (done & NGHTTP2_HD_INFLATE_EMIT)
            take_field(f, &field);
    }
    nghttp2_hd_inflate_del(inflater);
}

bool h2_frames_read(const void *data, size_t len, struct h2_frames *f)
{
    struct cursor c = cursor_of(data, len);

    snprintf(f->request_priority, sizeof f->request_priority, "0:0:0");
    cursor_take(&c, H2_PREFACE_LEN);
    while (!f->has_request) {
        size_t frame_len = cursor_number(&c, 3);
        unsigned type = cursor_u8(&c);
        unsigned flags = cursor_u8(&c);
        unsigned stream_id = cursor_number(&c, 4);
        const uint8_t *at = cursor_take(&c, frame_len);
        if (c.bad)
            break;
        struct cursor body = cursor_of(at, frame_len);
        if (type == NGHTTP2_SETTINGS && !(flags & NGHTTP2_FLAG_ACK))
            take_settings(f, body);
        else if (type == NGHTTP2_WINDOW_UPDATE && stream_id == 0)
            f->window_update = cursor_number(&body, 4) & 0x7fffffff;
        else if (type == NGHTTP2_PRIORITY)
            take_priority(f, stream_id, body);
        else if (type == NGHTTP2_HEADERS)
            take_headers(f, flags, body);
    }
    return f->has_request;
}

void h2_frames_fini(struct h2_frames *f)
{
    buffer_fini(&f->settings);
    buffer_fini(&f->priorities);
    buffer_fini(&f->pseudo);
    buffer_fini(&f->fields);
}
