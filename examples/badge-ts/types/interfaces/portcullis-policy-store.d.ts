declare module 'portcullis:policy/store@0.1.0' {
  /**
   * Reads a value. None: there is none, or its time to live has passed.
   */
  export function get(key: string): Uint8Array | undefined;
  /**
   * Writes a value, in place of any other. `ttl`: seconds after which it is gone. None: never.
   */
  export function set(key: string, value: Uint8Array, ttl: number | undefined): void;
  /**
   * Writes a value only if there is none, in one step. True if it was written. Good against replays: the first use
   * of a token's `jti` wins.
   */
  export function setIfAbsent(key: string, value: Uint8Array, ttl: number | undefined): boolean;
  /**
   * Reads a value and deletes it in one step. Good for what may be used once, such as a nonce.
   */
  export function take(key: string): Uint8Array | undefined;
  /**
   * True if there was a value.
   */
  export { _delete as delete };
  function _delete(key: string): boolean;
  /**
   * Adds to a number in one step and returns the sum. What is absent counts as 0 and then gets `ttl`; what is
   * present keeps the time to live that it has, so that a window of attempts ends.
   */
  export function increment(key: string, delta: number, ttl: number | undefined): number;
  /**
   * Why the store did not do it.
   */
  export type Error = ErrorFull | ErrorInvalid | ErrorOther;
  /**
   * The policy's share of storage is used up.
   */
  export interface ErrorFull {
    tag: 'full',
  }
  /**
   * A key or a value is too long; `increment` of what is not a number; a time to live of 0.
   */
  export interface ErrorInvalid {
    tag: 'invalid',
    val: string,
  }
  export interface ErrorOther {
    tag: 'other',
    val: string,
  }
}
