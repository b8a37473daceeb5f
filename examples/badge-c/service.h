/* The badge service, and what is remembered of its answers.

   An entry of the store is `<seconds>\n<answer>`: when the service said it, and the JSON that it said; nothing after the line's
   end for a badge that it does not know. All languages write it alike, so that a swap keeps what is remembered. */
#ifndef SERVICE_H
#define SERVICE_H

#include "config.h"

#define LIST_MAX 32

/* Working hours, in seconds since 1970. */
typedef struct {
  uint64_t from, to;
} shift_t;

/* What the service knows of a badge. It may say more, which is not for us; of more than LIST_MAX elements it makes no sense. */
typedef struct {
  text_t tenant, site;
  text_t roles[LIST_MAX], secrets[LIST_MAX];
  shift_t shifts[LIST_MAX];
  size_t role_count, secret_count, shift_count;
  bool blocked;
} badge_t;

typedef enum { FOUND, UNKNOWN, AWAY } lookup_t;

/* Asks the store, then the service, then the store again if the service is away. FOUND: `said` is where the entry came from,
   `service`, `cache` or `stale`. AWAY: it is why. */
lookup_t look_up(const config_t *config, text_t number, uint64_t now, badge_t *badge, text_t *said);

/* What an error of the store is called. */
text_t store_words(const portcullis_policy_store_error_t *error);

#endif
