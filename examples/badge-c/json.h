/* Reading JSON (RFC 8259) from beginning to end. A reader that finds an error stays `bad`, so that it is enough to look once, at
   the end:

     for (bool more = json_begin(&in, '{'); more; more = json_more(&in, '}')) {
       text_t key = json_key(&in);
       if (text_equal(key, TEXT("site"))) site = json_text(&in); else json_skip(&in);
     } */
#ifndef JSON_H
#define JSON_H

#include "text.h"

typedef struct {
  const uint8_t *at, *end;
  bool bad;
  int depth;
} json_t;

json_t json_of(text_t text);

/* What the next value begins with: `{`, `[`, `"`, `t`, `f`, `n`, `-`, a digit; or 0 at the end. */
uint8_t json_kind(json_t *in);

/* Enters an object or array. False: it is empty, and left again. */
bool json_begin(json_t *in, char opening);

/* True: one more element follows. False: the object or array is left. */
bool json_more(json_t *in, char closing);

text_t json_key(json_t *in);
text_t json_text(json_t *in);
bool json_bool(json_t *in);
uint64_t json_whole(json_t *in);
void json_skip(json_t *in);

/* Whether everything was read, and was JSON of the kinds that were asked for. */
bool json_done(json_t *in);

#endif
