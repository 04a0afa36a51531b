// node-pop3: MODULES PORT MODE CA FOLDER.  Writes message n to the file n; prints what else the library gives.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const [modules, port, mode, ca, folder] = process.argv.slice(2);
const Pop3Command = createRequire(modules + "/")("node-pop3");
const pop = new Pop3Command({
  user: "bob", password: "bobpw", host: "localhost", port: Number(port),
  tls: mode === "tls", tlsOptions: { ca: readFileSync(ca) },
});
console.log("stat " + (await pop.STAT()));
const ids = await pop.UIDL();
for (const [number, size] of await pop.LIST()) {
  console.log(`message ${number} ${size} ${ids[number - 1][1]}`);
  const [, stream] = await pop.command("RETR", number); // pop.RETR would take the octets for UTF-8
  const pieces = [];
  for await (const piece of stream) {
    pieces.push(piece);
  }
  writeFileSync(`${folder}/${number}`, Buffer.concat(pieces));
}
console.log("top " + (await pop.TOP(1, 2)).split("\r\n").length);
await pop.DELE(1);
await pop.RSET();
await pop.DELE(2);
await pop.NOOP();
await pop.QUIT();
