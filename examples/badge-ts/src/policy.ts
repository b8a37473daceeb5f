// The badge policy in TypeScript. What it does is written in ../../README.md; config.ts reads the configuration, service.ts asks
// the badge service and remembers its answers, and this file decides.

import type * as Authentication from 'portcullis:policy/authentication@0.1.0';
import type * as Descriptor from 'portcullis:policy/descriptor@0.1.0';
import type { Credentials, Denial, DenyReason, Grant, Qos, Rule } from 'portcullis:policy/types@0.1.0';
import { json } from 'portcullis:policy/config@0.1.0';
import { now as clock } from 'portcullis:policy/clock@0.1.0';
import { write } from 'portcullis:policy/log@0.1.0';
import { increment } from 'portcullis:policy/store@0.1.0';
import { sha256 } from '../node_modules/@noble/hashes/sha2.js';

import { parse, type Config } from './config.js';
import { lookUp, words, type Badge } from './service.js';
import { ascii, hex } from './octets.js';
import schema from './schema.js';

/** Thrown to refuse a client. */
class Refusal {
  readonly denial: Denial;

  constructor(reason: DenyReason, detail: string, more: Pick<Denial, 'message' | 'retryAfter'> = {}) {
    this.denial = { reason, detail, ...more };
  }
}

// The configuration does not change while an instance lives: it is read once.
let known: Config | undefined;
const readConfig = (): Config => (known ??= parse(JSON.parse(json())));

// `typeof` of the module: what is missing, or has another type, does not compile.
export const descriptor: typeof Descriptor = {
  describe: () => ({
    name: 'badge',
    version: '1.0.0',
    summary: 'Admits badge holders of the plant during their shifts.',
    schemes: ['badge'],
    methods: [],
    configSchema: schema,
  }),

  selfTest() {
    try {
      readConfig();
    } catch (error) {
      throw (error as Error).message; // what is thrown is the error of the `result`
    }
  },
};

export const authentication: typeof Authentication = {
  authenticate(_connection, credentials) {
    try {
      const grant = decide(credentials);
      return grant ? { tag: 'allow', val: grant } : { tag: 'pass' };
    } catch (error) {
      if (error instanceof Refusal) return { tag: 'deny', val: error.denial };
      // A trap says nothing; the gateway shows what was logged last.
      write('error', error instanceof Error ? `${error} ${error.stack}` : String(error));
      throw error;
    }
  },
};

function decide({ method, username: number, password, clientId }: Credentials): Grant | null {
  // Not ours: no badge number, no secret, or an authentication method of MQTT 5. None is `null` or `undefined`.
  if (method != null || number == null || password == null || !/^\d{1,12}$/.test(number)) return null;
  let config;
  try {
    config = readConfig();
  } catch (error) {
    throw new Refusal('unavailable', `the configuration is wrong: ${(error as Error).message}`);
  }
  // What is no word of lower-case letters and digits never reaches a rule.
  const [, tenant, site, badge] = /^([a-z0-9]{1,32})-([a-z0-9]{1,32})-(\d+)$/.exec(clientId) ?? [];
  if (tenant === undefined || site === undefined || badge !== number) {
    throw new Refusal('client-id-not-valid', `badge ${number}: the client identifier is not <tenant>-<site>-${number}`,
      { message: 'the client identifier must be <tenant>-<site>-<badge>' });
  }

  const now = clock();
  const found = lookUp(config, number, now);
  if (found.is === 'unknown') throw new Refusal('bad-credentials', `badge ${number} is unknown`);
  if (found.is === 'away') {
    throw new Refusal('unavailable', `badge ${number}: the badge service cannot be asked: ${found.why}`, { retryAfter: 5 });
  }
  const entry = found.badge;
  countLogin(config, number, now);
  if (!opens(entry, password)) throw new Refusal('bad-credentials', `badge ${number}: wrong PIN or token`);
  if (entry.blocked) throw new Refusal('banned', `badge ${number} is blocked`, { message: 'this badge is blocked' });
  if (entry.tenant !== tenant || entry.site !== site) {
    throw new Refusal('client-id-not-valid',
      `badge ${number} belongs to ${entry.tenant}-${entry.site}, not to ${tenant}-${site}`);
  }
  const expiresAt = endOfShift(entry, number, now);
  const qos: Qos[] = ['at-most-once', 'at-least-once', 'exactly-once'];
  const rules: Rule[] = config.rules
    .filter(({ role }) => role === undefined || entry.roles.includes(role))
    .map(({ effect, actions, filter, maxQos }) => ({
      effect,
      actions: Object.fromEntries(actions.map((action) => [action, true])),
      filter: filter.replaceAll('{tenant}', tenant).replaceAll('{site}', site).replaceAll('{badge}', number),
      maxQos: qos[maxQos]!, // 0 to 2: `config.ts` has seen to it
    }));
  if (!rules.some(({ effect }) => effect === 'allow')) throw new Refusal('not-authorized', `badge ${number} has no role that may do anything here`);
  return {
    identity: {
      scheme: 'badge',
      subject: number,
      tenant,
      roles: entry.roles,
      attributes: [['site', site], ['lookup', found.source]],
    },
    expiresAt,
    rules,
    limits: [{ name: 'publish-per-second', value: config.publishPerSecond }],
    dependsOn: [],
    state: new Uint8Array(),
    attributes: [],
  };
}

/** One login more in this hour. Attempts with a wrong PIN count as well: there are only ten thousand PINs. */
function countLogin({ loginsPerHour }: Config, number: string, now: number): void {
  const hour = Math.floor(now / 3600);
  let count;
  try {
    count = increment(`logins:${number}:${hour}`, 1, 3600);
  } catch (error) {
    throw new Refusal('unavailable', `badge ${number}: logins cannot be counted: ${words(error)}`);
  }
  if (count > loginsPerHour) {
    throw new Refusal('quota-exceeded', `badge ${number}: more than ${loginsPerHour} logins in this hour`,
      { message: 'too many logins with this badge', retryAfter: (hour + 1) * 3600 - now });
  }
}

/** When the shift ends that goes on now. */
function endOfShift({ shifts }: Badge, number: string, now: number): number {
  const ends = shifts.filter(({ from, to }) => from <= now && now < to).map(({ to }) => to);
  if (ends.length > 0) return Math.max(...ends);
  const begins = shifts.map(({ from }) => from).filter((from) => from > now);
  throw new Refusal('not-authorized', `badge ${number} has no shift now`, {
    message: 'outside of the shift',
    ...(begins.length > 0 && { retryAfter: Math.min(...begins) - now }),
  });
}

/** Whether the PIN or the badge's token is right. */
function opens({ secrets }: Badge, secret: Uint8Array): boolean {
  let right = false;
  for (const known of secrets) {
    const at = known.indexOf('$');
    if (at < 0) continue;
    const made = hex(sha256(new Uint8Array([...ascii(known.slice(0, at)), ...secret])));
    right = same(made, known.slice(at + 1)) || right;
  }
  return right;
}

/** Compares in a time that does not tell where the two differ. */
function same(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  let all = 0;
  for (let i = 0; i < a.length; i += 1) all |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return all === 0;
}
