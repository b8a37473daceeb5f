"""Admits the devices of a site: the user name is the site, the password its code."""

import hmac
import re
import traceback

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import config, log
from wit_world.imports.types import (
    Actions, Connection, Credentials, Denial, DenyReason, Effect, Grant, Identity, Qos, Rule,
    Verdict, Verdict_Allow, Verdict_Deny, Verdict_Pass,
)

import schema


class Authentication(exports.Authentication):
    def authenticate(self, connection: Connection, credentials: Credentials) -> Verdict:
        try:
            return decide(credentials)
        except Exception:
            # A trap says nothing; the gateway shows what was logged last.
            log.write(log.Level.ERROR, traceback.format_exc(limit=-3))
            raise


def decide(credentials: Credentials) -> Verdict:
    site, device = credentials.username, credentials.client_id
    if credentials.method is not None or site is None:
        return Verdict_Pass()
    code = config.get(f"sites.{site}")
    if code is None:
        return Verdict_Pass()
    if not hmac.compare_digest(code.encode(), credentials.password or b""):
        return deny(DenyReason.BAD_CREDENTIALS, f"not the code of the site {site}")
    # What a client chose goes into a rule only if it is one level of a topic.
    if not device or re.search(r"[+#/\0]|^\$", device):
        return deny(DenyReason.CLIENT_ID_NOT_VALID, f"the client identifier {device!r} is no level of a topic")
    return Verdict_Allow(Grant(
        identity=Identity("site", device, site, None, [], []),
        expires_at=None,
        renew_after=None,
        client_id=None,
        rules=[Rule(Effect.ALLOW, Actions.PUBLISH | Actions.SUBSCRIBE, f"{site}/{device}/#", Qos.EXACTLY_ONCE)],
        limits=[],
        depends_on=[],
        state=b"",
        data=None,
        attributes=[],
    ))


def deny(reason: DenyReason, detail: str) -> Verdict:
    return Verdict_Deny(Denial(reason, detail, None, None, None, None))


class Descriptor(exports.Descriptor):
    def describe(self) -> exports.descriptor.Description:
        return exports.descriptor.Description(
            name="NAME",
            version="0.1.0",
            summary="Admits the devices of a site with the code of the site.",
            schemes=["site"],
            methods=[],
            config_schema=schema.TEXT,
        )

    def self_test(self) -> None:
        """Called with the real configuration before the policy goes live."""
        if not config.list_values("sites."):
            raise Err("the configuration names no `sites`")
