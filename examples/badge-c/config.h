/* The configuration: read strictly, so that a typing error is an error of the self-test and not a hole. */
#ifndef CONFIG_H
#define CONFIG_H

#include "text.h"

#define RULES_MAX 64

/* A rule whose filter has places for the badge. Without a role it is for every badge. */
typedef struct {
  bool has_role;
  text_t role;
  bool deny;
  uint8_t actions;
  text_t filter;
  uint64_t max_qos;
} rule_t;

typedef struct {
  text_t lookup_url;           /* The badge's number is appended to it. */
  uint64_t fresh;              /* Seconds for which an answer of the service is used without asking again. */
  uint64_t stale;              /* Seconds for which it may be used while the service is away. */
  uint64_t unknown;            /* Seconds for which an unknown badge is not asked for again. */
  uint64_t logins_per_hour, publish_per_second;
  rule_t rules[RULES_MAX];
  size_t rule_count;
} config_t;

/* Reads it. The text that is returned is empty, or says what is wrong, in scratch memory. The texts of `config` are pieces that
   `config_keep` makes lasting. */
text_t config_read(text_t json, config_t *config);
void config_keep(config_t *config);

#endif
