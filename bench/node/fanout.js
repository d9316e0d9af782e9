"use strict";
// Events to all subscribed WebSockets, by npm's ws: an event is a line of JSON on standard input.
// node fanout.js '{"port": 1}'
const readline = require("node:readline");
const { WebSocketServer } = require("ws");
const { ready } = require("./duties");

const { port } = JSON.parse(process.argv[2]);
const receivers = new Set();
let position = 0;

const server = new WebSocketServer({ host: "127.0.0.1", port, perMessageDeflate: false, backlog: 1024 }, ready);
server.on("connection", (socket) => {
  socket.on("message", (text) => {
    const { topics } = JSON.parse(text);
    receivers.add(socket);
    socket.send(JSON.stringify({ type: "subscribed", topics, position: String(position) }));
  });
  socket.on("close", () => receivers.delete(socket));
});

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const { type, time, subject, data } = JSON.parse(line);
  position += 1;
  // Made once for all: what `ws` is sent as a string, it encodes for each.
  const frame = Buffer.from(JSON.stringify({ id: String(position), type, time, subject, data }));
  for (const socket of receivers) socket.send(frame, { binary: false });
});
