declare module 'portcullis:policy/descriptor@0.1.0' {
  /**
   * Called once when the component is loaded. Only `log`, `clock`, `random` and `config` may be used.
   */
  export function describe(): Description;
  /**
   * Called before the policy goes live, with its real configuration and its real capabilities. Check the
   * configuration; try known good and bad credentials if there are any. An error is shown to the operator and keeps
   * the older version in place.
   */
  export function selfTest(): void;
  /**
   * What `describe` answers.
   */
  export interface Description {
    /**
     * Lower-case letters, digits and hyphens, 1 to 64.
     */
    name: string,
    /**
     * Semantic version.
     */
    version: string,
    /**
     * One sentence.
     */
    summary: string,
    /**
     * The words that it writes into `identity.scheme`.
     */
    schemes: Array<string>,
    /**
     * The MQTT 5 authentication methods that it serves. A client that names another skips this policy; a policy without
     * a descriptor is asked about every method. At most 32, as of `schemes`.
     */
    methods: Array<string>,
    /**
     * JSON Schema (2020-12) of its configuration, or empty. At most 256 KiB.
     */
    configSchema: string,
  }
}
