/* The badge policy in C. What it does is written in ../README.md; config.c reads the configuration, service.c asks the badge
   service and remembers its answers, and this file decides. */
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "service.h"
#include "sha256.h"

typedef exports_portcullis_policy_authentication_connection_t connection_t;
typedef exports_portcullis_policy_authentication_credentials_t credentials_t;
typedef exports_portcullis_policy_authentication_verdict_t verdict_t;
typedef portcullis_policy_types_denial_t denial_t;
typedef portcullis_policy_types_grant_t grant_t;

static const char SCHEMA[] = {
#embed "../config.schema.json"
};

/* The configuration does not change while an instance lives: it is read once. Empty: it is good. */
static text_t configured(const config_t **config) {
  static config_t kept;
  static text_t wrong;
  static bool done;
  if (!done) {
    text_t json;
    portcullis_policy_config_json(&json);
    wrong = text_given(config_read(json, &kept));
    if (!wrong.len) config_keep(&kept);
    badge_string_free(&json);
    done = true;
  }
  *config = &kept;
  return wrong;
}

void exports_portcullis_policy_descriptor_describe(exports_portcullis_policy_descriptor_description_t *description) {
  scratch_reset();
  badge_string_t *scheme = malloc(sizeof *scheme);
  if (!scheme) __builtin_trap();
  *scheme = text_given(TEXT("badge"));
  *description = (exports_portcullis_policy_descriptor_description_t){
      .name = text_given(TEXT("badge")),
      .version = text_given(TEXT("1.0.0")),
      .summary = text_given(TEXT("Admits badge holders of the plant during their shifts.")),
      .schemes = {scheme, 1},
      .config_schema = text_given((text_t){(uint8_t *)SCHEMA, sizeof SCHEMA}),
  };
}

bool exports_portcullis_policy_descriptor_self_test(badge_string_t *error) {
  const config_t *config;
  scratch_reset();
  text_t wrong = configured(&config);
  if (wrong.len) *error = text_given(wrong);
  return !wrong.len;
}

/* Fills in a refusal. `message` is for the client, and may be NULL. */
static denial_t *deny(verdict_t *verdict, portcullis_policy_types_deny_reason_t reason, text_t detail, const char *message) {
  verdict->tag = PORTCULLIS_POLICY_TYPES_VERDICT_DENY;
  denial_t *denial = &verdict->val.deny;
  *denial = (denial_t){.reason = reason, .detail = text_given(detail)};
  if (message) denial->message = (badge_option_string_t){true, text_given((text_t){(uint8_t *)message, strlen(message)})};
  return denial;
}
#define REASON(name) PORTCULLIS_POLICY_TYPES_DENY_REASON_##name

static void retry_after(denial_t *denial, uint64_t seconds) {
  denial->retry_after = (badge_option_u32_t){true, (uint32_t)seconds};
}

/* 1 to 12 digits. */
static bool is_number(text_t text) {
  uint64_t number;
  return text.len <= 12 && text_number(text, &number);
}

/* Takes a word of lower-case letters and digits that ends at `-` off the beginning. What is no such word never reaches a rule. */
static bool take_word(text_t *rest, text_t *word) {
  size_t len = 0;
  while (len < rest->len && ((rest->ptr[len] >= 'a' && rest->ptr[len] <= 'z') || (rest->ptr[len] >= '0' && rest->ptr[len] <= '9'))) len++;
  if (len < 1 || len > 32 || len == rest->len || rest->ptr[len] != '-') return false;
  *word = (text_t){rest->ptr, len};
  *rest = (text_t){rest->ptr + len + 1, rest->len - len - 1};
  return true;
}

/* Compares in a time that does not tell where the two differ. */
static bool same(text_t a, text_t b) {
  uint8_t all = 0;
  if (a.len != b.len) return false;
  for (size_t i = 0; i < a.len; i++) all |= a.ptr[i] ^ b.ptr[i];
  return !all;
}

/* Whether the PIN or the badge's token is right. The service gives `salt$SHA-256(salt, secret)`, in hexadecimal. */
static bool opens(const badge_t *badge, text_t secret) {
  bool right = false;
  for (size_t i = 0; i < badge->secret_count; i++) {
    text_t known = badge->secrets[i];
    uint8_t *mark = memchr(known.ptr, '$', known.len);
    if (!mark) continue;
    text_t salt = {known.ptr, mark - known.ptr}, digest = {mark + 1, known.ptr + known.len - (mark + 1)};
    right |= same(sha256_hex(TEXT_JOIN(salt, secret)), digest);
  }
  return right;
}

/* One login more in this hour. Attempts with a wrong PIN count as well: there are only ten thousand PINs. */
static bool count_login(const config_t *config, text_t number, text_t badge, uint64_t now, verdict_t *verdict) {
  uint64_t hour = now / 3600;
  text_t key = TEXT_JOIN(TEXT("logins:"), number, TEXT(":"), text_decimal(hour));
  uint32_t ttl = 3600;
  int64_t count;
  portcullis_policy_store_error_t error;
  if (!portcullis_policy_store_increment(&key, 1, &ttl, &count, &error)) {
    deny(verdict, REASON(UNAVAILABLE), TEXT_JOIN(badge, TEXT(": logins cannot be counted: "), store_words(&error)), NULL);
    portcullis_policy_store_error_free(&error);
    return false;
  }
  if ((uint64_t)count <= config->logins_per_hour) return true;
  text_t detail = TEXT_JOIN(badge, TEXT(": more than "), text_decimal(config->logins_per_hour), TEXT(" logins in this hour"));
  retry_after(deny(verdict, REASON(QUOTA_EXCEEDED), detail, "too many logins with this badge"), (hour + 1) * 3600 - now);
  return false;
}

/* When the shift ends that goes on now. */
static bool end_of_shift(const badge_t *entry, text_t badge, uint64_t now, uint64_t *ends, verdict_t *verdict) {
  uint64_t next = UINT64_MAX;
  *ends = 0;
  for (size_t i = 0; i < entry->shift_count; i++) {
    shift_t shift = entry->shifts[i];
    if (shift.from <= now && now < shift.to && shift.to > *ends) *ends = shift.to;
    if (shift.from > now && shift.from < next) next = shift.from;
  }
  if (*ends) return true;
  denial_t *denial = deny(verdict, REASON(NOT_AUTHORIZED), TEXT_JOIN(badge, TEXT(" has no shift now")), "outside of the shift");
  if (next - now <= UINT32_MAX) retry_after(denial, next - now);
  return false;
}

static bool has_role(const badge_t *entry, text_t role) {
  for (size_t i = 0; i < entry->role_count; i++)
    if (text_equal(entry->roles[i], role)) return true;
  return false;
}

/* The rules of the badge's roles. False: none of them allows anything. */
static bool add_rules(const config_t *config, const badge_t *entry, text_t tenant, text_t site, text_t number, grant_t *grant) {
  bool allows = false;
  grant->rules.ptr = malloc(config->rule_count * sizeof *grant->rules.ptr);
  if (!grant->rules.ptr) __builtin_trap();
  for (size_t i = 0; i < config->rule_count; i++) {
    const rule_t *rule = &config->rules[i];
    if (rule->has_role && !has_role(entry, rule->role)) continue;
    allows |= !rule->deny;
    text_t filter = text_replace(rule->filter, TEXT("{tenant}"), tenant);
    filter = text_replace(text_replace(filter, TEXT("{site}"), site), TEXT("{badge}"), number);
    grant->rules.ptr[grant->rules.len++] = (portcullis_policy_types_rule_t){
        .effect = rule->deny ? PORTCULLIS_POLICY_TYPES_EFFECT_DENY : PORTCULLIS_POLICY_TYPES_EFFECT_ALLOW,
        .actions = rule->actions,
        .filter = text_given(filter),
        .max_qos = (portcullis_policy_types_qos_t)rule->max_qos,
    };
  }
  return allows;
}

static void add_identity(const badge_t *entry, text_t tenant, text_t site, text_t number, text_t source, grant_t *grant) {
  portcullis_policy_types_identity_t *identity = &grant->identity;
  identity->scheme = text_given(TEXT("badge"));
  identity->subject = text_given(number);
  identity->tenant = (badge_option_string_t){true, text_given(tenant)};
  identity->roles.ptr = malloc((entry->role_count + 1) * sizeof *identity->roles.ptr);
  identity->attributes.ptr = malloc(2 * sizeof *identity->attributes.ptr);
  if (!identity->roles.ptr || !identity->attributes.ptr) __builtin_trap();
  for (size_t i = 0; i < entry->role_count; i++) identity->roles.ptr[identity->roles.len++] = text_given(entry->roles[i]);
  identity->attributes.ptr[0] = (badge_tuple2_string_string_t){text_given(TEXT("site")), text_given(site)};
  identity->attributes.ptr[1] = (badge_tuple2_string_string_t){text_given(TEXT("lookup")), text_given(source)};
  identity->attributes.len = 2;
}

static void decide(const credentials_t *credentials, verdict_t *verdict) {
  text_t number = credentials->username.val, secret = {credentials->password.val.ptr, credentials->password.val.len};
  /* Not ours: no badge number, no secret, or an authentication method of MQTT 5. */
  verdict->tag = PORTCULLIS_POLICY_TYPES_VERDICT_PASS;
  if (credentials->method.is_some || !credentials->username.is_some || !credentials->password.is_some || !is_number(number)) return;
  const config_t *config;
  text_t wrong = configured(&config);
  if (wrong.len) {
    deny(verdict, REASON(UNAVAILABLE), TEXT_JOIN(TEXT("the configuration is wrong: "), wrong), NULL);
    return;
  }
  text_t badge = TEXT_JOIN(TEXT("badge "), number), rest = credentials->client_id, tenant, site;
  if (!take_word(&rest, &tenant) || !take_word(&rest, &site) || !text_equal(rest, number)) {
    deny(verdict, REASON(CLIENT_ID_NOT_VALID), TEXT_JOIN(badge, TEXT(": the client identifier is not <tenant>-<site>-"), number),
         "the client identifier must be <tenant>-<site>-<badge>");
    return;
  }

  uint64_t now = portcullis_policy_clock_now(), ends;
  badge_t entry;
  text_t said;
  switch (look_up(config, number, now, &entry, &said)) {
    case FOUND: break;
    case UNKNOWN:
      deny(verdict, REASON(BAD_CREDENTIALS), TEXT_JOIN(badge, TEXT(" is unknown")), NULL);
      return;
    case AWAY:
      retry_after(deny(verdict, REASON(UNAVAILABLE), TEXT_JOIN(badge, TEXT(": the badge service cannot be asked: "), said), NULL), 5);
      return;
  }
  if (!count_login(config, number, badge, now, verdict)) return;
  if (!opens(&entry, secret)) {
    deny(verdict, REASON(BAD_CREDENTIALS), TEXT_JOIN(badge, TEXT(": wrong PIN or token")), NULL);
    return;
  }
  if (entry.blocked) {
    deny(verdict, REASON(BANNED), TEXT_JOIN(badge, TEXT(" is blocked")), "this badge is blocked");
    return;
  }
  if (!text_equal(entry.tenant, tenant) || !text_equal(entry.site, site)) {
    text_t detail = TEXT_JOIN(badge, TEXT(" belongs to "), entry.tenant, TEXT("-"), entry.site, TEXT(", not to "), tenant, TEXT("-"), site);
    deny(verdict, REASON(CLIENT_ID_NOT_VALID), detail, NULL);
    return;
  }
  if (!end_of_shift(&entry, badge, now, &ends, verdict)) return;

  grant_t grant = {.expires_at = {true, ends}};
  if (!add_rules(config, &entry, tenant, site, number, &grant)) {
    portcullis_policy_types_grant_free(&grant);
    deny(verdict, REASON(NOT_AUTHORIZED), TEXT_JOIN(badge, TEXT(" has no role that may do anything here")), NULL);
    return;
  }
  add_identity(&entry, tenant, site, number, said, &grant);
  grant.limits.ptr = malloc(sizeof *grant.limits.ptr);
  if (!grant.limits.ptr) __builtin_trap();
  grant.limits.ptr[grant.limits.len++] =
      (portcullis_policy_types_limit_t){text_given(TEXT("publish-per-second")), config->publish_per_second};
  verdict->tag = PORTCULLIS_POLICY_TYPES_VERDICT_ALLOW;
  verdict->val.allow = grant;
}

void exports_portcullis_policy_authentication_authenticate(connection_t *connection, credentials_t *credentials, verdict_t *verdict) {
  scratch_reset();
  memset(verdict, 0, sizeof *verdict);
  decide(credentials, verdict);
  exports_portcullis_policy_authentication_connection_free(connection);
  exports_portcullis_policy_authentication_credentials_free(credentials);
}
