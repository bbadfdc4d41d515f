"use strict";

const $ = (id) => document.getElementById(id);
const socket = io({ path: document.body.dataset.path, autoConnect: false });
const trips = [];
let begun = 0;

function state(text, is) {
  $("state").textContent = text;
  document.body.dataset.is = is;
}

function add(list, text, strong) {
  const item = document.createElement("li");
  if (strong) item.append(Object.assign(document.createElement("b"), { textContent: strong }), " ");
  item.append(text);
  list.append(item);
  return item;
}

const step = (text) => add($("steps"), `${Math.round(performance.now() - begun)} ms: ${text}`);

function transport(name) {
  $("transport").textContent = document.body.dataset.transport = name;
  step(name === "websocket" ? "upgraded to websocket" : `connected by ${name}`);
}

// Every attempt to connect has an engine of its own, and the transport is the engine's.
function watch() {
  const engine = socket.io.engine;
  begun = performance.now();
  $("steps").replaceChildren();
  engine.once("open", () => transport(engine.transport.name));
  engine.on("upgrade", (to) => {
    transport(to.name);
    trips.length = 0;
  });
  engine.on("upgradeError", (error) => step(`no upgrade: ${error.message}`));
}

function ping() {
  if (!socket.connected) return;
  const sent = performance.now();
  socket.timeout(5000).emit("echo", sent, (error) => {
    if (error) return state("no answer", "bad");
    const took = performance.now() - sent;
    trips.push(took);
    if (trips.length > 60) trips.shift();
    const top = Math.max(...trips);
    $("trip").textContent = `${took.toFixed(1)} ms`;
    $("trips").setAttribute("points", trips.map((t, x) => `${x},${19 - (18 * t) / top}`).join(" "));
    state("connected", "good");
  });
}

socket.on("connect", () => { state("connected", "good"); ping(); });
socket.on("connect_error", (error) => state(error.message, "bad"));
socket.on("disconnect", (reason) => {
  state(`disconnected: ${reason}`, "bad");
  $("transport").textContent = document.body.dataset.transport = "none";
});
socket.on("whoami", (who) => {
  $("node").textContent = who.node;
  $("instance").textContent = who.instance ? `${who.instance} (pid ${who.pid})` : `pid ${who.pid}`;
  $("async-mode").textContent = who.async_mode;
});
socket.on("tabs", (count) => { $("tabs").textContent = count; });
socket.on("said", ({ text, node }) => {
  add($("said"), text, `${node}:`);
  while ($("said").children.length > 20) $("said").firstChild.remove();
});

$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket.connected) socket.emit("say", $("text").value, () => event.target.reset());
});

socket.io.on("reconnect_attempt", () => { state("reconnecting", "wait"); queueMicrotask(watch); });
socket.connect();
watch();
setInterval(ping, 1000);
