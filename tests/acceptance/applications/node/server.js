// A board of messages: Express with sessions in PostgreSQL, Socket.IO over all instances by its adapter for PostgreSQL.
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const express = require("express");
const session = require("express-session");
const { Pool } = require("pg");
const { Server } = require("socket.io");
const { createAdapter } = require("@socket.io/postgres-adapter");
const Sessions = require("connect-pg-simple")(session);

const version = process.env.VERSION;
const pool = new Pool({ host: "127.0.0.1", port: Number(process.env.DB_PORT), user: "board", database: "postgres" });
const tables = `
  select pg_advisory_xact_lock(1); -- statements sent together are one transaction: held until it is committed
  create table if not exists session (sid text primary key, sess json not null, expire timestamp not null);
  create table if not exists messages (id bigserial primary key, key text unique not null, author text, text text);
  create table if not exists socket_io_attachments (
    id bigserial unique, created_at timestamptz default now(), payload bytea);
  ${version === "1.0" ? "" : "alter table messages add column if not exists mood text default 'calm';"}`;

const app = express();
const sessions = session({
  store: new Sessions({ pool }),
  secret: "of a test",
  resave: false,
  saveUninitialized: false,
});
app.use((_request, response, next) => {
  response.set("X-Version", version);
  next();
});
app.get("/up", async (_request, response) => {
  const found = await pool.query("select count(*) from messages");
  response.send(`${found.rows[0].count} messages`);
});
app.get("/messages", async (_request, response) => {
  const found = await pool.query("select key from messages order by id");
  response.json(found.rows.map(row => row.key));
});
app.use(sessions);
app.get("/", (request, response) => {
  const page = fs.readFileSync(path.join(__dirname, "page.html"), "utf8");
  response.send(page.replaceAll("VERSION", version).replaceAll("NAME", request.session.name ?? ""));
});
app.post("/login", express.urlencoded({ extended: false }), (request, response) => {
  request.session.name = request.body.name;
  response.redirect("/");
});
app.get("/me", (request, response) => {
  response.status(request.session.name ? 200 : 401).send(request.session.name ?? "");
});

const server = http.createServer(app);
const io = new Server(server);
io.adapter(createAdapter(pool));
io.engine.use(sessions);
io.use((socket, next) => next(socket.request.session.name ? undefined : new Error("log in first")));
io.on("connection", socket => {
  socket.on("say", async (key, text, written) => {
    const sql = "insert into messages (key, author, text) values ($1, $2, $3) on conflict do nothing";
    await pool.query(sql, [key, socket.request.session.name, text]);
    io.emit("shown", text);
    written();
  });
});

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => {
    io.close(() => process.exit(0)); // its HTTP server, too, when the last response is sent
    server.closeIdleConnections();
  });
}
pool.query(tables).then(() => server.listen(Number(process.env.PORT), process.env.HOST));
