// Admits the devices of a site: the user name is the site, the password its code.

import type * as Authentication from 'portcullis:policy/authentication@0.1.0';
import type * as Descriptor from 'portcullis:policy/descriptor@0.1.0';
import type { Credentials, DenyReason, Verdict } from 'portcullis:policy/types@0.1.0';
import { get, listValues } from 'portcullis:policy/config@0.1.0';
import { write } from 'portcullis:policy/log@0.1.0';
import schema from './schema.js';

// `typeof` of the module: what is missing, or has another type, does not compile.
export const authentication: typeof Authentication = {
  authenticate(_connection, credentials) {
    try {
      return decide(credentials);
    } catch (error) {
      // A trap says nothing; the gateway shows what was logged last.
      write('error', error instanceof Error ? `${error} ${error.stack}` : `${error}`);
      throw error;
    }
  },
};

// None is `null` or `undefined`.
function decide({ method, username: site, password, clientId: device }: Credentials): Verdict {
  if (method != null || site == null) return { tag: 'pass' };
  const code = get(`sites.${site}`);
  if (code == null) return { tag: 'pass' };
  if (!same(octets(code), password ?? new Uint8Array())) {
    return deny('bad-credentials', `not the code of the site ${site}`);
  }
  // What a client chose goes into a rule only if it is one level of a topic.
  if (device === '' || /[+#/\0]|^\$/.test(device)) {
    return deny('client-id-not-valid', `the client identifier ${JSON.stringify(device)} is no level of a topic`);
  }
  return {
    tag: 'allow',
    val: {
      identity: { scheme: 'site', subject: device, tenant: site, roles: [], attributes: [] },
      rules: [{
        effect: 'allow',
        actions: { publish: true, subscribe: true },
        filter: `${site}/${device}/#`,
        maxQos: 'exactly-once',
      }],
      limits: [],
      dependsOn: [],
      state: new Uint8Array(),
      attributes: [],
    },
  };
}

const deny = (reason: DenyReason, detail: string): Verdict => ({ tag: 'deny', val: { reason, detail } });

// UTF-8; QuickJS has no TextEncoder. The function is ECMAScript's (annex B), and no types of a browser are here.
declare function unescape(text: string): string;
const octets = (text: string) => Uint8Array.from(unescape(encodeURIComponent(text)), (c) => c.charCodeAt(0));

// Takes as long whether they differ early or late.
function same(one: Uint8Array, other: Uint8Array): boolean {
  let differ = one.length ^ other.length;
  for (let i = 0; i < one.length; i++) differ |= (one[i] ?? 0) ^ (other[i] ?? 0);
  return differ === 0;
}

export const descriptor: typeof Descriptor = {
  describe: () => ({
    name: 'NAME',
    version: '0.1.0',
    summary: 'Admits the devices of a site with the code of the site.',
    schemes: ['site'],
    methods: [],
    configSchema: schema,
  }),

  // Called with the real configuration before the policy goes live. What is thrown is the error of the `result`.
  selfTest() {
    if (listValues('sites.').length === 0) throw 'the configuration names no `sites`';
  },
};
