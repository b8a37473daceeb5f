/* Text, and memory for the time of one call. */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/badge.h"

/* A piece of text or octets. The generator's type, which names memory and its length; the memory belongs to whom the function
   says. */
typedef badge_string_t text_t;

/* Memory that lasts until the next `scratch_reset`, which each call begins with. It is not freed piece by piece. */
void *scratch(size_t size);
void scratch_reset(void);

/* A literal as text. */
#define TEXT(literal) ((text_t){(uint8_t *)(literal), sizeof(literal) - 1})

bool text_equal(text_t a, text_t b);
bool text_begins(text_t text, text_t with);

/* Pieces put together, in scratch memory: `TEXT_JOIN(TEXT("badge "), number)`. */
#define TEXT_JOIN(...) text_join((text_t[]){__VA_ARGS__}, sizeof((text_t[]){__VA_ARGS__}) / sizeof(text_t))
text_t text_join(const text_t *pieces, size_t count);

/* Whether it is UTF-8 (RFC 3629), as all text that goes to the gateway must be. */
bool text_utf8(text_t text);

/* With every `from` replaced, in scratch memory. */
text_t text_replace(text_t text, text_t from, text_t to);

/* A number in decimal digits, in scratch memory. */
text_t text_decimal(uint64_t number);

/* The number that the digits of a text are. False: it is none. */
bool text_number(text_t text, uint64_t *number);

/* A copy in memory of malloc, as all that is returned to the gateway must be: the generated code frees it. */
text_t text_given(text_t text);

#endif
