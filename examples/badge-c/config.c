#include "config.h"

#include "json.h"

/* The first thing that is wrong; what follows from it is not told. */
static text_t wrong;

static void fail(text_t at, text_t key, text_t why) {
  if (!wrong.len) wrong = TEXT_JOIN(at, key, TEXT(": "), why);
}

static text_t read_text(json_t *in, text_t at, text_t key) {
  if (json_kind(in) == '"') return json_text(in);
  json_skip(in);
  fail(at, key, TEXT("not a text"));
  return TEXT("");
}

static uint64_t read_number(json_t *in, text_t at, text_t key, uint64_t least, uint64_t most) {
  json_t before = *in;
  json_skip(in);
  uint64_t number = json_whole(&before);
  if (!before.bad && number >= least && number <= most) return number;
  fail(at, key, TEXT_JOIN(TEXT("not a whole number from "), text_decimal(least), TEXT(" to "), text_decimal(most)));
  return least;
}

static uint8_t read_actions(json_t *in) {
  static const struct { text_t word; uint8_t flag; } known[] = {
      {{(uint8_t *)"publish", 7}, PORTCULLIS_POLICY_TYPES_ACTIONS_PUBLISH},
      {{(uint8_t *)"subscribe", 9}, PORTCULLIS_POLICY_TYPES_ACTIONS_SUBSCRIBE},
      {{(uint8_t *)"retain", 6}, PORTCULLIS_POLICY_TYPES_ACTIONS_RETAIN},
      {{(uint8_t *)"will", 4}, PORTCULLIS_POLICY_TYPES_ACTIONS_WILL},
  };
  if (json_kind(in) != '[') return json_skip(in), 0;
  uint8_t actions = 0;
  bool bad = false;
  for (bool more = json_begin(in, '['); more; more = json_more(in, ']')) {
    uint8_t flag = 0;
    if (json_kind(in) == '"') {
      text_t word = json_text(in);
      for (int i = 0; i < 4; i++) flag |= text_equal(word, known[i].word) ? known[i].flag : 0;
    } else {
      json_skip(in);
    }
    bad |= !flag || (actions & flag);
    actions |= flag;
  }
  return bad ? 0 : actions;
}

static bool has_odd_brace(text_t filter) {
  filter = text_replace(filter, TEXT("{tenant}"), TEXT(""));
  filter = text_replace(filter, TEXT("{site}"), TEXT(""));
  filter = text_replace(filter, TEXT("{badge}"), TEXT(""));
  for (size_t i = 0; i < filter.len; i++)
    if (filter.ptr[i] == '{' || filter.ptr[i] == '}') return true;
  return false;
}

static rule_t read_rule(json_t *in, size_t index) {
  text_t place = TEXT_JOIN(TEXT("rules."), text_decimal(index)), at = TEXT_JOIN(place, TEXT("."));
  rule_t rule = {.max_qos = 1};
  bool has_filter = false;
  if (json_kind(in) != '{') {
    json_skip(in);
    fail(place, TEXT(""), TEXT("not a table"));
    return rule;
  }
  for (bool more = json_begin(in, '{'); more; more = json_more(in, '}')) {
    text_t key = json_key(in);
    if (text_equal(key, TEXT("role"))) {
      rule.role = read_text(in, at, key);
      rule.has_role = true;
    } else if (text_equal(key, TEXT("effect"))) {
      text_t effect = read_text(in, at, key);
      rule.deny = text_equal(effect, TEXT("deny"));
      if (!rule.deny && !text_equal(effect, TEXT("allow"))) fail(at, key, TEXT("neither allow nor deny"));
    } else if (text_equal(key, TEXT("actions"))) {
      rule.actions = read_actions(in);
    } else if (text_equal(key, TEXT("filter"))) {
      rule.filter = read_text(in, at, key);
      has_filter = true;
    } else if (text_equal(key, TEXT("max-qos"))) {
      rule.max_qos = read_number(in, at, key, 0, 2);
    } else {
      json_skip(in);
      fail(at, key, TEXT("there is no such key"));
    }
  }
  if (!rule.actions) fail(at, TEXT("actions"), TEXT("not a list of publish, subscribe, retain and will"));
  if (!has_filter) fail(at, TEXT("filter"), TEXT("needed"));
  if (!rule.filter.len || has_odd_brace(rule.filter))
    fail(at, TEXT("filter"), TEXT("empty, or with a placeholder that is not {tenant}, {site} or {badge}"));
  return rule;
}

static void read_rules(json_t *in, config_t *config) {
  size_t count = 0;
  if (json_kind(in) != '[') {
    json_skip(in);
    fail(TEXT(""), TEXT("rules"), TEXT("not a list"));
    return;
  }
  for (bool more = json_begin(in, '['); more; more = json_more(in, ']'), count++) {
    if (count < RULES_MAX) config->rules[count] = read_rule(in, count);
    else json_skip(in);
  }
  config->rule_count = count;
}

text_t config_read(text_t json, config_t *config) {
  const text_t top = TEXT("");
  bool has_url = false;
  json_t in = json_of(json);
  wrong = top;
  *config = (config_t){.fresh = 60, .stale = 28800, .unknown = 30, .logins_per_hour = 20, .publish_per_second = 10};
  for (bool more = json_begin(&in, '{'); more; more = json_more(&in, '}')) {
    text_t key = json_key(&in);
    if (text_equal(key, TEXT("lookup-url"))) {
      config->lookup_url = read_text(&in, top, key);
      has_url = true;
    } else if (text_equal(key, TEXT("fresh"))) {
      config->fresh = read_number(&in, top, key, 0, 86400);
    } else if (text_equal(key, TEXT("stale"))) {
      config->stale = read_number(&in, top, key, 0, 604800);
    } else if (text_equal(key, TEXT("unknown"))) {
      config->unknown = read_number(&in, top, key, 0, 3600);
    } else if (text_equal(key, TEXT("logins-per-hour"))) {
      config->logins_per_hour = read_number(&in, top, key, 1, 1000000);
    } else if (text_equal(key, TEXT("publish-per-second"))) {
      config->publish_per_second = read_number(&in, top, key, 1, 1000000);
    } else if (text_equal(key, TEXT("rules"))) {
      read_rules(&in, config);
    } else {
      json_skip(&in);
      fail(top, key, TEXT("there is no such key"));
    }
  }
  if (!json_done(&in)) return TEXT("it is no table");
  text_t url = config->lookup_url;
  if (!has_url) fail(top, TEXT("lookup-url"), TEXT("needed"));
  if (!(text_begins(url, TEXT("http://")) || text_begins(url, TEXT("https://"))) || url.ptr[url.len - 1] != '/')
    fail(top, TEXT("lookup-url"), TEXT("not an http or https URL that ends with /"));
  if (config->rule_count < 1 || config->rule_count > RULES_MAX) fail(top, TEXT("rules"), TEXT("1 to 64 are needed"));
  return wrong;
}

void config_keep(config_t *config) {
  config->lookup_url = text_given(config->lookup_url);
  for (size_t i = 0; i < config->rule_count; i++) {
    config->rules[i].role = text_given(config->rules[i].role);
    config->rules[i].filter = text_given(config->rules[i].filter);
  }
}
