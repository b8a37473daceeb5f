declare module 'portcullis:policy/types@0.1.0' {
  /**
   * What the client offers to prove who it is. On HTTP all fields are empty or none: look at
   * `peer.get-header` and `peer.get-http-request`.
   */
  export interface Credentials {
    /**
     * The MQTT client identifier. Empty when the client left it to the gateway to choose one.
     */
    clientId: string,
    /**
     * The user name of CONNECT.
     */
    username?: string,
    /**
     * The password of CONNECT: octets (MQTT 5 §3.1.3.6). None and empty differ.
     */
    password?: Uint8Array,
    /**
     * MQTT 5 authentication method (§3.1.2.11.9). If some, the client can be challenged.
     */
    method?: string,
    /**
     * MQTT 5 authentication data that came with the method.
     */
    data?: Uint8Array,
    /**
     * The user properties of CONNECT, or of the AUTH packet that asks for re-authentication.
     */
    userProperties: Array<[string, string]>,
  }
  /**
   * An HTTP request that the gateway received.
   */
  export interface HttpRequest {
    /**
     * In upper case.
     */
    method: string,
    /**
     * The Host header or `:authority`, in lower case, with its port if it was given.
     */
    authority: string,
    /**
     * The path, percent-encoded as received; `.` and `..` segments are already resolved. Begins with `/`.
     */
    path: string,
    /**
     * What follows the first `?`, percent-encoded as received.
     */
    query?: string,
    /**
     * The gateway answers 400 itself to a header value that is not UTF-8.
     */
    headers: Array<[string, string]>,
    /**
     * At most the listener's `max-body` (64 KiB unless configured).
     */
    body: Uint8Array,
  }
  /**
   * An HTTP response. `Content-Length`, `Date` and connection headers are the gateway's; others are sent as given. From
   * a policy: at most 64 header fields with 32 KiB together, and a body of at most 1 MiB.
   */
  export interface HttpResponse {
    /**
     * 200 to 599.
     */
    status: number,
    headers: Array<[string, string]>,
    body: Uint8Array,
  }
  /**
   * Who the client is: the answer that every scheme is reduced to. The audit, `portcullis why`, HTTP faces and other
   * policies see it, so it holds no secret. At most 1,024 roles, and at most 16 KiB of text in all.
   */
  export interface Identity {
    /**
     * The scheme that established it: `jwt`, `api-key`, `keystone`, … as written in the policy's descriptor.
     */
    scheme: string,
    /**
     * The stable identifier of the principal, unique within `scheme` and `tenant`. Never empty.
     */
    subject: string,
    /**
     * The app, account, domain or project within which the subject is meant.
     */
    tenant?: string,
    /**
     * The principal on whose behalf the subject acts (RFC 8693 calls the pair subject and actor). It owns what is
     * done.
     */
    actingFor?: string,
    /**
     * Names of roles, without order.
     */
    roles: Array<string>,
    /**
     * Anything else worth knowing, such as `email`. At most 32.
     */
    attributes: Array<[string, string]>,
  }
  /**
   * Where the bytes came from: what the gateway knows before it looks at a credential. What is dear to copy and seldom
   * needed, the certificate and the HTTP request, is in `peer`, and so is what later versions add.
   */
  export interface Connection {
    /**
     * A name for this connection that is unique while the gateway's data directory lives. Good for logs.
     */
    id: string,
    /**
     * The `name` of the `[[listener]]` in the gateway's configuration.
     */
    listener: string,
    /**
     * `mqtt` or `http`; more may come.
     */
    protocol: string,
    /**
     * MQTT: the protocol version octet of CONNECT: 3 for MQTT 3.1, 4 for 3.1.1, 5 for 5. HTTP: the major version.
     */
    protocolVersion: number,
    /**
     * `tcp`, `tls`, `ws` or `wss`; more may come.
     */
    transport: string,
    /**
     * The address of the client: IPv4 in dotted form (also when it arrived mapped into IPv6), or IPv6 in the
     * form of RFC 5952, without brackets or zone. Over a Unix socket `unix:` and the number of the user that the client
     * runs as, such as `unix:1000`, or `unix` where the system does not tell; `transport` is then as over TCP.
     */
    peerAddress: string,
    /**
     * The client's port; 0 over a Unix socket.
     */
    peerPort: number,
    /**
     * The server name that the client asked for in the TLS handshake (SNI, RFC 6066 §3), in lower case.
     */
    serverName?: string,
    /**
     * Who is already known on this connection: on re-authentication and renewal the identity in force; in
     * `http-endpoint` the caller, if the mount names a chain of policies that guards it. Otherwise none.
     */
    identity?: Identity,
  }
  /**
   * What a rule does with what it matches. Deny wins over ask, ask over allow.
   * # Variants
   * 
   * ## `"allow"`
   * 
   * ## `"deny"`
   * 
   * ## `"ask"`
   * 
   * Ask `authorization.authorize` each time, and remember the answer for as long as it says.
   */
  export type Effect = 'allow' | 'deny' | 'ask';
  /**
   * What a rule is about. An action that is not set is not touched by the rule.
   */
  export interface Actions {
    /**
     * Publish to a topic that matches.
     */
    publish?: boolean,
    /**
     * Subscribe with a filter, and receive what it matches. The filter must lie wholly within one that allows or asks.
     * Where it reaches into one that asks, the policy is asked about the whole of it. Where it reaches into one that
     * denies, the subscription is granted and the denied topics are left out of what it delivers; a listener with
     * `strict-subscriptions` refuses such a subscription whole.
     */
    subscribe?: boolean,
    /**
     * Publish with the RETAIN flag set. Needs `publish` too; a will with the flag needs `will` too.
     */
    retain?: boolean,
    /**
     * Have a will message on the topic. Checked at CONNECT; a client whose will is not permitted is refused.
     */
    will?: boolean,
  }
  /**
   * Quality of service (MQTT 5 §4.3). The position is the number on the wire.
   * # Variants
   * 
   * ## `"at-most-once"`
   * 
   * ## `"at-least-once"`
   * 
   * ## `"exactly-once"`
   */
  export type Qos = 'at-most-once' | 'at-least-once' | 'exactly-once';
  /**
   * Permission for some actions on the topics that a filter matches.
   * 
   * The order of rules has no meaning. Where several match, `deny` wins over `ask` and `ask` over `allow`. What no
   * rule matches is denied. The effect is chosen first, by topic alone; then the highest `max-qos` among the matching
   * rules of that effect is the limit, so that a rule that asks cannot be gone around by publishing above its maximum.
   */
  export interface Rule {
    effect: Effect,
    actions: Actions,
    /**
     * An MQTT topic filter (MQTT 5 §4.7), with `+` and `#`. No placeholders: write the client's own name into it, and
     * never write into it what the client chose without checking it for `+`, `#` and `/`. As in
     * MQTT, a filter that begins with a wildcard does not match topics that begin with `$`. Not `$share/…`: a shared
     * subscription is judged by the filter inside it.
     */
    filter: string,
    /**
     * The highest quality of service. A subscription is granted at most this; a publication above it is refused.
     * Without meaning where the effect is `deny`: what is denied is denied at every quality of service.
     */
    maxQos: Qos,
  }
  /**
   * One bound on a session. The gateway takes the lower of this and the listener's own.
   */
  export interface Limit {
    /**
     * `publish-per-second`, `publish-bytes-per-second`, `packet-size`, `subscriptions`, `queued-messages`,
     * `queued-bytes`, `receive-maximum`, `keep-alive` (seconds), `session-expiry` (seconds), `connections` (of this
     * identity at one time), `topic-length` (octets of a topic or filter), `topic-levels`, `retained-messages` and
     * `retained-bytes` (that this identity holds at one time: of topics where it was the last to retain a message). More
     * may come. An unknown name makes the grant void, as with `grant.attributes`.
     */
    name: string,
    value: number,
  }
  /**
   * The terms on which a client is let in. The gateway compiles them once; no policy runs while messages flow, except
   * for rules whose effect is `ask`.
   */
  export interface Grant {
    identity: Identity,
    /**
     * When the grant ends: the client is disconnected with reason 0x87 (MQTT 5), the HTTP verdict is forgotten.
     * None: never.
     */
    expiresAt?: number,
    /**
     * When, in seconds from now, to call `renewal.renew` (jittered by up to a tenth). None or no such export: never.
     */
    renewAfter?: number,
    /**
     * Use this client identifier instead of the one that the client sent. MQTT 5 clients that sent none are told it
     * (§3.2.2.3.7); a client that sent another is not, so override only what the scheme itself defines.
     */
    clientId?: string,
    /**
     * What may be done. At most 1,024, their filters together at most 256 KiB. See `rule`.
     */
    rules: Array<Rule>,
    /**
     * Bounds on the session that are tighter than the listener's. See `limit`.
     */
    limits: Array<Limit>,
    /**
     * The directory entries and tokens that this grant was derived from: `user:<id>`, `consumer:<id>`,
     * `device:<id>`, `app:<id>`, `key:<id>`, `token:<id>`, `project:<id>`, `domain:<id>`. When one of them changes or is
     * revoked the gateway calls `renewal.renew`, or ends the connection if there is no such export. At most 512, 16 KiB
     * together.
     */
    dependsOn: Array<string>,
    /**
     * Kept by the gateway in memory and given back to `renew` and `authorize`. Never sent, logged or stored. At most
     * 4 KiB.
     */
    state: Uint8Array,
    /**
     * MQTT 5: authentication data for the CONNACK or the last AUTH, such as SCRAM's server signature. Else ignored.
     */
    data?: Uint8Array,
    /**
     * None are defined yet; a name that the gateway does not know makes the grant void, so that a restriction is
     * never silently lost.
     */
    attributes: Array<[string, string]>,
  }
  /**
   * Reasons in the words of the schemes; the gateway translates them. In brackets: MQTT 5 reason code, MQTT 3 return
   * code, HTTP status.
   * # Variants
   * 
   * ## `"bad-credentials"`
   * 
   * The credentials are of this scheme and wrong, unknown, expired or revoked (0x86, 4, 401).
   * ## `"not-authorized"`
   * 
   * It is known who this is; this may not be done here (0x87, 5, 403).
   * ## `"client-id-not-valid"`
   * 
   * The client identifier is not allowed to this identity (0x85, 2, 400).
   * ## `"bad-authentication-method"`
   * 
   * The authentication method is not served here or does not fit (0x8C, 5, 401).
   * ## `"banned"`
   * 
   * The account or the address is locked (0x8A, 5, 403).
   * ## `"quota-exceeded"`
   * 
   * A quota of the identity is used up (0x97, 3, 429).
   * ## `"rate-exceeded"`
   * 
   * Too many attempts (0x9F, 3, 429).
   * ## `"unavailable"`
   * 
   * What is needed to decide cannot be reached: try again later (0x88, 3, 503).
   * ## `"malformed"`
   * 
   * The request makes no sense in this scheme (0x83, 5, 400).
   * ## `"server-busy"`
   * 
   * The gateway has enough to do for now (0x89, 3, 503).
   * ## `"use-another-server"`
   * 
   * This client belongs to another server, named in `denial.server-reference` (0x9C, 3, 421).
   */
  export type DenyReason = 'bad-credentials' | 'not-authorized' | 'client-id-not-valid' | 'bad-authentication-method' | 'banned' | 'quota-exceeded' | 'rate-exceeded' | 'unavailable' | 'malformed' | 'server-busy' | 'use-another-server';
  /**
   * Why a client is refused.
   */
  export interface Denial {
    reason: DenyReason,
    /**
     * For people who run the gateway: logs, audit, `portcullis why`. Never sent to the client. Write no secret into
     * it. Control characters are escaped; what exceeds 2 KiB is cut off.
     */
    detail: string,
    /**
     * For the client: MQTT 5 reason string, or the body of the HTTP error. None: the reason's own words. Say
     * nothing that helps to guess, such as whether the user exists. What exceeds 2 KiB is cut off.
     */
    message?: string,
    /**
     * Seconds after which another attempt makes sense. HTTP: `Retry-After`. The gateway may hold off the client so
     * long.
     */
    retryAfter?: number,
    /**
     * For `server-busy` and `use-another-server`: where to go instead, as MQTT 5 §4.11 writes it. MQTT 5 clients are
     * told (Server Reference); others are only refused. At most 2 KiB.
     */
    serverReference?: string,
    /**
     * HTTP only: answer exactly this instead, because the scheme's own documentation says so.
     */
    http?: HttpResponse,
  }
  /**
   * A question to the client.
   */
  export interface Challenge {
    /**
     * Authentication data for the AUTH packet (0x18, continue authentication). At most 65,535 octets.
     */
    data: Uint8Array,
    /**
     * Given back with the client's reply. Kept by the gateway in memory, never sent, logged or stored. At most 4 KiB.
     */
    state: Uint8Array,
    /**
     * Seconds that the client has to reply, at most the listener's connect time-out.
     */
    replyWithin?: number,
  }
  /**
   * What the answer to a login is.
   */
  export type Verdict = VerdictAllow | VerdictDeny | VerdictPass | VerdictChallenge;
  /**
   * Let the client in, on these terms.
   */
  export interface VerdictAllow {
    tag: 'allow',
    val: Grant,
  }
  /**
   * Refuse it. The chain ends here.
   */
  export interface VerdictDeny {
    tag: 'deny',
    val: Denial,
  }
  /**
   * "Not mine": the credentials are of another scheme. The next policy of the chain is asked; if all pass, the
   * client is refused. Do not pass on credentials that are yours and wrong: deny them.
   */
  export interface VerdictPass {
    tag: 'pass',
  }
  /**
   * Ask the client for more (MQTT 5 enhanced authentication, §4.12). Only when `credentials.method` is some;
   * otherwise the gateway refuses the client.
   */
  export interface VerdictChallenge {
    tag: 'challenge',
    val: Challenge,
  }
}
