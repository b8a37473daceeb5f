// MQTT.js against a gateway: one scenario for each run, described by a JSON object in the first argument.
//
// Prints one JSON object and exits with 0 when the scenario went as it should; the reason of a failure goes to standard
// error. The same scenarios, with the same words, are in paho_client.py.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import mqtt from "mqtt";

const PATIENCE = 110_000;
const SCHEMES = { tcp: "mqtt", tls: "mqtts", ws: "ws", wss: "wss" };
const told = JSON.parse(process.argv[2]);

/** Rejects when `promise` takes too long. */
function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** What arrives before it is asked for waits. */
class Queue {
  #items = [];
  #waiting = [];
  put(item) {
    const taker = this.#waiting.shift();
    if (taker) taker(item);
    else this.#items.push(item);
  }
  get(what) {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    return within(what, new Promise((resolve) => this.#waiting.push(resolve)));
  }
}

class Client {
  messages = new Queue();
  lost = 0;
  #leaving = false;

  constructor(suffix = "", other = {}) {
    const path = told.transport.startsWith("ws") ? "/mqtt" : "";
    this.mqtt = mqtt.connect(`${SCHEMES[told.transport]}://${told.host}:${told.port}${path}`, {
      protocolVersion: told.version,
      protocolId: told.version === 3 ? "MQIsdp" : "MQTT",
      clientId: told.clientId + suffix,
      clean: true,
      reconnectPeriod: 0,
      username: told.username,
      password: told.password ?? undefined,
      ca: told.ca ? readFileSync(told.ca) : undefined,
      cert: told.cert ? readFileSync(told.cert) : undefined,
      key: told.key ? readFileSync(told.key) : undefined,
      ...other,
    });
    this.mqtt.on("message", (topic, payload, packet) => this.messages.put({ topic, payload, packet }));
    this.mqtt.on("close", () => {
      if (!this.#leaving) this.lost += 1;
    });
  }

  /** The code of CONNACK. */
  connected() {
    return within("CONNACK", new Promise((resolve, reject) => {
      this.mqtt.once("connect", () => resolve(0));
      this.mqtt.once("error", (error) => (typeof error.code === "number" ? resolve(error.code) : reject(error)));
    }));
  }

  async subscribe(topic, qos) {
    const [granted] = await within("SUBACK", this.mqtt.subscribeAsync(topic, { qos }));
    assert.equal(granted.qos, qos, `SUBACK for ${topic}`);
  }

  publish(topic, payload, options) {
    return within(`the acknowledgement for ${topic}`, this.mqtt.publishAsync(topic, payload, options));
  }

  leave() {
    this.#leaving = true;
    return within("the end", this.mqtt.endAsync());
  }
}

async function admitted(suffix, other) {
  const client = new Client(suffix, other);
  assert.equal(await client.connected(), 0, "refused");
  return client;
}

/** Every quality of service there and back, a wildcard, a retained message, properties, a message of 100 KB. */
async function roundtrip() {
  const client = await admitted();
  const { topic } = told;
  await client.subscribe(`${topic}/#`, 2);
  for (const qos of [0, 1, 2]) {
    await client.publish(`${topic}/${qos}`, `qos ${qos}`, { qos });
    const message = await client.messages.get("a message");
    assert.deepEqual(
      [message.topic, message.payload.toString(), message.packet.qos],
      [`${topic}/${qos}`, `qos ${qos}`, qos],
    );
  }
  const large = Buffer.alloc(100_000, "0123456789");
  await client.publish(`${topic}/large`, large, { qos: 1 });
  assert.ok((await client.messages.get("the large message")).payload.equals(large));
  if (told.version === 5) {
    const properties = {
      responseTopic: "answers",
      correlationData: Buffer.from([0, 255]),
      contentType: "text/plain",
      userProperties: { a: ["1", "2"] },
    };
    await client.publish(`${topic}/properties`, "p", { qos: 1, properties });
    const got = (await client.messages.get("the message with properties")).packet.properties;
    assert.equal(got.responseTopic, "answers");
    assert.ok(got.correlationData.equals(properties.correlationData));
    assert.equal(got.contentType, "text/plain");
    assert.deepEqual({ ...got.userProperties }, properties.userProperties);
  }
  await client.publish(`${topic}/retained`, "kept", { qos: 1, retain: true });
  assert.equal((await client.messages.get("the live message")).payload.toString(), "kept");
  const late = await admitted("-late");
  await late.subscribe(`${topic}/retained`, 1);
  const message = await late.messages.get("the retained message");
  assert.ok(message.packet.retain);
  assert.equal(message.payload.toString(), "kept");
  await late.publish(`${topic}/retained`, "", { qos: 1, retain: true });
  await late.leave();
  await within("UNSUBACK", client.mqtt.unsubscribeAsync(`${topic}/#`));
  await client.leave();
  assert.equal(client.lost, 0);
  return {};
}

/** A login that must be refused: gives the code of CONNACK. */
async function refused() {
  const client = new Client();
  const code = await client.connected();
  await client.leave();
  return { code };
}

/** A login that is good, whatever it is: publishes where it may, and is told where it may not. */
async function credential() {
  const client = await admitted();
  await client.publish(told.topic, "mine", { qos: 1 });
  if (told.version === 5) {
    const code = await client.publish(told.forbidden, "not mine", { qos: 1 }).then(() => 0, (error) => error.code);
    assert.equal(code, 135, told.forbidden);
  }
  await client.leave();
  return {};
}

/** POSTs JSON to the gateway and gives the JSON of its answer. */
async function ask(path, { body = {}, token, accept } = {}) {
  const headers = { "content-type": "application/json" };
  if (token) headers.authorization = `Token ${token}`;
  if (accept) headers.accept = accept;
  const request = { method: "POST", headers, body: JSON.stringify(body), signal: AbortSignal.timeout(PATIENCE) };
  const answer = await fetch(`http://${told.host}:${told.http}${path}`, request);
  const text = await answer.text();
  assert.ok(answer.ok, `${path}: ${answer.status} ${text}`);
  return JSON.parse(text);
}

/** Registers, logs in, and comes in with everything that km-api and Layer give, a challenge included. */
async function layer() {
  const accept = "application/vnd.layer+json; version=1.0";
  const { email, secret: password } = told;
  const user = (await ask("/auth/register/", { body: { email, password, first_name: "Ann", last_name: "Miller" } })).id;
  const { token } = await ask("/auth/login/", { body: { username: email, password } });
  const answerTo = async (nonce) => (await ask("/auth/layer/", { body: { nonce }, token })).identity_token;

  const { nonce } = await ask("/nonces", { accept });
  const opened = { identity_token: await answerTo(nonce), app_id: told.app };
  const session = (await ask("/sessions", { body: opened, accept })).session_token;
  const topic = `users/${user}/mqttjs`;
  const works = async (client) => {
    await client.subscribe(topic, 1);
    await client.publish(topic, "mine", { qos: 1 });
    assert.equal((await client.messages.get("a message")).payload.toString(), "mine");
    await client.leave();
    assert.equal(client.lost, 0);
  };
  for (const secret of [token, session]) await works(await admitted("", { username: email, password: secret }));
  if (told.transport.startsWith("ws")) {
    const path = `/mqtt?session_token=${session}`;
    await works(await admitted("", { path, username: undefined, password: undefined }));
  }
  if (told.version === 5) {
    const properties = { authenticationMethod: "Layer" };
    const client = new Client("", { username: undefined, password: undefined, properties });
    const nonces = [];
    client.mqtt.handleAuth = (packet, callback) => {
      if (packet.reasonCode === 0) return callback();
      const asked = packet.properties.authenticationData.toString();
      nonces.push(asked);
      answerTo(asked).then((token) => {
        const answer = { authenticationMethod: "Layer", authenticationData: Buffer.from(token) };
        callback(undefined, { cmd: "auth", reasonCode: 0x18, properties: answer });
      }, callback);
    };
    assert.equal(await client.connected(), 0, "refused");
    assert.equal(nonces.length, 1, "one challenge");
    await works(client);
  }
  return {};
}

/** Publishes with QoS 1 to itself, one after another, until standard input ends. */
async function load() {
  const client = await admitted();
  await client.subscribe(told.topic, 1);
  let over = false;
  process.stdin.on("end", () => (over = true)).resume();
  console.log(JSON.stringify({ ready: true }));
  let count = 0;
  while (!over && client.lost === 0) {
    await client.publish(told.topic, String(count), { qos: 1 });
    const message = await client.messages.get("a message");
    assert.equal(message.payload.toString(), String(count));
    count += 1;
  }
  const { lost } = client;
  await client.leave();
  return { count, lost };
}

console.log(JSON.stringify(await { roundtrip, refused, credential, layer, load }[told.scenario]()));
process.exit(0);
