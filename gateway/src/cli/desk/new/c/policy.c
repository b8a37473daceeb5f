/* Admits the devices of a site: the user name is the site, the password its code.
 *
 * What is returned is freed by the generated code, so that all of it comes from malloc; what was received is freed here. */
#include "gen/policy.h"
#include "schema.h"

#include <stdlib.h>
#include <string.h>

typedef policy_string_t text;

/* A text of several parts, ended by NULL. */
static text join(const text *const *parts) {
  text whole = {NULL, 0};
  for (const text *const *part = parts; *part; part++) whole.len += (*part)->len;
  whole.ptr = malloc(whole.len ? whole.len : 1);
  size_t at = 0;
  for (const text *const *part = parts; *part; part++) {
    memcpy(whole.ptr + at, (*part)->ptr, (*part)->len);
    at += (*part)->len;
  }
  return whole;
}
#define JOIN(...) join((const text *const[]){__VA_ARGS__, NULL})

static text of(const char *words) { return (text){(uint8_t *)words, strlen(words)}; }
static text copy(const text *words) { return JOIN(words); }

/* Takes as long whether they differ early or late. */
static bool same(const text *one, const uint8_t *other, size_t length) {
  if (one->len != length) return false;
  uint8_t differ = 0;
  for (size_t i = 0; i < length; i++) differ |= one->ptr[i] ^ other[i];
  return differ == 0;
}

static bool is_level(const text *name) {
  if (name->len == 0 || name->ptr[0] == '$') return false;
  for (size_t i = 0; i < name->len; i++)
    if (memchr("+#/", name->ptr[i], 4)) return false; /* and the octet 0 behind them */
  return true;
}

static void deny(exports_portcullis_policy_authentication_verdict_t *verdict, uint8_t reason, text detail) {
  verdict->tag = PORTCULLIS_POLICY_TYPES_VERDICT_DENY;
  verdict->val.deny.reason = reason;
  verdict->val.deny.detail = detail;
}

static void allow(exports_portcullis_policy_authentication_verdict_t *verdict, const text *site, const text *device) {
  text slash = of("/"), rest = of("/#"), scheme = of("site");
  portcullis_policy_types_grant_t *grant = &verdict->val.allow;
  verdict->tag = PORTCULLIS_POLICY_TYPES_VERDICT_ALLOW;
  grant->identity.scheme = copy(&scheme);
  grant->identity.subject = copy(device);
  grant->identity.tenant.is_some = true;
  grant->identity.tenant.val = copy(site);
  grant->rules.len = 1;
  grant->rules.ptr = malloc(sizeof *grant->rules.ptr);
  grant->rules.ptr[0] = (portcullis_policy_types_rule_t){
      .effect = PORTCULLIS_POLICY_TYPES_EFFECT_ALLOW,
      .actions = PORTCULLIS_POLICY_TYPES_ACTIONS_PUBLISH | PORTCULLIS_POLICY_TYPES_ACTIONS_SUBSCRIBE,
      .filter = JOIN(site, &slash, device, &rest),
      .max_qos = PORTCULLIS_POLICY_TYPES_QOS_EXACTLY_ONCE,
  };
}

void exports_portcullis_policy_authentication_authenticate(
    exports_portcullis_policy_authentication_connection_t *connection,
    exports_portcullis_policy_authentication_credentials_t *credentials,
    exports_portcullis_policy_authentication_verdict_t *verdict) {
  memset(verdict, 0, sizeof *verdict);
  verdict->tag = PORTCULLIS_POLICY_TYPES_VERDICT_PASS;
  text *site = &credentials->username.val, *device = &credentials->client_id;
  if (!credentials->method.is_some && credentials->username.is_some) {
    text sites = of("sites."), key = JOIN(&sites, site), code;
    if (portcullis_policy_config_get(&key, &code)) {
      size_t length = credentials->password.is_some ? credentials->password.val.len : 0;
      text wrong = of("not the code of the site "), odd = of("the client identifier is no level of a topic");
      if (!same(&code, credentials->password.val.ptr, length))
        deny(verdict, PORTCULLIS_POLICY_TYPES_DENY_REASON_BAD_CREDENTIALS, JOIN(&wrong, site));
      else if (!is_level(device)) /* what a client chose goes into a rule only if it is one level of a topic */
        deny(verdict, PORTCULLIS_POLICY_TYPES_DENY_REASON_CLIENT_ID_NOT_VALID, copy(&odd));
      else
        allow(verdict, site, device);
      policy_string_free(&code);
    }
    policy_string_free(&key);
  }
  exports_portcullis_policy_authentication_connection_free(connection);
  exports_portcullis_policy_authentication_credentials_free(credentials);
}

void exports_portcullis_policy_descriptor_describe(exports_portcullis_policy_descriptor_description_t *says) {
  memset(says, 0, sizeof *says);
  policy_string_dup(&says->name, "NAME");
  policy_string_dup(&says->version, "0.1.0");
  policy_string_dup(&says->summary, "Admits the devices of a site with the code of the site.");
  says->schemes.len = 1;
  says->schemes.ptr = malloc(sizeof *says->schemes.ptr);
  policy_string_dup(&says->schemes.ptr[0], "site");
  policy_string_dup(&says->config_schema, SCHEMA);
}

/* Called with the real configuration before the policy goes live. */
bool exports_portcullis_policy_descriptor_self_test(text *error) {
  text prefix = of("sites.");
  policy_list_tuple2_string_string_t values;
  portcullis_policy_config_list_values(&prefix, &values);
  bool good = values.len > 0;
  policy_list_tuple2_string_string_free(&values);
  if (!good) policy_string_dup(error, "the configuration names no `sites`");
  return good;
}
