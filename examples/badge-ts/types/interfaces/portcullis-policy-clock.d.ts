declare module 'portcullis:policy/clock@0.1.0' {
  /**
   * The time of day.
   */
  export function now(): number;
  /**
   * The time of day in microseconds since 1970-01-01T00:00:00Z (not nanoseconds: those exceed 2^53).
   */
  export function nowUs(): number;
  /**
   * Milliseconds until this call's deadline, over guest and host time together.
   */
  export function remainingMs(): number;
}
