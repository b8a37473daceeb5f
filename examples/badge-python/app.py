"""The badge policy in Python. What it does is written in ../README.md; `configuration` reads the configuration, `service` asks the
badge service and remembers its answers, and this module decides."""

import functools
import hashlib
import hmac
import re
import traceback

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import clock, config as gateway_config, log, store
from wit_world.imports.types import (
    Connection, Credentials, Denial, DenyReason, Effect, Grant, Identity, Limit, Qos, Rule,
    Verdict, Verdict_Allow, Verdict_Deny, Verdict_Pass,
)

import configuration
import schema
import service
from configuration import Configuration, ConfigurationError
from service import Badge


class Refused(Exception):
    """The client is refused."""

    def __init__(self, reason: DenyReason, detail: str, message: str | None = None, retry_after: int | None = None):
        super().__init__(detail)
        self.denial = Denial(reason, detail, message, retry_after, None, None)


@functools.cache
def configured() -> Configuration:
    """The configuration does not change while an instance lives: it is read once."""
    return configuration.parse(gateway_config.json())


class Descriptor(exports.Descriptor):
    def describe(self) -> exports.descriptor.Description:
        return exports.descriptor.Description(
            name="badge",
            version="1.0.0",
            summary="Admits badge holders of the plant during their shifts.",
            schemes=["badge"],
            methods=[],
            config_schema=schema.TEXT,
        )

    def self_test(self) -> None:
        try:
            configured()
        except ConfigurationError as error:
            raise Err(str(error)) from error


class Authentication(exports.Authentication):
    def authenticate(self, connection: Connection, credentials: Credentials) -> Verdict:
        try:
            grant = decide(credentials)
        except Refused as refused:
            return Verdict_Deny(refused.denial)
        except Exception:
            # A trap says nothing; the gateway shows what was logged last.
            log.write(log.Level.ERROR, traceback.format_exc(limit=-3))
            raise
        return Verdict_Allow(grant) if grant else Verdict_Pass()


def decide(credentials: Credentials) -> Grant | None:
    number, secret = credentials.username, credentials.password
    # Not ours: no badge number, no secret, or an authentication method of MQTT 5.
    if credentials.method is not None or number is None or secret is None or not re.fullmatch("[0-9]{1,12}", number):
        return None
    try:
        config = configured()
    except ConfigurationError as error:
        raise Refused(DenyReason.UNAVAILABLE, f"the configuration is wrong: {error}") from error
    # What is no word of lower-case letters and digits never reaches a rule.
    place = re.fullmatch("([a-z0-9]{1,32})-([a-z0-9]{1,32})-([0-9]+)", credentials.client_id)
    if not place or place[3] != number:
        raise Refused(
            DenyReason.CLIENT_ID_NOT_VALID,
            f"badge {number}: the client identifier is not <tenant>-<site>-{number}",
            message="the client identifier must be <tenant>-<site>-<badge>",
        )
    tenant, site = place[1], place[2]

    now = clock.now()
    try:
        badge, source = service.look_up(config, number, now)
    except service.Unknown:
        raise Refused(DenyReason.BAD_CREDENTIALS, f"badge {number} is unknown") from None
    except service.Away as why:
        detail = f"badge {number}: the badge service cannot be asked: {why}"
        raise Refused(DenyReason.UNAVAILABLE, detail, retry_after=5) from None
    count_login(config, number, now)
    if not opens(badge, secret):
        raise Refused(DenyReason.BAD_CREDENTIALS, f"badge {number}: wrong PIN or token")
    if badge.blocked:
        raise Refused(DenyReason.BANNED, f"badge {number} is blocked", message="this badge is blocked")
    if (badge.tenant, badge.site) != (tenant, site):
        detail = f"badge {number} belongs to {badge.tenant}-{badge.site}, not to {tenant}-{site}"
        raise Refused(DenyReason.CLIENT_ID_NOT_VALID, detail)
    ends = end_of_shift(badge, number, now)
    rules = [
        Rule(rule.effect, rule.actions, rule.resolved(tenant=tenant, site=site, badge=number), Qos(rule.max_qos))
        for rule in config.rules
        if rule.role is None or rule.role in badge.roles
    ]
    if not any(rule.effect == Effect.ALLOW for rule in rules):
        raise Refused(DenyReason.NOT_AUTHORIZED, f"badge {number} has no role that may do anything here")
    return Grant(
        identity=Identity("badge", number, tenant, None, badge.roles, [("site", site), ("lookup", source)]),
        expires_at=ends,
        renew_after=None,
        client_id=None,
        rules=rules,
        limits=[Limit("publish-per-second", config.publish_per_second)],
        depends_on=[],
        state=b"",
        data=None,
        attributes=[],
    )


def count_login(config: Configuration, number: str, now: int) -> None:
    """One login more in this hour. Attempts with a wrong PIN count as well: there are only ten thousand PINs."""
    hour = now // 3600
    try:
        count = store.increment(f"logins:{number}:{hour}", 1, 3600)
    except Err as error:
        detail = f"badge {number}: logins cannot be counted: {service.words(error.value)}"
        raise Refused(DenyReason.UNAVAILABLE, detail) from error
    if count > config.logins_per_hour:
        raise Refused(
            DenyReason.QUOTA_EXCEEDED,
            f"badge {number}: more than {config.logins_per_hour} logins in this hour",
            message="too many logins with this badge",
            retry_after=(hour + 1) * 3600 - now,
        )


def end_of_shift(badge: Badge, number: str, now: int) -> int:
    """When the shift ends that goes on now."""
    if ends := [end for begin, end in badge.shifts if begin <= now < end]:
        return max(ends)
    begins = [begin for begin, _ in badge.shifts if begin > now]
    raise Refused(
        DenyReason.NOT_AUTHORIZED,
        f"badge {number} has no shift now",
        message="outside of the shift",
        retry_after=min(begins) - now if begins else None,
    )


def opens(badge: Badge, secret: bytes) -> bool:
    """Whether the PIN or the badge's token is right. The service gives `salt$SHA-256(salt, secret)`, in hexadecimal."""
    right = False
    for known in badge.secrets:
        salt, separator, digest = known.partition("$")
        if separator:
            made = hashlib.sha256(salt.encode() + secret).hexdigest()
            right |= hmac.compare_digest(made.encode(), digest.encode())
    return right
