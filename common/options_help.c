/* What the table of options says to people: the options part of --help, and the README's tables. */
#include "common/options.h"
#include "common/options_rows.h"

#define HELP_WIDTH_MAX   100
#define HELP_TEXT_COLUMN 34

static const char notes[] =
    "TIME is in seconds (30, 0.5) or has a unit (250ms, 30s, 2m, 1h); SIZE is in bytes or has a unit (64K, 10M, 1G, in "
    "powers of 1024). --no-NAME turns a switch off. A LIST is given item by item; an empty value empties it.";
static const char layers_note[] =
    "The same options stand in TOML files, a heading above being the table and the key NAME with '_' for '-', and in "
    "variables, HOTFLEET_TABLE_NAME in upper case, where newlines separate the items of a LIST. What comes later wins: "
    "/etc/hotfleet/config.toml, $XDG_CONFIG_HOME/hotfleet/config.toml, ./config.toml, --config FILE, variables, flags. "
    "A "
    "preset stands under all of them, wherever it is named.";

/* Columns that UTF-8 text takes on a terminal, near enough. */
static size_t text_columns(const char *text, size_t len)
{
    size_t columns = 0;

    for (size_t i = 0; i < len; i++)
        columns += ((unsigned char)text[i] & 0xc0) != 0x80;
    return columns;
}

/* Appends words from `column` on, and goes on at `indent` where a line would get too wide. */
static void help_wrap(const char *text, size_t column, size_t indent, struct buffer *out)
{
    bool first = true;

    while (*text) {
        size_t len = strcspn(text, " ");
        size_t columns = text_columns(text, len);
        if (!first && column + 1 + columns > HELP_WIDTH_MAX) {
            buffer_printf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (!first) {
            buffer_append_char(out, ' ');
            column++;
        }
        buffer_append(out, text, len);
        column += columns;
        text += len + (text[len] == ' ');
        first = false;
    }
    buffer_append_char(out, '\n');
}

static void help_print_line(const char *flags, const char *text, struct buffer *out)
{
    size_t column = strlen(flags);

    buffer_append_str(out, flags);
    if (column + 2 > HELP_TEXT_COLUMN) {
        buffer_append_char(out, '\n');
        column = 0;
    }
    buffer_printf(out, "%*s", (int)(HELP_TEXT_COLUMN - column), "");
    help_wrap(text, HELP_TEXT_COLUMN, HELP_TEXT_COLUMN, out);
}

static void flags_print_one(const char *flag, size_t len, struct buffer *out)
{
    buffer_append_str(out, out->len ? ", " : "");
    buffer_append(out, flag, len);
}

/* Short flags, the option's own long flag, other long flags: "-m, --max-time". */
static void flags_print(const struct option_row *row, struct buffer *out)
{
    char own[OPTION_NAME_MAX];
    const char *flag;
    size_t len;

    for (const char *cursor = row->flag; option_flag_next(&cursor, &flag, &len);) {
        if (len == 2)
            flags_print_one(flag, len, out);
    }
    option_long_flag(row, own);
    flags_print_one(own, strlen(own), out);
    for (const char *cursor = row->flag; option_flag_next(&cursor, &flag, &len);) {
        if (len > 2)
            flags_print_one(flag, len, out);
    }
}

static const char *argument_name(const struct option_row *row)
{
    static const char *const names[] = {
        [OPTION_BOOL] = "",      [OPTION_INT] = " N",       [OPTION_COUNT] = " N|auto", [OPTION_DURATION] = " TIME",
        [OPTION_SIZE] = " SIZE", [OPTION_STRING] = " TEXT", [OPTION_LIST] = " ITEM",    [OPTION_CHOICE] = " ",
    };
    return names[row->type];
}

static void help_print_row(const struct option_row *row, struct buffer *out)
{
    struct buffer flags = {0};
    struct buffer text = {0};
    struct buffer line = {0};

    flags_print(row, &flags);
    buffer_append_str(&line, flags.data[1] == '-' ? "      " : "  ");
    buffer_append(&line, flags.data, flags.len);
    buffer_printf(&line, "%s%s", argument_name(row), row->choices ? row->choices : "");
    buffer_append_char(&line, '\0');
    buffer_append_str(&text, row->help);
    /* A switch is off, a text empty, unless said. */
    if (row->fallback[0] && strcmp(row->fallback, "false") != 0)
        buffer_printf(&text, " [%s]", row->fallback);
    buffer_append_char(&text, '\0');
    help_print_line(line.data, text.data, out);
    buffer_fini(&flags);
    buffer_fini(&text);
    buffer_fini(&line);
}

void options_print_help(struct buffer *out)
{
    buffer_append_str(out, "General:\n");
    help_print_line("  -h, --help", "show this text", out);
    help_print_line("  -V, --version", "show the version", out);
    help_print_line("      --config FILE", "read this TOML file after the usual ones", out);
    for (size_t i = 0; i < option_rows_count; i++) {
        const char *category = option_rows[i].category;
        if (!option_opens_category(i))
            continue;
        buffer_printf(out, "\n[%s]\n", category);
        for (size_t j = i; j < option_rows_count; j++) {
            if (strcmp(option_rows[j].category, category) == 0)
                help_print_row(&option_rows[j], out);
        }
    }
    buffer_append_char(out, '\n');
    help_wrap(notes, 0, 0, out);
    buffer_append_char(out, '\n');
    help_wrap(layers_note, 0, 0, out);
    for (size_t i = 0; i < option_aliases_count; i++)
        buffer_printf(out, "%s is another name of the variable for %s.\n", option_aliases[i].variable,
                      option_aliases[i].name);
}

/* A bar would end the cell. */
static void cell_print(const char *text, size_t len, struct buffer *out)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '|')
            buffer_append_char(out, '\\');
        buffer_append_char(out, text[i]);
    }
}

static void markdown_print_row(const struct option_row *row, struct buffer *out)
{
    struct buffer flags = {0};
    struct buffer range = {0};

    flags_print(row, &flags);
    option_print_range(row, &range);
    buffer_printf(out, "| `%s` | `", option_key(row));
    for (size_t i = 0; i < flags.len; i++) {
        if (flags.data[i] != ',')
            buffer_append_char(out, flags.data[i]);
        else if (++i)
            buffer_append_str(out, "` `");
    }
    buffer_append_str(out, "` | ");
    if (row->fallback[0])
        buffer_printf(out, "`%s`", row->fallback);
    buffer_append_str(out, " | ");
    buffer_append(out, range.data, range.len);
    buffer_append_str(out, " | ");
    cell_print(row->help, strlen(row->help), out);
    buffer_append_str(out, " |\n");
    buffer_fini(&flags);
    buffer_fini(&range);
}

static void markdown_print_live(struct buffer *out)
{
    const char *between = "\nThese may change while the fleet runs, by `hotfleet ctl set` or `reload`: ";

    for (size_t i = 0; i < option_rows_count; i++) {
        if (!option_rows[i].live)
            continue;
        buffer_printf(out, "%s`%s`", between, option_rows[i].name);
        between = ", ";
    }
    buffer_append_str(out, ".\n");
}

void options_print_markdown(struct buffer *out)
{
    for (size_t i = 0; i < option_rows_count; i++) {
        const char *category = option_rows[i].category;
        if (!option_opens_category(i))
            continue;
        buffer_printf(out, "### [%s]\n\n", category);
        buffer_append_str(out, "| option | flag | default | range | what it does |\n|---|---|---|---|---|\n");
        for (size_t j = i; j < option_rows_count; j++) {
            if (strcmp(option_rows[j].category, category) == 0)
                markdown_print_row(&option_rows[j], out);
        }
        buffer_append_char(out, '\n');
    }
    buffer_printf(out, "%s\n\n%s\n", notes, layers_note);
    markdown_print_live(out);
    for (size_t i = 0; i < option_aliases_count; i++)
        buffer_printf(out, "%s`%s` is another name of the variable for `%s`.\n", i ? "" : "\n",
                      option_aliases[i].variable, option_aliases[i].name);
}
