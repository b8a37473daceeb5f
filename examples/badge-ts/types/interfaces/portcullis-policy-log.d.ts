declare module 'portcullis:policy/log@0.1.0' {
  /**
   * Writes one line. The gateway escapes control characters. Write no passwords or tokens.
   */
  export function write(level: Level, message: string): void;
  /**
   * Whether a line of this level would be written: ask before building a dear one.
   */
  export function enabled(level: Level): boolean;
  /**
   * How much a line matters.
   * # Variants
   * 
   * ## `"error"`
   * 
   * ## `"warn"`
   * 
   * ## `"info"`
   * 
   * ## `"debug"`
   * 
   * ## `"trace"`
   */
  export type Level = 'error' | 'warn' | 'info' | 'debug' | 'trace';
}
