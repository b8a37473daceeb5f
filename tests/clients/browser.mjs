// MQTT.js in a page of headless Chromium: logs in over a secure WebSocket with each login of the first argument, publishes
// where it may and where it may not, and prints what came of each as a JSON array.
//
// Chromium is driven by nothing but its command line: it opens a page that this program serves, and the page posts back
// what it found.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

// A browser's first start on a machine, with tests all around it, may take minutes.
const PATIENCE = 540_000;
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const library = readFileSync(fileURLToPath(new URL("node_modules/mqtt/dist/mqtt.min.js", import.meta.url)));
const { logins } = JSON.parse(process.argv[2]);

/** Runs in the page. */
async function work(logins) {
  const one = (login) =>
    new Promise((resolve) => {
      const { credential, version } = login;
      const client = mqtt.connect(`wss://${login.host}:${login.port}/mqtt`, {
        protocolVersion: version,
        clientId: login.clientId,
        username: login.username,
        password: login.password ?? undefined,
        reconnectPeriod: 0,
      });
      const over = (result) => {
        clearTimeout(late);
        resolve({ credential, version, ...result });
        client.end(true);
      };
      const late = setTimeout(() => over({ error: "nothing came of it" }), 110_000);
      client.once("close", () => over({ error: "the connection was closed" }));
      client.once("error", (error) => over({ error: String(error), code: error.code }));
      client.once("connect", async () => {
        try {
          await client.publishAsync(login.topic, "from a page", { qos: 1 });
          if (version < 5) return over({ admitted: true });
          client.removeAllListeners("error");
          client.on("error", () => {});
          const refused = await client.publishAsync(login.forbidden, "x", { qos: 1 }).then(() => 0, (error) => error.code);
          over({ admitted: true, forbidden: refused });
        } catch (error) {
          over({ error: String(error) });
        }
      });
    });
  const results = [];
  for (const login of logins) results.push(await one(login));
  await fetch("/results", { method: "POST", body: JSON.stringify(results) });
}

const page = `<!doctype html><meta charset="utf-8"><title>MQTT</title><script src="/mqtt.js"></script>
<script>(${work})(${JSON.stringify(logins).replaceAll("<", "\\u003c")})
  .catch((error) => fetch("/results", { method: "POST", body: JSON.stringify([{ error: String(error) }]) }))</script>`;

const results = new Promise((resolve, reject) => {
  setTimeout(() => reject(new Error("the page said nothing")), PATIENCE);
  const server = createServer((request, response) => {
    if (request.method === "POST") {
      let body = "";
      request.on("data", (piece) => (body += piece));
      request.on("end", () => {
        response.end();
        resolve(body);
      });
    } else if (request.url === "/mqtt.js") {
      response.setHeader("content-type", "text/javascript");
      response.end(library);
    } else {
      response.setHeader("content-type", "text/html");
      response.end(page);
    }
  });
  server.listen(0, "127.0.0.1", () => browse(`http://127.0.0.1:${server.address().port}/`));
});

let browser;
const profile = mkdtempSync(join(tmpdir(), "portcullis-chromium-"));

function browse(url) {
  browser = spawn(
    CHROMIUM,
    [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
      // The authority of the test's certificate is one that no browser knows.
      "--ignore-certificate-errors",
      `--user-data-dir=${profile}`, url,
    ],
    // A group of its own: its helpers, which write to the profile as well, end with it.
    { stdio: ["ignore", "ignore", "inherit"], detached: true },
  );
}

let failed = false;
try {
  console.log(await results);
} catch (error) {
  console.error(error.message);
  failed = true;
}
if (browser?.pid) {
  const gone = new Promise((resolve) => browser.once("exit", resolve));
  try {
    process.kill(-browser.pid, "SIGKILL");
    await gone;
  } catch {
    // It has ended already.
  }
}
try {
  rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
} catch (error) {
  // What the browser leaves behind says nothing of the gateway.
  console.error(`${profile} is still there: ${error.message}`);
}
process.exit(failed ? 1 : 0);
