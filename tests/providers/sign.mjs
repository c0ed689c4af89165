// Signs and verifies with the libraries of npm: reads a question from each line, writes an answer on a line.
// A question is `{"ask": name, "secret", "body", "headers"}`; an answer is `{"value"}` or `{"error"}`.

import { createInterface } from "node:readline";

// Libraries print to standard output too, where only answers belong.
const answer = process.stdout.write.bind(process.stdout);
console.log = console.info = console.debug = () => {};

const { sign, verify } = await import("@octokit/webhooks-methods");
const { LinearWebhookClient } = await import("@linear/sdk/webhooks");
await import("@shopify/shopify-api/adapters/node");
const { ApiVersion, shopifyApi } = await import("@shopify/shopify-api");
const { createSHA256HMAC, HashFormat } = await import("@shopify/shopify-api/runtime");
const { AwsLambdaReceiver } = await import("@zoom/rivet/marketplace");

const asks = {
  github_sign: ({ secret, body }) => sign(secret, body),
  github_verify: ({ secret, body, headers }) => verify(secret, body, headers["x-hub-signature-256"]),
  linear_verify: ({ secret, body, headers }) =>
    new LinearWebhookClient(secret).verify(Buffer.from(body), headers["linear-signature"]),
  shopify_sign: ({ secret, body }) => createSHA256HMAC(secret, body, HashFormat.Base64),
  shopify_verify: shopifyVerify,
  zoom_answer: zoomAnswer,
};

async function shopifyVerify({ secret, body, headers }) {
  const { webhooks } = shopifyApi({
    apiKey: "key",
    apiSecretKey: secret,
    apiVersion: Object.values(ApiVersion).at(-1),
    hostName: "hooks.example.com",
    isEmbeddedApp: false,
    isTesting: true,
    logger: { log: () => {} },
  });
  const { valid } = await webhooks.validate({ rawBody: body, rawRequest: { headers, method: "POST", url: "/" } });
  return valid;
}

// What Zoom's receiver answers to a request.
async function zoomAnswer({ secret, body, headers }) {
  const receiver = new AwsLambdaReceiver({ webhooksSecretToken: secret });
  receiver.init({ eventEmitter: { emit: async () => {} } });
  const handle = receiver.start();
  const answered = await handle({ body, headers, isBase64Encoded: false }, {});
  return { status: answered.statusCode, body: JSON.parse(answered.body) };
}

for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  let said;
  try {
    said = { value: await asks[question.ask](question) };
  } catch (error) {
    said = { error: String(error) };
  }
  answer(JSON.stringify(said) + "\n");
}
