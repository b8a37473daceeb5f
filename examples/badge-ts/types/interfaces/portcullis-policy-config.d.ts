declare module 'portcullis:policy/config@0.1.0' {
  /**
   * One value. Tables and arrays are reached with dots: `roles.admin`, `rules.0.filter`. Numbers and booleans are
   * written as in JSON. None: there is no such key, or it is a table or an array.
   */
  export function get(key: string): string | undefined;
  /**
   * All values whose dotted key begins with this prefix, ordered by key. The empty prefix gives all.
   */
  export function listValues(prefix: string): Array<[string, string]>;
  /**
   * The whole table as a JSON object.
   */
  export function json(): string;
}
