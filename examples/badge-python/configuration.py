"""The configuration: read strictly, so that a typing error is an error of the self-test and not a hole."""

import json
import re
from dataclasses import dataclass
from typing import Any

from wit_world.imports.types import Actions, Effect


class ConfigurationError(Exception):
    """Names the key."""


@dataclass
class RuleTemplate:
    """A rule whose filter has places for the badge. Without a role it is for every badge."""

    role: str | None
    effect: Effect
    actions: Actions
    filter: str
    max_qos: int

    def resolved(self, **values: str) -> str:
        """The filter for one badge. The values are words of letters and digits: none can widen it."""
        return re.sub(r"\{(\w+)\}", lambda place: values[place[1]], self.filter)


@dataclass
class Configuration:
    #: The badge's number is appended to it.
    lookup_url: str
    #: Seconds for which an answer of the service is used without asking again.
    fresh: int
    #: Seconds for which it may be used while the service is away.
    stale: int
    #: Seconds for which an unknown badge is not asked for again.
    unknown: int
    logins_per_hour: int
    publish_per_second: int
    rules: list[RuleTemplate]


ACTIONS = {
    "publish": Actions.PUBLISH,
    "subscribe": Actions.SUBSCRIBE,
    "retain": Actions.RETAIN,
    "will": Actions.WILL,
}


def parse(text: str) -> Configuration:
    table = json.loads(text)
    only(table, "", ["lookup-url", "fresh", "stale", "unknown", "logins-per-hour", "publish-per-second", "rules"])
    url = string(table, "", "lookup-url")
    if url is None:
        raise ConfigurationError("lookup-url: needed")
    if not re.fullmatch("https?://.*/", url, re.DOTALL):
        raise ConfigurationError("lookup-url: not an http or https URL that ends with /")
    rules = table.get("rules", [])
    if not isinstance(rules, list):
        raise ConfigurationError("rules: not a list")
    if not 1 <= len(rules) <= 64:
        raise ConfigurationError("rules: 1 to 64 are needed")
    return Configuration(
        lookup_url=url,
        fresh=number(table, "", "fresh", 60, 0, 86_400),
        stale=number(table, "", "stale", 28_800, 0, 604_800),
        unknown=number(table, "", "unknown", 30, 0, 3_600),
        logins_per_hour=number(table, "", "logins-per-hour", 20, 1, 1_000_000),
        publish_per_second=number(table, "", "publish-per-second", 10, 1, 1_000_000),
        rules=[parse_rule(index, rule) for index, rule in enumerate(rules)],
    )


def parse_rule(index: int, rule: Any) -> RuleTemplate:
    at = f"rules.{index}."
    if not isinstance(rule, dict):
        raise ConfigurationError(f"rules.{index}: not a table")
    only(rule, at, ["role", "effect", "actions", "filter", "max-qos"])
    effect = {"allow": Effect.ALLOW, "deny": Effect.DENY}.get(string(rule, at, "effect") or "allow")
    if effect is None:
        raise ConfigurationError(f"{at}effect: neither allow nor deny")
    listed = rule.get("actions", [])
    actions = Actions(0)
    for action in listed if isinstance(listed, list) else []:
        actions |= ACTIONS.get(action, Actions(0)) if isinstance(action, str) else Actions(0)
    if not actions or actions.value.bit_count() != len(listed):
        raise ConfigurationError(f"{at}actions: not a list of publish, subscribe, retain and will")
    filter = string(rule, at, "filter")
    if filter is None:
        raise ConfigurationError(f"{at}filter: needed")
    if not filter or re.search("[{}]", re.sub(r"\{(tenant|site|badge)\}", "", filter)):
        raise ConfigurationError(f"{at}filter: empty, or with a placeholder that is not {{tenant}}, {{site}} or {{badge}}")
    return RuleTemplate(string(rule, at, "role"), effect, actions, filter, number(rule, at, "max-qos", 1, 0, 2))


def only(table: dict[str, Any], at: str, known: list[str]) -> None:
    for key in sorted(table.keys() - set(known)):
        raise ConfigurationError(f"{at}{key}: there is no such key")


def string(table: dict[str, Any], at: str, key: str) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"{at}{key}: not a text")
    return value


def number(table: dict[str, Any], at: str, key: str, otherwise: int, least: int, most: int) -> int:
    value = table.get(key, otherwise)
    if type(value) is not int or not least <= value <= most:
        raise ConfigurationError(f"{at}{key}: not a whole number from {least} to {most}")
    return value
