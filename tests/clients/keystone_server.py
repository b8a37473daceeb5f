"""A real Keystone for the tests: SQLite, Fernet or JWS tokens, served by waitress on a free port of the loopback interface.

usage: keystone_server.py FOLDER (fernet|jws) [PORT]

FOLDER keeps database and keys, so that a second start with the same one finds what the first one made. When it serves, it
writes one line of JSON to standard output: its URL, what it was filled with, and where its public keys are. It ends when
its standard input does.
"""

import json
import os
import subprocess
import sys
import threading

folder, provider = os.path.abspath(sys.argv[1]), sys.argv[2]
port = int(sys.argv[3]) if len(sys.argv) > 3 else 0
os.makedirs(folder, exist_ok=True)
config = os.path.join(folder, "keystone.conf")
first = not os.path.exists(config)
keys = {name: os.path.join(folder, name) for name in ["fernet", "credential", "jws-private", "jws-public", "receipts"]}

if first:
    for path in keys.values():
        os.mkdir(path, 0o700)
    with open(config, "w", encoding="utf-8") as file:
        file.write(
            f"""[DEFAULT]
use_stderr = true
log_dir =
[database]
connection = sqlite:///{folder}/keystone.db
[token]
provider = {provider}
[cache]
enabled = false
[identity]
password_hash_rounds = 4
[fernet_tokens]
key_repository = {keys["fernet"]}
[fernet_receipts]
key_repository = {keys["receipts"]}
[credential]
key_repository = {keys["credential"]}
[jwt_tokens]
jws_private_key_repository = {keys["jws-private"]}
jws_public_key_repository = {keys["jws-public"]}
"""
        )
    manage = [os.path.join(os.path.dirname(sys.executable), "keystone-manage"), "--config-file", config]
    me = ["--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid())]
    say = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}

    def do(*arguments):
        done = subprocess.run([*manage, *arguments], check=False, **say)
        if done.returncode:
            sys.exit(f"keystone-manage {arguments}: {done.stderr}")

    do("db_sync")
    do("fernet_setup", *me)
    do("receipt_setup", *me)
    do("credential_setup", *me)
    if provider == "jws":
        do("create_jws_keypair", "--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid()))
        made = [name for name in ("private.pem", "public.pem") if os.path.exists(name)]
        for name in made:
            os.rename(name, os.path.join(keys["jws-" + name.split(".")[0]], name))

os.environ["OS_KEYSTONE_CONFIG_FILES"] = config
sys.argv = ["keystone"]

from keystone.common import provider_api  # noqa: E402
from keystone.server import wsgi  # noqa: E402
import waitress  # noqa: E402

application = wsgi.initialize_public_application()
server = waitress.create_server(application, host="127.0.0.1", port=port, threads=8)
url = f"http://127.0.0.1:{server.effective_port}/v3"
told = os.path.join(folder, "told.json")
if first:
    subprocess.run(
        [*manage, "bootstrap", "--bootstrap-password", "correct horse", "--bootstrap-public-url", url,
         "--bootstrap-region-id", "here"],
        check=True, **say,
    )
threading.Thread(target=server.run, daemon=True).start()
if first:
    # Filled through its own API, as an operator would.
    from keystoneauth1 import session
    from keystoneauth1.identity import v3

    def client(user, domain, **scope):
        auth = v3.Password(url, username=user, password="correct horse", user_domain_id=domain, **scope)
        return session.Session(auth=auth)

    admin = client("admin", "default", project_name="admin", project_domain_id="default")

    def make(what, body, who=admin, path=None):
        answer = who.post(f"{url}/{path or what + 's'}", json={what: body})
        return answer.json()[what]

    smart = make("domain", {"name": "smart"})["id"]
    gardens = make("project", {"name": "gardens", "domain_id": smart})["id"]
    other = make("project", {"name": "other", "domain_id": smart})["id"]
    roles = {role["name"]: role["id"] for role in admin.get(f"{url}/roles").json()["roles"]}
    operator = make("role", {"name": "operator"})["id"]
    people = {}
    for name, more in [("ann", {"default_project_id": gardens}), ("bob", {}), ("cem", {"enabled": False})]:
        body = {"name": name, "domain_id": smart, "password": "correct horse", **more}
        people[name] = make("user", body)["id"]
    for user, role, scope in [
        ("ann", operator, f"projects/{gardens}"),
        ("ann", operator, f"domains/{smart}"),
        ("bob", roles["reader"], f"projects/{other}"),
        ("ann", roles["reader"], "system"),
    ]:
        admin.put(f"{url}/{scope}/users/{people[user]}/roles/{role}")
    ann = client("ann", smart, project_id=gardens)
    credential = make(
        "application_credential", {"name": "pump", "roles": [{"name": "operator"}]}, ann,
        f"users/{people['ann']}/application_credentials",
    )
    with open(told, "w", encoding="utf-8") as file:
        json.dump(
            {
                "url": url, "smart": smart, "gardens": gardens, "other": other, **people,
                "credential": credential["id"], "secret": credential["secret"], "keys": keys["jws-public"],
                "admin": admin.get_user_id(), "project": admin.get_project_id(),
            },
            file,
        )
with open(told, encoding="utf-8") as file:
    about = json.load(file)
about["url"] = url
print(json.dumps(about), flush=True)
sys.stdin.read()
