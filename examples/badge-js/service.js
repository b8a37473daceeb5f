// The badge service, and what is remembered of its answers.
//
// An entry of the store is `<seconds>\n<answer>`: when the service said it, and the JSON that it said; nothing after the
// line's end for a badge that it does not know. All languages write it alike, so that a swap keeps what is remembered.

import { write } from 'portcullis:policy/log@0.1.0';
import { remainingMs } from 'portcullis:policy/clock@0.1.0';
import { get, set } from 'portcullis:policy/store@0.1.0';
import { send } from 'portcullis:policy/http-client@0.1.0';

import { fromUtf8, toUtf8 } from './octets.js';

/**
 * Asks the store, then the service, then the store again if the service is away. Gives `{ badge, source }` (`service`, `cache`
 * or `stale`), `{ unknown: true }`, or `{ away: why }`.
 */
export function lookUp(config, number, now) {
  const key = `badge:${number}`;
  const { age, answer } = recall(key, now);
  if (answer === '' && age < config.unknown) return { unknown: true };
  const remembered = answer ? understood(answer) : undefined;
  if (remembered && age < config.fresh) return { badge: remembered, source: 'cache' };
  let said;
  try {
    said = ask(config, number);
  } catch (error) {
    if (remembered && age < config.stale) {
      write('warn', `badge ${number}: from memory, the badge service cannot be asked: ${error.message}`);
      return { badge: remembered, source: 'stale' };
    }
    return { away: error.message };
  }
  if (said === null) {
    remember(key, `${now}\n`, config.unknown);
    return { unknown: true };
  }
  remember(key, `${now}\n${said.answer}`, Math.max(config.stale, config.fresh));
  return { badge: said.badge, source: 'service' };
}

function recall(key, now) {
  try {
    const [, saidAt, answer] = /^(\d+)\n([^]*)$/.exec(fromUtf8(get(key)));
    // A clock that was set back makes an entry old, not young.
    return { age: now >= Number(saidAt) ? now - Number(saidAt) : Infinity, answer };
  } catch {
    return { age: Infinity };
  }
}

/** One request. `null`: the service does not know the badge. Throws what keeps it from answering. */
function ask({ lookupUrl }, number) {
  let response;
  try {
    response = send({
      method: 'GET',
      url: lookupUrl + number,
      headers: [['accept', 'application/json']],
      body: new Uint8Array(),
      // Half of what is left, so that there is time for an answer from memory.
      timeoutMs: Math.floor(remainingMs() / 2),
    });
  } catch (error) {
    const { tag, val } = error.payload ?? error;
    throw new Error({
      'not-allowed': `${val} is not among \`allow.http\``,
      'invalid-request': 'the request is invalid',
      unreachable: 'no connection',
      timeout: 'no answer in time',
      'too-large': 'its answer is too large',
    }[tag] ?? 'the request failed');
  }
  if (response.status === 404) return null;
  if (response.status !== 200) throw new Error(`it answers ${response.status}`);
  let answer;
  try {
    answer = fromUtf8(response.body);
  } catch {
    answer = '';
  }
  const badge = understood(answer);
  if (!badge) throw new Error('its answer makes no sense');
  return { badge, answer };
}

/** What the service knows of a badge, if that is what the text says. */
function understood(text) {
  const isText = (value) => typeof value === 'string';
  const isTime = (value) => Number.isSafeInteger(value) && value >= 0;
  try {
    const badge = JSON.parse(text);
    const whole = isText(badge.tenant) && isText(badge.site) && badge.roles.every(isText) && badge.secrets.every(isText)
      && badge.shifts.every(({ from, to }) => isTime(from) && isTime(to))
      && ['undefined', 'boolean'].includes(typeof badge.blocked);
    return whole ? badge : undefined;
  } catch {
    return undefined;
  }
}

/** What cannot be remembered is asked again: no reason to refuse anybody. */
function remember(key, entry, seconds) {
  // A time to live of 0 is none; nothing is remembered then.
  if (seconds === 0) return;
  try {
    set(key, toUtf8(entry), seconds);
  } catch (error) {
    write('warn', `${key} is not remembered: ${words(error)}`);
  }
}

export function words(error) {
  const { tag, val } = error.payload ?? error;
  return tag === 'full' ? 'the storage is full' : (val ?? String(error));
}
