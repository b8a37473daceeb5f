"""Sends one corpus of requests, good and bad, to a real Keystone and to the gateway in its place, and compares status, the
headers that clients look at, and the shape of the bodies.

usage: keystone_differential.py REAL OURS

REAL and OURS are JSON objects with the same members, each with its own values: `url`, the identifiers `smart` (a domain),
`gardens` and `other` (its projects), `ann`, `bob`, `cem` (its users; the last is disabled), and the application credential
`credential` with its `secret`. What may differ is in `keystone_differences.json`, each with its reason. Prints every
difference that is not listed, and every listed one that there is not; succeeds if there is none of either.
"""

import http.client
import json
import os
import sys
from urllib.parse import urlsplit

PASSWORD = "correct horse"
HEADERS = ["vary", "www-authenticate", "x-subject-token", "content-type", "location"]


class Place:
    """One of the two, with what was learnt from it on the way."""

    def __init__(self, about):
        self.about = about
        self.base = urlsplit(about["url"])
        self.tokens = {}

    def send(self, method, path, headers=None, body=None):
        connection = http.client.HTTPConnection(self.base.hostname, self.base.port, timeout=110)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        headers = dict(headers or {})
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def __getitem__(self, name):
        return self.about[name]


def user(place, name="ann", password=PASSWORD, **more):
    return {"methods": ["password"], "password": {"user": {"id": place[name], "password": password, **more}}}


def named(name="ann", domain=None, password=PASSWORD):
    return {
        "methods": ["password"],
        "password": {"user": {"name": name, "domain": domain or {"name": "smart"}, "password": password}},
    }


def token(place, name):
    return {"methods": ["token"], "token": {"id": place.tokens[name]}}


def credential(place, **more):
    return {
        "methods": ["application_credential"],
        "application_credential": {"id": place["credential"], "secret": place["secret"], **more},
    }


GARDENS = {"project": {"name": "gardens", "domain": {"name": "smart"}}}
UNSCOPED = {"unscoped": {}}


def corpus():
    """Name, how to make the request of a place, and under which name to keep the token of the answer."""

    def post(name, auth, keep=None, path="/v3/auth/tokens", headers=None):
        made = auth if callable(auth) else lambda place: auth
        return name, lambda place: ("POST", path, headers, made(place)), keep

    def auth(name, identity, scope=None, keep=None, **more):
        def body(place):
            made = identity(place) if callable(identity) else identity
            wanted = scope(place) if callable(scope) else scope
            return {"auth": {"identity": made, **({"scope": wanted} if wanted is not None else {})}}

        return post(name, body, keep, **more)

    yield auth("password by id, default project", user, keep="ann")
    yield auth("password by name and domain name", named(), keep="ann2")
    yield auth("password by name and domain id", lambda p: named(domain={"id": p["smart"]}))
    yield auth("password, project by id", user, lambda p: {"project": {"id": p["gardens"]}})
    yield auth("password, project by name", user, GARDENS)
    yield auth("password, project by name and domain id", user,
               lambda p: {"project": {"name": "gardens", "domain": {"id": p["smart"]}}})
    yield auth("password, domain by name", user, {"domain": {"name": "smart"}}, keep="domain")
    yield auth("password, domain by id", user, lambda p: {"domain": {"id": p["smart"]}})
    yield auth("password, system", user, {"system": {"all": True}}, keep="system")
    yield auth("password, explicitly unscoped, object", user, UNSCOPED, keep="unscoped")
    yield auth("password, explicitly unscoped, text", user, "unscoped")
    yield auth("no default project", lambda p: user(p, "bob"), keep="bob")
    yield auth("nocatalog", user, path="/v3/auth/tokens?nocatalog")
    yield auth("nocatalog with a value", user, path="/v3/auth/tokens?nocatalog=false")
    yield auth("trailing slash", user, path="/v3/auth/tokens/")

    yield auth("token, no scope", lambda p: token(p, "unscoped"))
    yield auth("token, to a project", lambda p: token(p, "unscoped"), GARDENS, keep="rescoped")
    yield auth("token of a token", lambda p: token(p, "rescoped"), {"domain": {"name": "smart"}})
    yield auth("token, scoped to unscoped", lambda p: token(p, "ann"), UNSCOPED)
    yield auth("system token to a project", lambda p: token(p, "system"), GARDENS)
    yield auth("token and password", lambda p: {**token(p, "ann"), **user(p), "methods": ["token", "password"]})
    yield auth("token of another user and password", lambda p: {**token(p, "bob"), **user(p), "methods": ["token", "password"]})
    yield auth("methods twice", lambda p: {**user(p), "methods": ["password", "password"]})
    yield auth("token that is none", {"methods": ["token"], "token": {"id": "nonsense"}})
    yield auth("token without id", {"methods": ["token"], "token": {}})
    yield auth("application credential", credential, keep="credential")
    yield auth("application credential by name and user id",
               lambda p: {"methods": ["application_credential"], "application_credential": {
                   "name": "pump", "secret": p["secret"], "user": {"id": p["ann"]}}})
    yield auth("application credential by name and user name",
               lambda p: {"methods": ["application_credential"], "application_credential": {
                   "name": "pump", "secret": p["secret"], "user": {"name": "ann", "domain": {"name": "smart"}}}})
    yield auth("application credential with a scope", credential, GARDENS)
    yield auth("application credential, wrong secret", lambda p: credential(p, secret="x" * 86))
    yield auth("application credential, unknown id", lambda p: credential(p, id="0" * 32))
    yield auth("application credential without id and name",
               lambda p: {"methods": ["application_credential"], "application_credential": {"secret": p["secret"]}})
    yield auth("token of an application credential", lambda p: token(p, "credential"))

    yield auth("wrong password", lambda p: user(p, password="wrong horse"))
    yield auth("unknown user id", lambda p: {"methods": ["password"], "password": {"user": {"id": "0" * 32, "password": "x"}}})
    yield auth("unknown user name", named("nobody"))
    yield auth("unknown domain of the user", named(domain={"name": "nowhere"}))
    yield auth("disabled user", lambda p: user(p, "cem"))
    yield auth("no password", lambda p: {"methods": ["password"], "password": {"user": {"id": p["ann"]}}})
    yield auth("project without a role", lambda p: user(p, "bob"), GARDENS)
    yield auth("unknown project", user, {"project": {"id": "0" * 32}})
    yield auth("unknown project by name", user, {"project": {"name": "nowhere", "domain": {"name": "smart"}}})
    yield auth("project of an unknown domain", user, {"project": {"name": "gardens", "domain": {"name": "nowhere"}}})
    yield auth("unknown domain", user, {"domain": {"name": "nowhere"}})
    yield auth("domain without a role", lambda p: user(p, "bob"), {"domain": {"name": "smart"}})
    yield auth("system without a role", lambda p: user(p, "bob"), {"system": {"all": True}})

    yield post("no body", None)
    yield post("not JSON", lambda p: "{")
    yield post("a list", lambda p: "[]")
    yield post("empty object", {})
    yield post("auth is null", {"auth": None})
    yield post("auth is empty", {"auth": {}})
    yield post("auth is a text", {"auth": "x"})
    yield post("identity is a list", {"auth": {"identity": []}})
    yield auth("no methods", {})
    yield auth("methods is a text", {"methods": "password"})
    yield auth("method of no text", {"methods": [1]})
    yield auth("empty methods", {"methods": []})
    yield auth("method without data", {"methods": ["password"]})
    yield auth("unknown method", {"methods": ["magic"], "magic": {}})
    yield auth("password without user", {"methods": ["password"], "password": {}})
    yield auth("user without name", {"methods": ["password"], "password": {"user": {"password": "x"}}})
    yield auth("user without domain", {"methods": ["password"], "password": {"user": {"name": "ann", "password": "x"}}})
    yield auth("user with an empty domain", named(domain={"x": 1}))
    yield auth("user id is a number", {"methods": ["password"], "password": {"user": {"id": 1, "password": "x"}}})
    yield auth("password is a number", lambda p: user(p, password=1))
    yield auth("scope is a number", user, 7)
    yield auth("scope is another text", user, "elsewhere")
    yield auth("scope is empty", user, {})
    yield auth("two scopes", user, lambda p: {"project": {"id": p["gardens"]}, "domain": {"id": p["smart"]}})
    yield auth("project without id and name", user, {"project": {}})
    yield auth("project by name without domain", user, {"project": {"name": "gardens"}})
    yield auth("domain without id and name", user, {"domain": {}})
    yield auth("unknown scope", user, {"galaxy": {}})

    def call(name, method, path, own=None, subject=None, body=None, more=None):
        def made(place):
            headers = dict(more or {})
            if own:
                headers["X-Auth-Token"] = place.tokens.get(own, own)
            if subject:
                headers["X-Subject-Token"] = place.tokens.get(subject, subject)
            return method, path, headers, body

        return name, made, None

    tokens = "/v3/auth/tokens"
    for name in ["ann", "unscoped", "domain", "system", "rescoped", "credential"]:
        yield call(f"a token validates itself: {name}", "GET", tokens, name, name)
    yield call("validation without a catalog", "GET", tokens + "?nocatalog", "ann", "ann")
    yield call("check", "HEAD", tokens, "ann", "ann")
    yield call("another token of the same user", "GET", tokens, "ann", "ann2")
    yield call("somebody else's token", "GET", tokens, "bob", "ann")
    yield call("a system reader validates", "GET", tokens, "system", "bob")
    yield call("a system reader checks", "HEAD", tokens, "system", "bob")
    yield call("a system reader revokes", "DELETE", tokens, "system", "bob")
    yield call("no tokens at all", "GET", tokens)
    yield call("no own token", "GET", tokens, None, "ann")
    yield call("own token is nonsense", "GET", tokens, "nonsense", "ann")
    yield call("own token is nonsense, check", "HEAD", tokens, "nonsense", "ann")
    yield call("no subject token", "GET", tokens, "ann")
    yield call("no subject token, system", "GET", tokens, "system")
    yield call("no subject token, revoke", "DELETE", tokens, "ann")
    yield call("subject is nonsense", "GET", tokens, "ann", "nonsense")
    yield call("subject is nonsense, system", "GET", tokens, "system", "nonsense")
    yield call("subject is nonsense, revoke", "DELETE", tokens, "ann", "nonsense")
    yield call("somebody else revokes", "DELETE", tokens, "bob", "ann")
    yield call("put", "PUT", tokens, "ann", "ann", body="{}")
    yield call("patch", "PATCH", tokens, "ann", "ann", body="{}")

    yield call("projects", "GET", "/v3/auth/projects", "unscoped")
    yield call("projects of nobody", "GET", "/v3/auth/projects")
    yield call("domains", "GET", "/v3/auth/domains", "unscoped")
    yield call("system scopes", "GET", "/v3/auth/system", "unscoped")
    yield call("system scopes of none", "GET", "/v3/auth/system", "bob")
    yield call("catalog", "GET", "/v3/auth/catalog", "ann")
    yield call("catalog, unscoped", "GET", "/v3/auth/catalog", "unscoped")
    yield call("catalog of nobody", "GET", "/v3/auth/catalog")
    yield call("version", "GET", "/v3")
    yield call("version with a slash", "GET", "/v3/")
    yield call("version by HEAD", "HEAD", "/v3")
    yield call("versions", "GET", "/")
    yield call("nothing there", "GET", "/v3/auth/nothing", "ann")
    yield call("post to projects", "POST", "/v3/auth/projects", "ann", body="{}")

    yield call("a token revokes itself", "DELETE", tokens, "rescoped", "rescoped")
    yield call("a revoked token", "GET", tokens, "rescoped", "rescoped")
    yield call("a revoked token is looked at", "GET", tokens, "ann", "rescoped")
    yield call("a revoked token is revoked", "DELETE", tokens, "ann", "rescoped")
    yield auth("a revoked token is exchanged", lambda p: token(p, "rescoped"))
    yield call("the parent lives", "GET", tokens, "unscoped", "unscoped")
    yield auth("a child", lambda p: token(p, "unscoped"), GARDENS, keep="child")
    yield call("the parent alone is revoked", "DELETE", tokens + "?cascade=false", "unscoped", "unscoped")
    yield call("its child lives", "GET", tokens, "child", "child")
    yield auth("another parent", user, UNSCOPED, keep="parent")
    yield auth("another child", lambda p: token(p, "parent"), GARDENS, keep="orphan")
    yield call("a parent is revoked", "DELETE", tokens, "parent", "parent")
    yield call("its child goes with it", "GET", tokens, "orphan", "orphan")


def shape(value):
    """What a client relies on: members and types, not values. Of a list the distinct shapes of its elements."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in sorted(value.items())}
    if isinstance(value, list):
        shapes = []
        for item in value:
            if shape(item) not in shapes:
                shapes.append(shape(item))
        return shapes
    return {str: "text", bool: "flag", int: "number", float: "number", type(None): "null"}[type(value)]


def precise(value, path=""):
    """Values that must be the same: words of the protocol, and how many there are of what."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from precise(member, f"{path}.{name}")
    elif isinstance(value, list) and path.endswith((".audit_ids", ".roles", ".methods", ".projects", ".domains", ".system")):
        yield path, len(value)
        if path.endswith(".methods"):
            yield path, sorted(value)
        for item in value:
            yield from precise(item, path)
    elif path.endswith((".code", ".title", ".restricted", ".is_domain", ".status", ".id")) or (
        path.endswith(".name") and ".user" in path
    ):
        if not path.endswith(".id") or str(value).startswith("v3."):
            yield path, value


def seen(place, status, headers, body):
    # Names of one place that stand in words of the answer.
    def plain(text):
        for name, value in sorted(place.about.items(), key=lambda item: -len(str(item[1]))):
            text = text.replace(str(value), f"<{name}>")
        return text.replace(f"{place.base.scheme}://{place.base.netloc}", "<root>")

    told = {"status": status}
    for name in HEADERS:
        if name in headers:
            told[name] = "<token>" if name == "x-subject-token" else plain(headers[name])
    try:
        value = json.loads(plain(body.decode()))
        told["shape"] = shape(value)
        told["values"] = sorted(([*pair] for pair in precise(value)), key=str)
    except ValueError:
        told["body"] = "some text" if body else "empty"
    return told


def main():
    places = {"real": Place(json.loads(sys.argv[1])), "ours": Place(json.loads(sys.argv[2]))}
    with open(os.path.join(os.path.dirname(__file__), "keystone_differences.json"), encoding="utf-8") as file:
        listed = json.load(file)
    found = {}
    count = 0
    for name, made, keep in corpus():
        count += 1
        told = {}
        for which, place in places.items():
            status, headers, body = place.send(*made(place))
            if keep and "x-subject-token" in headers:
                place.tokens[keep] = headers["x-subject-token"]
            told[which] = seen(place, status, headers, body)
        for what in sorted({*told["real"], *told["ours"]}):
            real, ours = told["real"].get(what), told["ours"].get(what)
            if real != ours:
                found[f"{name}: {what}"] = {"real": real, "ours": ours}
    reasons = {case: reason["why"] for reason in listed for case in reason["cases"]}
    unlisted = {case: difference for case, difference in found.items() if case not in reasons}
    vanished = [case for case in reasons if case not in found]
    if unlisted or vanished:
        print(json.dumps({"not listed": unlisted, "listed, and not there": vanished}, indent=1))
        sys.exit(1)
    print(json.dumps({"requests": count, "differences": len(found)}))


if __name__ == "__main__":
    main()
