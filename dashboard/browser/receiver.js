// A webhook receiver on this machine that can be told to refuse, and keeps what it took.
import { once } from "node:events";
import { createServer } from "node:http";

export async function receiver() {
  const taken = [];
  const state = { accepts: false };
  const server = createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      if (state.accepts) {
        const { type } = JSON.parse(Buffer.concat(parts).toString());
        taken.push({ id: request.headers["webhook-id"], type });
      }
      // 400 is never tried again: what fails is over at once.
      response.writeHead(state.accepts ? 204 : 400).end();
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    /** What it took: the message's id, which a repeat shares, and its type. */
    taken,
    accept: () => {
      state.accepts = true;
    },
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}
