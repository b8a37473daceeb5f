#include "json.h"

#include <string.h>

json_t json_of(text_t text) { return (json_t){.at = text.ptr, .end = text.ptr + text.len}; }

uint8_t json_kind(json_t *in) {
  while (in->at < in->end && strchr(" \t\r\n", *in->at) && *in->at) in->at++;
  return in->bad || in->at == in->end ? 0 : *in->at;
}

static bool take(json_t *in, uint8_t what) {
  if (json_kind(in) != what || !what) return in->bad = true, false;
  in->at++;
  return true;
}

static void word(json_t *in, text_t what) {
  text_t rest = {(uint8_t *)in->at, in->end - in->at};
  if (json_kind(in) != what.ptr[0] || !text_begins(rest, what)) in->bad = true;
  else in->at += what.len;
}

bool json_begin(json_t *in, char opening) {
  /* Deeper than this is nobody's badge, and the stack is small. */
  if (!take(in, opening) || ++in->depth > 32) return in->bad = true, false;
  if (json_kind(in) != opening + 2) return !in->bad;
  in->depth--;
  return take(in, opening + 2), false;
}

bool json_more(json_t *in, char closing) {
  if (json_kind(in) == ',') return take(in, ',');
  in->depth--;
  return take(in, closing), false;
}

text_t json_key(json_t *in) {
  text_t key = json_text(in);
  take(in, ':');
  return key;
}

static unsigned hex4(json_t *in) {
  unsigned value = 0;
  for (int i = 0; i < 4; i++) {
    const char *digits = "0123456789abcdef", *digit = NULL;
    if (in->at < in->end && *in->at) digit = strchr(digits, *in->at | 0x20);
    if (!digit) return in->bad = true, 0;
    value = value * 16 + (unsigned)(digit - digits);
    in->at++;
  }
  return value;
}

/* What follows a backslash, as UTF-8. */
static uint8_t *escaped(json_t *in, uint8_t *out) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  uint8_t letter = in->at < in->end ? *in->at++ : 0;
  const char *simple = letter ? strchr(from, letter) : NULL;
  if (simple) return *out++ = to[simple - from], out;
  if (letter != 'u') return in->bad = true, out;
  unsigned code = hex4(in);
  if (code >= 0xd800 && code < 0xdc00 && in->end - in->at >= 2 && in->at[0] == '\\' && in->at[1] == 'u') {
    in->at += 2;
    unsigned low = hex4(in);
    if (low < 0xdc00 || low > 0xdfff) in->bad = true;
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  } else if (code >= 0xd800 && code < 0xe000) {
    in->bad = true;
  }
  if (code < 0x80) return *out++ = code, out;
  if (code < 0x800) return *out++ = 0xc0 | code >> 6, *out++ = 0x80 | (code & 63), out;
  if (code < 0x10000) *out++ = 0xe0 | code >> 12;
  else *out++ = 0xf0 | code >> 18, *out++ = 0x80 | (code >> 12 & 63);
  return *out++ = 0x80 | (code >> 6 & 63), *out++ = 0x80 | (code & 63), out;
}

text_t json_text(json_t *in) {
  if (!take(in, '"')) return TEXT("");
  /* No escape grows: what is left is room enough, and usually the end is near. */
  const uint8_t *end = in->at;
  while (end < in->end && *end != '"') end += *end == '\\' ? 2 : 1;
  if (end >= in->end) return in->bad = true, TEXT("");
  text_t text = {scratch(end - in->at), 0};
  uint8_t *out = text.ptr;
  while (!in->bad && in->at < end) {
    uint8_t octet = *in->at++;
    if (octet < 0x20) in->bad = true;
    if (octet == '\\') out = escaped(in, out);
    else *out++ = octet;
  }
  text.len = out - text.ptr;
  take(in, '"');
  return text;
}

bool json_bool(json_t *in) {
  bool value = json_kind(in) == 't';
  word(in, value ? TEXT("true") : TEXT("false"));
  return value;
}

static void digits(json_t *in) {
  const uint8_t *begin = in->at;
  while (in->at < in->end && *in->at >= '0' && *in->at <= '9') in->at++;
  if (in->at == begin) in->bad = true;
}

static void number(json_t *in) {
  if (*in->at == '-') in->at++;
  if (in->at < in->end && *in->at == '0') in->at++;
  else digits(in);
  if (in->at < in->end && *in->at == '.') in->at++, digits(in);
  if (in->at < in->end && (*in->at | 0x20) == 'e') {
    in->at++;
    if (in->at < in->end && (*in->at == '+' || *in->at == '-')) in->at++;
    digits(in);
  }
}

uint64_t json_whole(json_t *in) {
  uint64_t value = 0;
  if (!json_kind(in)) return in->bad = true, 0;
  const uint8_t *begin = in->at;
  number(in);
  if (!text_number((text_t){(uint8_t *)begin, in->at - begin}, &value)) in->bad = true;
  return value;
}

void json_skip(json_t *in) {
  switch (json_kind(in)) {
    case '{':
      for (bool more = json_begin(in, '{'); more; more = json_more(in, '}')) json_key(in), json_skip(in);
      break;
    case '[':
      for (bool more = json_begin(in, '['); more; more = json_more(in, ']')) json_skip(in);
      break;
    case '"': json_text(in); break;
    case 't': word(in, TEXT("true")); break;
    case 'f': word(in, TEXT("false")); break;
    case 'n': word(in, TEXT("null")); break;
    case 0: in->bad = true; break;
    default: number(in);
  }
}

bool json_done(json_t *in) { return !json_kind(in) && !in->bad && in->at == in->end; }
