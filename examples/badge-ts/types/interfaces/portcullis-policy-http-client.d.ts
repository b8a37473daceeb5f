/// <reference path="./portcullis-policy-types.d.ts" />
declare module 'portcullis:policy/http-client@0.1.0' {
  /**
   * Sends a request and waits for the whole response. A `GET` or `HEAD` that is the same in every octet as one of this
   * policy that is under way is not sent again: both get its response, so that a thousand clients with one token cost the
   * server that checks it one request. Redirects are not followed. Certificates are verified against
   * the gateway's roots. Any status is a response, not an error.
   */
  export function send(request: Request): HttpResponse;
  export type HttpResponse = import('portcullis:policy/types@0.1.0').HttpResponse;
  /**
   * A request to send.
   */
  export interface Request {
    /**
     * In upper case.
     */
    method: string,
    /**
     * An absolute `http` or `https` URL (RFC 3986) without user information, of at most 8 KiB.
     */
    url: string,
    /**
     * At most 64, 32 KiB together. `Host`, `Content-Length`, `Transfer-Encoding`, `TE` and connection fields are the
     * gateway's to write: naming one is an invalid request.
     */
    headers: Array<[string, string]>,
    /**
     * At most 1 MiB.
     */
    body: Uint8Array,
    /**
     * Give up after so many milliseconds. None: what is left of this call's deadline. Leave time for an answer from
     * what is stored.
     */
    timeoutMs?: number,
  }
  /**
   * Why there is no response. A response of any status is no error.
   */
  export type Error = ErrorNotAllowed | ErrorInvalidRequest | ErrorUnreachable | ErrorTimeout | ErrorTooLarge | ErrorOther;
  /**
   * The host or port is not in the policy's `allow.http`. The text names it.
   */
  export interface ErrorNotAllowed {
    tag: 'not-allowed',
    val: string,
  }
  /**
   * The request cannot be sent as it is: URL, method or header.
   */
  export interface ErrorInvalidRequest {
    tag: 'invalid-request',
    val: string,
  }
  /**
   * No connection: name resolution, TCP, TLS. Try later.
   */
  export interface ErrorUnreachable {
    tag: 'unreachable',
    val: string,
  }
  export interface ErrorTimeout {
    tag: 'timeout',
  }
  /**
   * The response is larger than the policy's limit (1 MiB unless configured). The number is the limit.
   */
  export interface ErrorTooLarge {
    tag: 'too-large',
    val: number,
  }
  export interface ErrorOther {
    tag: 'other',
    val: string,
  }
}
