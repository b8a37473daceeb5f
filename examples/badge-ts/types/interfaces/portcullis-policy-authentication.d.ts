/// <reference path="./portcullis-policy-types.d.ts" />
declare module 'portcullis:policy/authentication@0.1.0' {
  /**
   * Decides about a login: MQTT CONNECT, an HTTP request, or MQTT 5 re-authentication (`connection.identity` is some;
   * the answer must then be about the same subject).
   * 
   * Called with nothing remembered: an instance may be fresh or used before, and another may serve the next
   * call. A trap or a missed deadline counts as `deny(unavailable)`.
   */
  export function authenticate(connection: Connection, credentials: Credentials): Verdict;
  export type Connection = import('portcullis:policy/types@0.1.0').Connection;
  export type Credentials = import('portcullis:policy/types@0.1.0').Credentials;
  export type Verdict = import('portcullis:policy/types@0.1.0').Verdict;
}
