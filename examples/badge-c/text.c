#include "text.h"

#include <stdlib.h>
#include <string.h>

/* A list of blocks, the newest first. One block is enough for an ordinary call, and stays for the next. */
struct block {
  struct block *older;
  size_t used, size;
  max_align_t memory[];
};
static struct block *blocks;

static void *must(void *memory) {
  /* The gateway has refused more memory: trap, and say so in its words. */
  if (!memory) __builtin_trap();
  return memory;
}

void *scratch(size_t size) {
  size = (size + sizeof(max_align_t) - 1) & -sizeof(max_align_t);
  if (!blocks || blocks->size - blocks->used < size) {
    size_t room = size > 16384 ? size : 16384;
    struct block *block = must(malloc(sizeof(struct block) + room));
    *block = (struct block){.older = blocks, .size = room};
    blocks = block;
  }
  void *memory = (uint8_t *)blocks->memory + blocks->used;
  blocks->used += size;
  return memory;
}

void scratch_reset(void) {
  while (blocks && blocks->older) {
    struct block *older = blocks->older;
    free(blocks);
    blocks = older;
  }
  if (blocks) blocks->used = 0;
}

bool text_equal(text_t a, text_t b) { return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0; }

bool text_begins(text_t text, text_t with) { return text.len >= with.len && memcmp(text.ptr, with.ptr, with.len) == 0; }

text_t text_join(const text_t *pieces, size_t count) {
  size_t len = 0;
  for (size_t i = 0; i < count; i++) len += pieces[i].len;
  text_t joined = {scratch(len), 0};
  for (size_t i = 0; i < count; i++) {
    memcpy(joined.ptr + joined.len, pieces[i].ptr, pieces[i].len);
    joined.len += pieces[i].len;
  }
  return joined;
}

bool text_utf8(text_t text) {
  for (size_t at = 0; at < text.len;) {
    uint8_t first = text.ptr[at++];
    if (first < 0x80) continue;
    int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    if (first < 0xc2 || first > 0xf4 || text.len - at < (size_t)more) return false;
    uint8_t second = text.ptr[at];
    /* Too long a form, a surrogate, or beyond the last code point. */
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) ||
        (first == 0xf4 && second > 0x8f)) return false;
    for (; more > 0; more--)
      if (text.ptr[at++] >> 6 != 2) return false;
  }
  return true;
}

text_t text_replace(text_t text, text_t from, text_t to) {
  for (size_t at = 0; at + from.len <= text.len; at++) {
    text_t rest = {text.ptr + at, text.len - at};
    if (!text_begins(rest, from)) continue;
    text_t after = {rest.ptr + from.len, rest.len - from.len};
    return TEXT_JOIN({text.ptr, at}, to, text_replace(after, from, to));
  }
  return text;
}

text_t text_decimal(uint64_t number) {
  uint8_t *end = (uint8_t *)scratch(20) + 20, *digit = end;
  do *--digit = '0' + number % 10;
  while (number /= 10);
  return (text_t){digit, end - digit};
}

bool text_number(text_t text, uint64_t *number) {
  if (text.len < 1 || text.len > 18) return false;
  *number = 0;
  for (size_t i = 0; i < text.len; i++) {
    if (text.ptr[i] < '0' || text.ptr[i] > '9') return false;
    *number = *number * 10 + (text.ptr[i] - '0');
  }
  return true;
}

text_t text_given(text_t text) {
  text_t copy = {must(malloc(text.len ? text.len : 1)), text.len};
  memcpy(copy.ptr, text.ptr, text.len);
  return copy;
}
