#include "service.h"

#include <string.h>

#include "json.h"

static size_t read_texts(json_t *in, text_t *list) {
  size_t count = 0;
  for (bool more = json_begin(in, '['); more; more = json_more(in, ']')) {
    text_t text = json_text(in);
    if (count == LIST_MAX) in->bad = true;
    else list[count++] = text;
  }
  return count;
}

static size_t read_shifts(json_t *in, shift_t *list) {
  size_t count = 0;
  for (bool more = json_begin(in, '['); more; more = json_more(in, ']')) {
    shift_t shift = {0};
    int ends = 0;
    for (bool more = json_begin(in, '{'); more; more = json_more(in, '}')) {
      text_t key = json_key(in);
      if (text_equal(key, TEXT("from"))) shift.from = json_whole(in), ends |= 1;
      else if (text_equal(key, TEXT("to"))) shift.to = json_whole(in), ends |= 2;
      else json_skip(in);
    }
    if (count == LIST_MAX || ends != 3) in->bad = true;
    else list[count++] = shift;
  }
  return count;
}

/* The badge, if that is what the text says. */
static bool understood(text_t text, badge_t *badge) {
  json_t in = json_of(text);
  int found = 0;
  *badge = (badge_t){0};
  for (bool more = json_begin(&in, '{'); more; more = json_more(&in, '}')) {
    text_t key = json_key(&in);
    if (text_equal(key, TEXT("tenant"))) badge->tenant = json_text(&in), found |= 1;
    else if (text_equal(key, TEXT("site"))) badge->site = json_text(&in), found |= 2;
    else if (text_equal(key, TEXT("roles"))) badge->role_count = read_texts(&in, badge->roles), found |= 4;
    else if (text_equal(key, TEXT("secrets"))) badge->secret_count = read_texts(&in, badge->secrets), found |= 8;
    else if (text_equal(key, TEXT("shifts"))) badge->shift_count = read_shifts(&in, badge->shifts), found |= 16;
    else if (text_equal(key, TEXT("blocked"))) badge->blocked = json_bool(&in);
    else json_skip(&in);
  }
  return json_done(&in) && found == 31 && text_utf8(text);
}

static void warn(text_t line) { portcullis_policy_log_write(PORTCULLIS_POLICY_LOG_LEVEL_WARN, &line); }

text_t store_words(const portcullis_policy_store_error_t *error) {
  switch (error->tag) {
    case PORTCULLIS_POLICY_STORE_ERROR_FULL: return TEXT("the storage is full");
    case PORTCULLIS_POLICY_STORE_ERROR_INVALID: return error->val.invalid;
    default: return error->val.other;
  }
}

/* The answer that is remembered, in scratch memory, and how old it is. */
static bool recall(text_t key, uint64_t now, text_t *answer, uint64_t *age) {
  badge_option_list_u8_t found;
  portcullis_policy_store_error_t error;
  if (!portcullis_policy_store_get(&key, &found, &error)) return portcullis_policy_store_error_free(&error), false;
  if (!found.is_some) return false;
  text_t entry = TEXT_JOIN({found.val.ptr, found.val.len});
  badge_option_list_u8_free(&found);
  uint8_t *line_end = memchr(entry.ptr, '\n', entry.len);
  uint64_t said_at;
  if (!line_end || !text_number((text_t){entry.ptr, line_end - entry.ptr}, &said_at)) return false;
  /* A clock that was set back makes an entry old, not young. */
  *age = said_at <= now ? now - said_at : UINT64_MAX;
  *answer = (text_t){line_end + 1, entry.ptr + entry.len - (line_end + 1)};
  return true;
}

/* What cannot be remembered is asked again: no reason to refuse anybody. */
static void remember(text_t key, uint64_t now, text_t answer, uint64_t seconds) {
  /* A time to live of 0 is none; nothing is remembered then. */
  if (!seconds) return;
  text_t entry = TEXT_JOIN(text_decimal(now), TEXT("\n"), answer);
  badge_list_u8_t value = {entry.ptr, entry.len};
  uint32_t ttl = (uint32_t)seconds;
  portcullis_policy_store_error_t error;
  if (portcullis_policy_store_set(&key, &value, &ttl, &error)) return;
  warn(TEXT_JOIN(key, TEXT(" is not remembered: "), store_words(&error)));
  portcullis_policy_store_error_free(&error);
}

static text_t http_words(const portcullis_policy_http_client_error_t *error) {
  switch (error->tag) {
    case PORTCULLIS_POLICY_HTTP_CLIENT_ERROR_NOT_ALLOWED:
      return TEXT_JOIN(error->val.not_allowed, TEXT(" is not among `allow.http`"));
    case PORTCULLIS_POLICY_HTTP_CLIENT_ERROR_INVALID_REQUEST: return TEXT("the request is invalid");
    case PORTCULLIS_POLICY_HTTP_CLIENT_ERROR_UNREACHABLE: return TEXT("no connection");
    case PORTCULLIS_POLICY_HTTP_CLIENT_ERROR_TIMEOUT: return TEXT("no answer in time");
    case PORTCULLIS_POLICY_HTTP_CLIENT_ERROR_TOO_LARGE: return TEXT("its answer is too large");
    default: return TEXT("the request failed");
  }
}

/* One request. FOUND: `answer` is what it said; AWAY: `why`. */
static lookup_t ask(const config_t *config, text_t number, badge_t *badge, text_t *answer, text_t *why) {
  badge_tuple2_string_string_t accept = {TEXT("accept"), TEXT("application/json")};
  portcullis_policy_http_client_request_t request = {
      .method = TEXT("GET"),
      .url = TEXT_JOIN(config->lookup_url, number),
      .headers = {&accept, 1},
      /* Half of what is left, so that there is time for an answer from memory. */
      .timeout_ms = {true, portcullis_policy_clock_remaining_ms() / 2},
  };
  portcullis_policy_http_client_http_response_t response;
  portcullis_policy_http_client_error_t error;
  if (!portcullis_policy_http_client_send(&request, &response, &error)) {
    *why = http_words(&error);
    portcullis_policy_http_client_error_free(&error);
    return AWAY;
  }
  uint16_t status = response.status;
  *answer = TEXT_JOIN({response.body.ptr, response.body.len});
  portcullis_policy_http_client_http_response_free(&response);
  if (status == 404) return UNKNOWN;
  if (status == 200 && understood(*answer, badge)) return FOUND;
  *why = status == 200 ? TEXT("its answer makes no sense") : TEXT_JOIN(TEXT("it answers "), text_decimal(status));
  return AWAY;
}

lookup_t look_up(const config_t *config, text_t number, uint64_t now, badge_t *badge, text_t *said) {
  text_t key = TEXT_JOIN(TEXT("badge:"), number), answer;
  uint64_t age = 0;
  badge_t remembered;
  bool any = recall(key, now, &answer, &age);
  if (any && !answer.len && age < config->unknown) return UNKNOWN;
  bool known = any && answer.len && understood(answer, &remembered);
  if (known && age < config->fresh) return *badge = remembered, *said = TEXT("cache"), FOUND;
  switch (ask(config, number, badge, &answer, said)) {
    case FOUND:
      remember(key, now, answer, config->stale > config->fresh ? config->stale : config->fresh);
      return *said = TEXT("service"), FOUND;
    case UNKNOWN:
      remember(key, now, TEXT(""), config->unknown);
      return UNKNOWN;
    default:
      if (!known || age >= config->stale) return AWAY;
      warn(TEXT_JOIN(TEXT("badge "), number, TEXT(": from memory, the badge service cannot be asked: "), *said));
      return *badge = remembered, *said = TEXT("stale"), FOUND;
  }
}
