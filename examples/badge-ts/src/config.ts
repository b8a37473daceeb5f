// The configuration: read strictly, so that a typing error is an error of the self-test and not a hole. What was read has types; what
// comes in has none.

const KEYS = ['lookup-url', 'fresh', 'stale', 'unknown', 'logins-per-hour', 'publish-per-second', 'rules'];
const RULE_KEYS = ['role', 'effect', 'actions', 'filter', 'max-qos'];
const ACTIONS = ['publish', 'subscribe', 'retain', 'will'] as const;

export type Action = (typeof ACTIONS)[number];

export interface Rule {
  /** None: the rule is about everybody. */
  role: string | undefined;
  effect: 'allow' | 'deny';
  actions: Action[];
  filter: string;
  maxQos: number;
}

export interface Config {
  lookupUrl: string;
  fresh: number;
  stale: number;
  unknown: number;
  loginsPerHour: number;
  publishPerSecond: number;
  rules: Rule[];
}

type Table = Record<string, unknown>;

/** Throws an `Error` that names the key. */
export function parse(table: unknown): Config {
  if (!isTable(table)) fail('not a table');
  only(table, '', KEYS);
  const lookupUrl = text(table, '', 'lookup-url') ?? fail('lookup-url: needed');
  if (!/^https?:\/\/[^]*\/$/.test(lookupUrl)) fail('lookup-url: not an http or https URL that ends with /');
  const rules = table['rules'] ?? [];
  if (!Array.isArray(rules)) fail('rules: not a list');
  if (rules.length < 1 || rules.length > 64) fail('rules: 1 to 64 are needed');
  return {
    lookupUrl,
    fresh: number(table, '', 'fresh', 60, 0, 86_400),
    stale: number(table, '', 'stale', 28_800, 0, 604_800),
    unknown: number(table, '', 'unknown', 30, 0, 3_600),
    loginsPerHour: number(table, '', 'logins-per-hour', 20, 1, 1_000_000),
    publishPerSecond: number(table, '', 'publish-per-second', 10, 1, 1_000_000),
    rules: rules.map(parseRule),
  };
}

function parseRule(rule: unknown, index: number): Rule {
  const at = `rules.${index}.`;
  if (!isTable(rule)) fail(`rules.${index}: not a table`);
  only(rule, at, RULE_KEYS);
  const effect = text(rule, at, 'effect') ?? 'allow';
  if (effect !== 'allow' && effect !== 'deny') fail(`${at}effect: neither allow nor deny`);
  const actions: unknown[] = Array.isArray(rule['actions']) ? rule['actions'] : [];
  if (actions.length === 0 || !actions.every(isAction) || new Set(actions).size !== actions.length) {
    fail(`${at}actions: not a list of publish, subscribe, retain and will`);
  }
  const filter = text(rule, at, 'filter') ?? fail(`${at}filter: needed`);
  if (filter === '' || /[{}]/.test(filter.replace(/\{(tenant|site|badge)\}/g, ''))) {
    fail(`${at}filter: empty, or with a placeholder that is not {tenant}, {site} or {badge}`);
  }
  return { role: text(rule, at, 'role'), effect, actions, filter, maxQos: number(rule, at, 'max-qos', 1, 0, 2) };
}

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isAction(value: unknown): value is Action {
  return ACTIONS.includes(value as Action);
}

function only(table: Table, at: string, known: string[]): void {
  // In the order of the names, as the other languages find them.
  const odd = Object.keys(table).sort().find((key) => !known.includes(key));
  if (odd !== undefined) fail(`${at}${odd}: there is no such key`);
}

function text(table: Table, at: string, key: string): string | undefined {
  const value = table[key];
  if (value !== undefined && typeof value !== 'string') fail(`${at}${key}: not a text`);
  return value;
}

function number(table: Table, at: string, key: string, otherwise: number, least: number, most: number): number {
  const value = table[key] ?? otherwise;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) {
    fail(`${at}${key}: not a whole number from ${least} to ${most}`);
  }
  return value;
}

function fail(why: string): never {
  throw new Error(why);
}
