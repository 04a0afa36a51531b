// yapople: MODULES PORT MODE CA FOLDER.  Writes message n to the file n; prints what else the library gives.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const [modules, port, mode, ca, folder] = process.argv.slice(2);
const { Client } = createRequire(modules + "/")("yapople");
const pop = new Client({
  host: "localhost", port: Number(port), username: "bob", password: "bobpw",
  tls: mode === "tls", options: { ca: readFileSync(ca) },
});
await pop.connect();
const { count, length } = await pop.stat();
console.log(`stat ${count} ${length}`);
for (const [number, size] of Object.entries(await pop.list())) {
  console.log(`message ${number} ${size} -`);
  writeFileSync(`${folder}/${number}`, await pop.retr(number));
}
console.log("top " + (await pop.top(1, 2)).toString().split("\r\n").length);
await pop.dele(1);
await pop.rset();
await pop.dele(2);
await pop.disconnect();
