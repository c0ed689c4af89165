// Receives webhooks from Harborhook, verifies both signature schemes and prints each event once.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import { Webhook } from "standardwebhooks";

const TOLERANCE_SECONDS = 5 * 60;
const BODY_BYTES_MAX = 1024 * 1024;
const IDS_KEPT_MAX = 10_000;

type Headers = Record<string, string>;

/** Tells whether a request was signed with the endpoint's secret. */
class Verifier {
  private readonly secret: string;
  private readonly standard: Webhook;

  constructor(secret: string) {
    this.secret = secret;
    // Without `whsec_` the secret is its own bytes; the library would read it as base64.
    this.standard = secret.startsWith("whsec_")
      ? new Webhook(secret)
      : new Webhook(Buffer.from(secret), { format: "raw" });
  }

  /** At least one scheme must have signed, and each that did must be right. */
  isGenuine(headers: Headers, body: Buffer): boolean {
    const verdicts: boolean[] = [];
    if (headers["webhook-signature"] !== undefined) verdicts.push(this.isGenuineStandard(headers, body));
    if (headers["x-harborhook-signature"] !== undefined) verdicts.push(this.isGenuineHarborhook(headers, body));
    return verdicts.length > 0 && verdicts.every(Boolean);
  }

  private isGenuineStandard(headers: Headers, body: Buffer): boolean {
    try {
      // JSON.parse would round large numbers; whoever needs them parses the bytes another way.
      this.standard.verify(body, headers, { jsonParse: false });
      return true;
    } catch {
      return false;
    }
  }

  private isGenuineHarborhook(headers: Headers, body: Buffer): boolean {
    const timestamp = headers["x-harborhook-timestamp"] ?? "";
    // No leading zeros: the timestamp follows the body without a separator, so a zero could be the body's.
    if (!/^[1-9][0-9]{0,11}$/.test(timestamp)) return false;
    if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_SECONDS) return false;
    const tag = createHmac("sha256", this.secret).update(body).update(timestamp).digest("hex");
    const expected = Buffer.from(`sha256=${tag}`);
    // While a secret is rotated there is one signature for each valid secret.
    const presented = (headers["x-harborhook-signature"] ?? "").split(",");
    return presented.some((one) => {
      const signature = Buffer.from(one.trim());
      return signature.length === expected.length && timingSafeEqual(signature, expected);
    });
  }
}

/** Remembers the last ids. A real service stores the id in the transaction that handles the event. */
class SeenIds {
  private readonly ids = new Set<string>();

  /** Remembers an id; false if it was known. */
  add(id: string): boolean {
    if (this.ids.has(id)) return false;
    this.ids.add(id);
    if (this.ids.size > IDS_KEPT_MAX) {
      const [oldest] = this.ids;
      if (oldest !== undefined) this.ids.delete(oldest);
    }
    return true;
  }
}

/** Reads the bytes as they came: parsing and printing them again would change what was signed. */
async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  // Leaving the loop early must not close the connection that the answer goes out on.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    size += chunk.length;
    if (size > BODY_BYTES_MAX) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function receive(request: IncomingMessage, verifier: Verifier, seen: SeenIds): Promise<number> {
  if (request.method !== "POST") return 405;
  const body = await readBody(request);
  if (body === undefined) return 413;
  // Of the headers used here Node makes one string each; only others can be lists.
  const headers = request.headers as Headers;
  const id = headers["webhook-id"];
  if (!id || !verifier.isGenuine(headers, body)) return 401;
  if (seen.add(id)) console.log(headers["x-harborhook-event-type"] ?? "-", id, body.toString());
  return 204;
}

const secret = process.env.ENDPOINT_SECRET;
if (!secret) {
  console.error("set ENDPOINT_SECRET to the secret of the endpoint");
  process.exit(1);
}
const verifier = new Verifier(secret);
const seen = new SeenIds();
const port = Number(process.env.PORT ?? 8081);

createServer((request, response) => {
  receive(request, verifier, seen).then(
    (status) => response.writeHead(status, status === 413 ? { connection: "close" } : {}).end(),
    () => response.destroy(), // The sender went away while it was sending.
  );
}).listen(port, "127.0.0.1", () => console.error(`receiving on http://127.0.0.1:${port}/`));
