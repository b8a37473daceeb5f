"""The badge service, and what is remembered of its answers.

An entry of the store is `<seconds>\\n<answer>`: when the service said it, and the JSON that it said; nothing after the line's
end for a badge that it does not know. All languages write it alike, so that a swap keeps what is remembered.
"""

import json
import math
from dataclasses import dataclass

from componentize_py_types import Err
from wit_world.imports import clock, http_client, log, store

from configuration import Configuration


@dataclass
class Badge:
    """What the service knows of a badge. It may say more, which is not for us."""

    tenant: str
    site: str
    roles: list[str]
    secrets: list[str]
    shifts: list[tuple[int, int]]
    blocked: bool


class Unknown(Exception):
    """The service does not know the badge."""


class Away(Exception):
    """The service cannot be asked, for this reason."""


def look_up(config: Configuration, number: str, now: int) -> tuple[Badge, str]:
    """Asks the store, then the service, then the store again if the service is away. Gives the badge and where its entry came
    from: `service`, `cache` or `stale`."""
    key = f"badge:{number}"
    age, answer = recall(key, now)
    if answer == "" and age < config.unknown:
        raise Unknown
    remembered = understood(answer) if answer else None
    if remembered and age < config.fresh:
        return remembered, "cache"
    try:
        badge, answer = ask(config, number)
    except Unknown:
        remember(key, f"{now}\n", config.unknown)
        raise
    except Away as why:
        if remembered and age < config.stale:
            log.write(log.Level.WARN, f"badge {number}: from memory, the badge service cannot be asked: {why}")
            return remembered, "stale"
        raise
    remember(key, f"{now}\n{answer}", max(config.stale, config.fresh))
    return badge, "service"


def recall(key: str, now: int) -> tuple[float, str | None]:
    try:
        said_at, separator, answer = (store.get(key) or b"").decode().partition("\n")
        # A clock that was set back makes an entry old, not young.
        age = now - int(said_at) if int(said_at) <= now else math.inf
    except (Err, ValueError):
        return math.inf, None
    return age, answer if separator else None


def ask(config: Configuration, number: str) -> tuple[Badge, str]:
    """One request."""
    request = http_client.Request(
        method="GET",
        url=config.lookup_url + number,
        headers=[("accept", "application/json")],
        body=b"",
        # Half of what is left, so that there is time for an answer from memory.
        timeout_ms=clock.remaining_ms() // 2,
    )
    try:
        response = http_client.send(request)
    except Err as error:
        match error.value:
            case http_client.Error_NotAllowed(host):
                raise Away(f"{host} is not among `allow.http`") from error
            case http_client.Error_InvalidRequest():
                raise Away("the request is invalid") from error
            case http_client.Error_Unreachable():
                raise Away("no connection") from error
            case http_client.Error_Timeout():
                raise Away("no answer in time") from error
            case http_client.Error_TooLarge():
                raise Away("its answer is too large") from error
            case _:
                raise Away("the request failed") from error
    if response.status == 404:
        raise Unknown
    if response.status != 200:
        raise Away(f"it answers {response.status}")
    try:
        answer = response.body.decode()
    except UnicodeDecodeError:
        answer = ""
    badge = understood(answer)
    if badge is None:
        raise Away("its answer makes no sense")
    return badge, answer


def understood(text: str) -> Badge | None:
    """The badge, if that is what the text says."""
    try:
        said = json.loads(text)
        badge = Badge(
            tenant=said["tenant"],
            site=said["site"],
            roles=said["roles"],
            secrets=said["secrets"],
            shifts=[(shift["from"], shift["to"]) for shift in said["shifts"]],
            blocked=said.get("blocked", False),
        )
        texts = [badge.tenant, badge.site, *badge.roles, *badge.secrets]
        times = [time for shift in badge.shifts for time in shift]
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    whole = (
        isinstance(badge.roles, list)
        and isinstance(badge.secrets, list)
        and all(isinstance(text, str) for text in texts)
        and all(type(time) is int and time >= 0 for time in times)
        and isinstance(badge.blocked, bool)
    )
    return badge if whole else None


def remember(key: str, entry: str, seconds: int) -> None:
    """What cannot be remembered is asked again: no reason to refuse anybody."""
    # A time to live of 0 is none; nothing is remembered then.
    if seconds == 0:
        return
    try:
        store.set(key, entry.encode(), seconds)
    except Err as error:
        log.write(log.Level.WARN, f"{key} is not remembered: {words(error.value)}")


def words(error: store.Error) -> str:
    return "the storage is full" if isinstance(error, store.Error_Full) else error.value
