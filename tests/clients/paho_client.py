"""paho-mqtt against a gateway: one scenario for each run, described by a JSON object in the first argument.

Prints one JSON object and exits with 0 when the scenario went as it should; the reason of a failure goes to standard
error. The same scenarios, with the same words, are in mqttjs_client.mjs.
"""

import json
import queue
import sys
import threading
import urllib.request

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE = 110.0
VERSIONS = {3: mqtt.MQTTv31, 4: mqtt.MQTTv311, 5: mqtt.MQTTv5}


class Client:
    """A client whose callbacks fill queues, so that the scenario reads from top to bottom."""

    def __init__(self, told, suffix=""):
        self.told = told
        self.connected = queue.Queue()
        self.messages = queue.Queue()
        self.subscribed = queue.Queue()
        self.lost = 0
        self.leaving = False
        websocket = told["transport"] in ("ws", "wss")
        version = VERSIONS[told["version"]]
        options = {} if version == mqtt.MQTTv5 else {"clean_session": True}
        self.mqtt = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=told["clientId"] + suffix,
            protocol=version,
            transport="websockets" if websocket else "tcp",
            reconnect_on_failure=False,
            **options,
        )
        if websocket:
            self.mqtt.ws_set_options(path="/mqtt")
        if told["transport"] in ("tls", "wss"):
            self.mqtt.tls_set(ca_certs=told["ca"], certfile=told.get("cert"), keyfile=told.get("key"))
        if told.get("username") is not None:
            self.mqtt.username_pw_set(told["username"], told.get("password"))
        self.mqtt.on_connect = lambda client, data, flags, reason, properties: self.connected.put(reason)
        self.mqtt.on_message = lambda client, data, message: self.messages.put(message)
        self.mqtt.on_subscribe = lambda client, data, mid, reasons, properties: self.subscribed.put(reasons)
        self.published = queue.Queue()
        self.mqtt.on_publish = lambda client, data, mid, reason, properties: self.published.put(reason)
        self.mqtt.on_disconnect = self.on_disconnect

    def on_disconnect(self, client, data, flags, reason, properties):
        if not self.leaving:
            self.lost += 1

    def connect(self):
        """Connects and gives the reason of CONNACK."""
        properties = None
        if self.told.get("method") is not None:
            properties = Properties(PacketTypes.CONNECT)
            properties.AuthenticationMethod = self.told["method"]
            properties.AuthenticationData = self.told["data"].encode()
        options = {} if properties is None else {"properties": properties}
        self.mqtt.connect(self.told["host"], self.told["port"], keepalive=60, **options)
        self.mqtt.loop_start()
        return self.connected.get(timeout=PATIENCE)

    def subscribe(self, topic, qos):
        self.mqtt.subscribe(topic, qos)
        reasons = self.subscribed.get(timeout=PATIENCE)
        assert reasons[0].value == qos, f"SUBACK for {topic}: {reasons[0]}"

    def publish(self, topic, payload, qos, retain=False, properties=None):
        info = self.mqtt.publish(topic, payload, qos, retain, properties)
        info.wait_for_publish(PATIENCE)
        assert info.is_published(), f"{topic} was not acknowledged"

    def message(self):
        return self.messages.get(timeout=PATIENCE)

    def leave(self):
        self.leaving = True
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


def admitted(told, suffix=""):
    client = Client(told, suffix)
    reason = client.connect()
    assert reason.value == 0, f"refused: {reason}"
    return client


def roundtrip(told):
    """Every quality of service there and back, a wildcard, a retained message, properties, a message of 100 KB."""
    client = admitted(told)
    topic = told["topic"]
    client.subscribe(topic + "/#", 2)
    for qos in (0, 1, 2):
        client.publish(f"{topic}/{qos}", f"qos {qos}", qos)
        message = client.message()
        assert (message.topic, message.payload, message.qos) == (f"{topic}/{qos}", f"qos {qos}".encode(), qos), message
    large = bytes(range(250)) * 400
    client.publish(topic + "/large", large, 1)
    assert client.message().payload == large
    if told["version"] == 5:
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = "answers"
        properties.CorrelationData = b"\x00\xff"
        properties.ContentType = "text/plain"
        properties.UserProperty = [("a", "1"), ("a", "2")]
        client.publish(topic + "/properties", "p", 1, properties=properties)
        got = client.message().properties
        assert got.ResponseTopic == "answers" and got.CorrelationData == b"\x00\xff", got
        assert got.ContentType == "text/plain" and got.UserProperty == [("a", "1"), ("a", "2")], got
    client.publish(topic + "/retained", "kept", 1, retain=True)
    assert client.message().payload == b"kept"
    late = admitted(told, "-late")
    late.subscribe(topic + "/retained", 1)
    message = late.message()
    assert message.retain and message.payload == b"kept", message
    late.publish(topic + "/retained", "", 1, retain=True)
    late.leave()
    client.mqtt.unsubscribe(topic + "/#")
    client.leave()
    assert client.lost == 0
    return {}


def refused(told):
    """A login that must be refused: gives the code of CONNACK."""
    client = Client(told)
    reason = client.connect()
    client.leave()
    return {"code": reason.value}


def credential(told):
    """A login that is good, whatever it is: publishes where it may, and is told where it may not."""
    client = admitted(told)
    client.publish(told["topic"], "mine", 1)
    client.published.get(timeout=PATIENCE)
    if told["version"] == 5:
        client.mqtt.publish(told["forbidden"], "not mine", 1)
        code = client.published.get(timeout=PATIENCE).value
        assert code == 135, f"{told['forbidden']}: {code}"
    client.leave()
    return {}


def ask(told, path, body=None, token=None, accept=None):
    """POSTs JSON to the gateway and gives the JSON of its answer."""
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Token {token}"
    if accept is not None:
        headers["Accept"] = accept
    url = f"http://{told['host']}:{told['http']}{path}"
    request = urllib.request.Request(url, json.dumps(body or {}).encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def layer(told):
    """Registers, logs in, and comes in with everything that km-api and Layer give.

    paho answers no challenge, so its identity token comes with CONNECT, for a nonce that it has fetched before.
    """
    accept = "application/vnd.layer+json; version=1.0"
    person = {"email": told["email"], "password": told["secret"], "first_name": "Ann", "last_name": "Miller"}
    user = ask(told, "/auth/register/", person)["id"]
    token = ask(told, "/auth/login/", {"username": told["email"], "password": told["secret"]})["token"]

    def identity_token():
        nonce = ask(told, "/nonces", accept=accept)["nonce"]
        return ask(told, "/auth/layer/", {"nonce": nonce}, token)["identity_token"]

    opened = {"identity_token": identity_token(), "app_id": told["app"]}
    session = ask(told, "/sessions", opened, accept=accept)["session_token"]
    topic = f"users/{user}/paho"
    for password in (token, session):
        client = admitted(told | {"username": told["email"], "password": password, "topic": topic})
        client.subscribe(topic, 1)
        client.publish(topic, "mine", 1)
        assert client.message().payload == b"mine"
        client.leave()
    if told["version"] == 5:
        answer = told | {"username": None, "method": "Layer", "data": identity_token()}
        client = admitted(answer)
        client.subscribe(topic, 1)
        client.leave()
        again = refused(answer)
        assert again["code"] == 134, f"a replayed identity token: {again}"
    return {}


def load(told):
    """Publishes with QoS 1 to itself, one after another, until standard input ends."""
    client = admitted(told)
    client.subscribe(told["topic"], 1)
    print(json.dumps({"ready": True}), flush=True)
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    count = 0
    while not over.is_set() and client.lost == 0:
        client.publish(told["topic"], str(count), 1)
        message = client.message()
        assert message.payload == str(count).encode(), f"expected {count}, got {message.payload}"
        count += 1
    lost = client.lost
    client.leave()
    return {"count": count, "lost": lost}


def main():
    told = json.loads(sys.argv[1])
    scenarios = {"roundtrip": roundtrip, "refused": refused, "credential": credential, "layer": layer, "load": load}
    print(json.dumps(scenarios[told["scenario"]](told)), flush=True)


if __name__ == "__main__":
    main()
