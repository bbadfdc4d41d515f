// Connects to a URL with the default transports and waits for the upgrade to websocket.
// Prints one line of JSON. Exits 0 only when websocket was reached (and the event, if one was
// asked for, acknowledged).
//
//   node client.js http://127.0.0.1:8080/ --event echo --data hello
//
// The path of the URL is the namespace; --path is where the server listens. For a private CA
// set NODE_EXTRA_CA_CERTS.
"use strict";

const { parseArgs } = require("node:util");
const { io } = require("socket.io-client");

const usage =
  "usage: client.js URL [--event NAME [--data TEXT]] [--path /socket.io] [--auth JSON] [--timeout SECONDS]";

function options() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      event: { type: "string" },
      data: { type: "string" },
      path: { type: "string", default: "/socket.io" },
      auth: { type: "string" },
      timeout: { type: "string", default: "10" },
    },
  });
  const seconds = Number(values.timeout);
  if (positionals.length !== 1) throw new Error("give one URL");
  if (!(seconds > 0)) throw new Error("--timeout must be a number of seconds above 0");
  return {
    ...values,
    url: new URL(positionals[0]).href,
    auth: values.auth && JSON.parse(values.auth),
    milliseconds: seconds * 1000,
  };
}

function run(wanted, result) {
  const began = performance.now();
  const socket = io(wanted.url, {
    path: wanted.path,
    auth: wanted.auth,
    reconnection: false,
    forceNew: true,
  });
  const { engine } = socket.io;
  let timer;

  return new Promise((resolve, reject) => {
    const fail = (...why) => reject(new Error(why.join(": ")));
    let engineId;
    let socketId;

    timer = setTimeout(fail, wanted.milliseconds, `not done after ${wanted.timeout} s`);
    socket.once("connect_error", (error) => fail("no connection", reason(error)));
    socket.once("disconnect", (why) => fail("disconnected", why));
    // A refused connection closes the upgrade first and gives its reason right after.
    engine.once("upgradeError", (error) =>
      queueMicrotask(() => fail("no upgrade", reason(error))),
    );
    engine.once("handshake", ({ sid, upgrades }) => {
      engineId = sid;
      if (!upgrades.includes("websocket")) fail("the handshake offers no upgrade to websocket");
    });
    engine.once("open", () => result.transports.push(engine.transport.name));

    const done = async () => {
      // Either of the two may come first.
      if (!socket.connected || result.upgraded_ms === null) return;
      if (wanted.event) {
        const data = wanted.data === undefined ? [] : [wanted.data];
        result.ack = (await socket.emitWithAck(wanted.event, ...data)) ?? null;
      }
      result.sid_changed = engineId !== engine.id || socketId !== socket.id;
      resolve();
    };
    socket.once("connect", () => {
      socketId = socket.id;
      done().catch(reject);
    });
    engine.once("upgrade", (transport) => {
      result.transports.push(transport.name);
      result.upgraded_ms = Math.round(performance.now() - began);
      done().catch(reject);
    });
  }).finally(() => {
    clearTimeout(timer);
    socket.disconnect();
  });
}

function reason(error) {
  // The server's own words stand in the body of the answer.
  const said = error.context?.responseText?.split("\n")[0];
  const words = [error.message, error.context?.status, said, error.description?.message];
  return words.filter(Boolean).join(", ") || "refused without a reason";
}

async function main() {
  let wanted;
  try {
    wanted = options();
  } catch (error) {
    console.error(`${error.message}\n${usage}`);
    return 2;
  }
  const result = { transports: [], upgraded_ms: null, ack: null, sid_changed: null };
  try {
    await run(wanted, result);
  } catch (error) {
    result.error = error.message;
    console.error(error.message);
  }
  console.log(JSON.stringify(result));
  return result.error === undefined && result.transports.at(-1) === "websocket" ? 0 : 1;
}

main().then((code) => {
  process.exitCode = code;
});
