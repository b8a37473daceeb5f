// The badge service, and what is remembered of its answers.
//
// An entry of the store is `<seconds>\n<answer>`: when the service said it, and the JSON that it said; nothing after the
// line's end for a badge that it does not know. All languages write it alike, so that a swap keeps what is remembered.

import { write } from 'portcullis:policy/log@0.1.0';
import { remainingMs } from 'portcullis:policy/clock@0.1.0';
import { get, set } from 'portcullis:policy/store@0.1.0';
import { send, type Error as HttpError, type HttpResponse } from 'portcullis:policy/http-client@0.1.0';

import type { Config } from './config.js';
import { fromUtf8, toUtf8 } from './octets.js';

export interface Badge {
  tenant: string;
  site: string;
  roles: string[];
  /** `salt$SHA-256(salt, secret)`, in hexadecimal. */
  secrets: string[];
  /** Seconds since 1970. */
  shifts: { from: number; to: number }[];
  blocked?: boolean;
}

export type Found =
  | { is: 'badge'; badge: Badge; source: 'service' | 'cache' | 'stale' }
  | { is: 'unknown' }
  | { is: 'away'; why: string };

/** Asks the store, then the service, then the store again if the service is away. */
export function lookUp(config: Config, number: string, now: number): Found {
  const key = `badge:${number}`;
  const { age, answer } = recall(key, now);
  if (answer === '' && age < config.unknown) return { is: 'unknown' };
  const remembered = answer ? understood(answer) : undefined;
  if (remembered && age < config.fresh) return { is: 'badge', badge: remembered, source: 'cache' };
  let said;
  try {
    said = ask(config, number);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    if (remembered && age < config.stale) {
      write('warn', `badge ${number}: from memory, the badge service cannot be asked: ${why}`);
      return { is: 'badge', badge: remembered, source: 'stale' };
    }
    return { is: 'away', why };
  }
  if (said === null) {
    remember(key, `${now}\n`, config.unknown);
    return { is: 'unknown' };
  }
  remember(key, `${now}\n${said.answer}`, Math.max(config.stale, config.fresh));
  return { is: 'badge', badge: said.badge, source: 'service' };
}

function recall(key: string, now: number): { age: number; answer?: string } {
  try {
    const entry = get(key);
    const [, saidAt, answer] = (entry && /^(\d+)\n([^]*)$/.exec(fromUtf8(entry))) || [];
    if (saidAt === undefined || answer === undefined) return { age: Infinity };
    // A clock that was set back makes an entry old, not young.
    return { age: now >= Number(saidAt) ? now - Number(saidAt) : Infinity, answer };
  } catch {
    return { age: Infinity };
  }
}

/** One request. `null`: the service does not know the badge. Throws what keeps it from answering. */
function ask({ lookupUrl }: Config, number: string): { badge: Badge; answer: string } | null {
  let response: HttpResponse;
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
    throw new Error(unanswered(payload<HttpError>(error)));
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

/** The compiler sees to it that no kind of error is forgotten. */
function unanswered(error: HttpError): string {
  switch (error.tag) {
    case 'not-allowed': return `${error.val} is not among \`allow.http\``;
    case 'invalid-request': return 'the request is invalid';
    case 'unreachable': return 'no connection';
    case 'timeout': return 'no answer in time';
    case 'too-large': return 'its answer is too large';
    case 'other': return 'the request failed';
  }
}

/** What the service knows of a badge, if that is what the text says. */
function understood(text: string): Badge | undefined {
  const isText = (value: unknown) => typeof value === 'string';
  const isTime = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
  try {
    const badge = JSON.parse(text);
    const whole = isText(badge.tenant) && isText(badge.site) && badge.roles.every(isText) && badge.secrets.every(isText)
      && badge.shifts.every(({ from, to }: Record<string, unknown>) => isTime(from) && isTime(to))
      && ['undefined', 'boolean'].includes(typeof badge.blocked);
    return whole ? badge : undefined;
  } catch {
    return undefined;
  }
}

/** What cannot be remembered is asked again: no reason to refuse anybody. */
function remember(key: string, entry: string, seconds: number): void {
  // A time to live of 0 is none; nothing is remembered then.
  if (seconds === 0) return;
  try {
    set(key, toUtf8(entry), seconds);
  } catch (error) {
    write('warn', `${key} is not remembered: ${words(error)}`);
  }
}

/** What an import threw: the error of its `result`. */
function payload<E>(error: unknown): E {
  return (error as { payload?: E }).payload ?? (error as E);
}

export function words(error: unknown): string {
  const { tag, val } = payload<{ tag?: string; val?: string }>(error);
  return tag === 'full' ? 'the storage is full' : (val ?? String(error));
}
